//! Connections that are told of what leaves this shard, as far as they read.

use larder_engine::{Engine, WatcherId, Watchers};
use larder_protocol::{Removals, Reply};

use super::buffers::Buffers;
use super::connections::{Connection, ConnectionId, Connections};
use crate::limits::WATCH_OUTPUT_BYTES_MAX;

/// The watches of one shard, of which the engine bounds the number.
#[derive(Debug, Default)]
pub(super) struct Watches {
    watches: Vec<Watch>,
}

/// A request that is answered until its connection ends.
#[derive(Clone, Copy, Debug)]
struct Watch {
    watcher: WatcherId,
    connection: ConnectionId,
    /// The id of the request.
    request: u64,
}

impl Watches {
    /// Begins a watch of a group and says so, or says why not.
    pub(super) fn begin(
        &mut self,
        engine: &mut Engine<Watchers>,
        (id, connection): (ConnectionId, &mut Connection),
        request: u64,
        group: u64,
    ) {
        let epoch = engine.epoch();
        let reply = match engine.watch(group) {
            Ok(watcher) => {
                connection.watches += 1;
                self.watches.push(Watch { watcher, connection: id, request });
                Reply::Removals(Removals::new(&[], &[], 0))
            }
            Err(refusal) => refusal,
        };
        connection.dialect.tell(&mut connection.output, request, epoch, &reply);
    }

    /// Ends the watches of a connection that is gone.
    pub(super) fn end_all(&mut self, engine: &mut Engine<Watchers>, id: ConnectionId) {
        self.watches.retain(|watch| {
            if watch.connection == id {
                engine.unwatch(watch.watcher);
            }
            watch.connection != id
        });
    }

    /// Whether a connection is to be told something, and reads.
    pub(super) fn has_news(&self, engine: &Engine<Watchers>, connections: &Connections) -> bool {
        self.watches.iter().any(|watch| watch.has_news(engine, connections))
    }

    /// Tells every connection that reads what there is for it, and lists those that were told something.
    pub(super) fn tell(
        &self,
        engine: &mut Engine<Watchers>,
        connections: &mut Connections,
        buffers: &mut Buffers,
        listed: &mut Vec<ConnectionId>,
    ) {
        let epoch = engine.epoch();
        for watch in &self.watches {
            if !watch.has_news(engine, connections) {
                continue;
            }
            let connection = connections.at(watch.connection);
            if connection.output.capacity() == 0 {
                connection.output = buffers.take();
            }
            let reply = Reply::Removals(engine.removals(watch.watcher));
            connection.dialect.tell(&mut connection.output, watch.request, epoch, &reply);
            if !connection.listed {
                connection.listed = true;
                listed.push(watch.connection);
            }
        }
    }

    /// Checks every invariant.
    ///
    /// # Panics
    /// If one does not hold.
    pub(super) fn validate(&self, engine: &Engine<Watchers>, connections: &Connections) {
        engine.hook().validate();
        assert_eq!(self.watches.len(), engine.hook().len(), "every watcher has a connection");
        for id in connections.ids() {
            let own = self.watches.iter().filter(|watch| watch.connection == id).count();
            assert_eq!(own, connections.get(id).watches as usize, "the watches of a connection are counted");
        }
    }
}

impl Watch {
    /// What a connection does not read stays with its watcher, which counts what it has no room for.
    fn has_news(&self, engine: &Engine<Watchers>, connections: &Connections) -> bool {
        let connection = connections.get(self.connection);
        let reads = !connection.ended && !connection.broken && connection.backlog() < WATCH_OUTPUT_BYTES_MAX;
        reads && engine.has_removals(self.watcher)
    }
}

#[cfg(test)]
mod tests {
    use larder_protocol::limits::{FRAME_BYTES_MAX, REMOVALS_KEY_BYTES_MAX, REMOVALS_MAX};
    use larder_protocol::native::{self, Body};
    use larder_protocol::{Command, Request, Status};

    use super::super::tests::{NOW_MS, reactors, run_until_quiet, set_of};
    use super::super::{ConnectionId, Dialect, Reactor};
    use super::*;

    /// The id of the request to watch.
    const ID: u64 = 77;

    fn watch(reactor: &mut Reactor, group: u64) -> ConnectionId {
        let id = reactor.opened(Dialect::Native);
        let mut bytes = Vec::new();
        let command = Command::Watch;
        native::encode_request(
            &mut bytes,
            &Request { id: ID, epoch: 0, group, timeout_ms: 0, forwarded: false, command },
        );
        reactor.received(id, &bytes, NOW_MS);
        id
    }

    /// What a connection was told: statuses, keys, and how many are missed.
    #[derive(Debug, Default, PartialEq)]
    struct Told {
        statuses: Vec<Status>,
        keys: Vec<Vec<u8>>,
        missed: u64,
    }

    impl Told {
        fn add(&mut self, output: &[u8]) {
            let mut rest = output;
            while let Some(frame) = native::frame(rest, FRAME_BYTES_MAX).expect("sane") {
                let response = native::decode_response(frame.message).expect("a valid answer");
                assert_eq!(response.id, ID);
                self.statuses.push(response.status);
                if let Body::Removals(removals) = response.body {
                    self.keys.extend(removals.removals.into_iter().map(|removed| removed.key));
                    self.missed += removals.missed;
                }
                rest = &rest[frame.consumed..];
            }
            assert_eq!(rest.len(), 0, "whole answers");
        }

        /// Takes what there is to be sent, as a client that reads.
        fn read(&mut self, reactor: &mut Reactor, id: ConnectionId) {
            while let Some(output) = reactor.take_output(id) {
                self.add(&output);
                reactor.sent(id, output, NOW_MS);
                reactor.turn(NOW_MS);
                while reactor.next_listed().is_some() {}
            }
        }
    }

    /// Sets a key again and again on a connection of its own, and reads the answers.
    fn overwrite(reactor: &mut Reactor, key: &[u8], times: usize) {
        let id = reactor.opened(Dialect::Native);
        for _ in 0..times {
            reactor.received(id, &set_of(key, b"v"), NOW_MS);
            let output = reactor.take_output(id).expect("whoever watches, others are answered at once");
            reactor.sent(id, output, NOW_MS);
            reactor.turn(NOW_MS);
            while reactor.next_listed().is_some() {}
        }
        reactor.closed(id, NOW_MS);
    }

    #[test]
    fn who_reads_is_told_of_everything_once() {
        let mut reactor = reactors(1).remove(0);
        overwrite(&mut reactor, b"before", 2);
        let (one, other) = (watch(&mut reactor, 0), watch(&mut reactor, 0));
        let (mut told, mut told_other) = (Told::default(), Told::default());
        told.read(&mut reactor, one);
        assert_eq!(told, Told { statuses: vec![Status::Ok], ..Told::default() }, "it begins with nothing, at once");
        for round in 0..50_usize {
            overwrite(&mut reactor, &round.to_le_bytes(), 3);
            assert!(!reactor.needs_turn(), "it was told already");
            told.read(&mut reactor, one);
        }
        let expected: Vec<Vec<u8>> =
            (0..50_usize).flat_map(|round| [round.to_le_bytes().to_vec(), round.to_le_bytes().to_vec()]).collect();
        assert_eq!((&told.keys, told.missed), (&expected, 0));
        told_other.read(&mut reactor, other);
        assert_eq!((&told_other.keys, told_other.missed), (&expected, 0), "the other one had room for it all");
        reactor.validate();
    }

    #[test]
    fn who_does_not_read_is_told_how_many_were_missed_and_holds_no_more_than_the_bounds() {
        let mut reactor = reactors(1).remove(0);
        let slow = watch(&mut reactor, 0);
        let key = [b'k'; 100];
        let times = 8 * REMOVALS_MAX;
        overwrite(&mut reactor, &key, times + 1);
        let bytes_max = WATCH_OUTPUT_BYTES_MAX + REMOVALS_KEY_BYTES_MAX + REMOVALS_MAX * 24;
        assert!((WATCH_OUTPUT_BYTES_MAX..bytes_max).contains(&reactor.backlog(slow)), "{}", reactor.backlog(slow));
        assert!(!reactor.needs_turn(), "what cannot be told now is no work");
        reactor.validate();
        let mut told = Told::default();
        told.read(&mut reactor, slow);
        assert_eq!(told.keys.len() as u64 + told.missed, times as u64);
        assert!(told.missed > 0 && told.keys.len() > REMOVALS_KEY_BYTES_MAX / key.len(), "{} told", told.keys.len());
        let missed = told.missed;
        overwrite(&mut reactor, &key, 10);
        told.read(&mut reactor, slow);
        assert_eq!((told.keys.len() as u64 + told.missed, told.missed), (times as u64 + 10, missed), "it goes on");
    }

    #[test]
    fn a_watch_ends_with_its_connection() {
        let mut reactor = reactors(1).remove(0);
        let (gone, ended) = (watch(&mut reactor, 0), watch(&mut reactor, 0));
        assert!(reactor.is_pending(gone), "it is not idle");
        reactor.closed(gone, NOW_MS);
        reactor.validate();
        reactor.ended(ended, NOW_MS);
        overwrite(&mut reactor, b"k", 2);
        let mut told = Told::default();
        told.read(&mut reactor, ended);
        assert!(told.keys.is_empty() && reactor.is_finished(ended), "nothing holds it open");
        reactor.closed(ended, NOW_MS);
        reactor.validate();
        overwrite(&mut reactor, b"k", 2);
        assert!(!reactor.needs_turn());
    }

    #[test]
    fn who_cannot_watch_is_refused_and_served_on() {
        let mut reactor = reactors(1).remove(0);
        let id = watch(&mut reactor, 0xBAD);
        reactor.received(id, &set_of(b"k", b"v"), NOW_MS);
        let output = reactor.take_output(id).expect("two answers");
        let frame = native::frame(&output, FRAME_BYTES_MAX).expect("sane").expect("whole");
        assert_eq!(native::decode_response(frame.message).expect("valid").status, Status::NoSuchGroup);
        assert!(output.len() > frame.consumed, "the set is answered too");
        reactor.validate();
    }

    #[test]
    fn a_shard_tells_what_leaves_it_whoever_was_asked() {
        let mut reactors = reactors(2);
        let watches = [watch(&mut reactors[0], 0), watch(&mut reactors[1], 0)];
        let id = reactors[0].opened(Dialect::Native);
        for round in 0..2 {
            for number in 0..100_u8 {
                reactors[0].received(id, &set_of(&[number], b"v"), NOW_MS);
            }
            run_until_quiet(&mut reactors);
            for reactor in &mut reactors {
                reactor.turn(NOW_MS);
            }
            let mut keys = Vec::new();
            for (reactor, watch) in reactors.iter_mut().zip(watches) {
                let mut told = Told::default();
                told.read(reactor, watch);
                assert_eq!((told.keys.len() > 20, told.missed), (round > 0, 0), "both shards have some of the keys");
                keys.extend(told.keys);
            }
            keys.sort_unstable();
            let expected: Vec<Vec<u8>> = (0..100 * round).map(|number| vec![number]).collect();
            assert_eq!(keys, expected);
        }
        reactors.iter_mut().for_each(Reactor::validate);
    }
}
