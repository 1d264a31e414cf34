//! The connections of one shard, and what is kept for each.

use larder_engine::LinkId;

use super::dialect::Dialect;
use crate::limits::OUTPUT_BYTES_PAUSE;

/// Which connection. A number is used again, with another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// Dense and small.
    pub index: u32,
    generation: u32,
}

/// Where a connection is served. Its first request decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// Nothing was processed yet.
    Undecided,
    /// Here, to its end.
    Here,
    /// By this shard of the node: to be handed over, with the request that says so as the first of its input.
    Elsewhere(u16),
}

/// No waiter.
pub(super) const NO_WAITER: u32 = u32::MAX;

/// One connection: bytes that have come and wait, bytes that are to go, and how many answers are outstanding.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) dialect: Dialect,
    pub(super) home: Home,
    /// The beginning of a frame of which more is to come, or whole frames that wait because the connection is paused.
    pub(super) input: Vec<u8>,
    /// Answers.
    pub(super) output: Vec<u8>,
    /// Length of what was handed over to be sent before them.
    pub(super) sending: usize,
    /// Requests that other shards are at, in a list through the waiters.
    pub(super) pending: u32,
    pub(super) first_waiter: u32,
    /// Those of them whose answers take long.
    pub(super) delayed: u32,
    /// How many watches it has.
    pub(super) watches: u32,
    /// Requests go out on it and answers come in, for this link of the engine.
    pub(super) link: Option<LinkId>,
    /// No more bytes will come: the peer has said so, or the server stops. What has come is answered.
    pub(super) ended: bool,
    /// Nothing behind what was processed can be trusted. What was asked before is answered.
    pub(super) broken: bool,
    /// Listed for whoever drives the sockets.
    pub(super) listed: bool,
}

impl Connection {
    fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            home: Home::Undecided,
            input: Vec::new(),
            output: Vec::new(),
            sending: 0,
            pending: 0,
            first_waiter: NO_WAITER,
            delayed: 0,
            watches: 0,
            link: None,
            ended: false,
            broken: false,
            listed: false,
        }
    }

    /// It carries requests of ours from now on.
    pub(super) fn make_link(&mut self, link: LinkId) {
        (self.home, self.link) = (Home::Here, Some(link));
    }

    /// What a link has to send is of use no more, and neither is what it receives.
    pub(super) fn give_up(&mut self) {
        (self.link, self.broken) = (None, true);
        (self.input, self.output) = (Vec::new(), Vec::new());
    }

    /// Bytes that are to be sent, some of them once others have come.
    pub(super) fn backlog(&self) -> usize {
        self.sending + self.output.len() + self.dialect.held_bytes()
    }

    /// Whether requests wait until answers are sent or come in, or for another shard.
    pub(super) fn is_paused(&self) -> bool {
        self.backlog() >= OUTPUT_BYTES_PAUSE
            || self.pending as usize >= larder_protocol::limits::PIPELINE_MAX
            || self.dialect.is_waiting()
            || self.dialect.is_laden()
            || self.is_moving()
    }

    /// Whether it is to be handed over.
    pub(super) fn is_moving(&self) -> bool {
        matches!(self.home, Home::Elsewhere(_))
    }

    /// Whether bytes from the peer are of use. Those of a link always are: were they left because much is to be sent,
    /// two nodes could wait for each other.
    pub(super) fn wants_input(&self) -> bool {
        !self.ended && !self.broken && (self.link.is_some() || !self.is_paused())
    }

    /// Whether there is nothing left to do but to close.
    pub(super) fn is_finished(&self) -> bool {
        // With no backlog and nothing pending it is not paused, so every whole frame has been processed.
        let is_answered = self.pending == 0 && !self.dialect.has_queue() && self.backlog() == 0;
        (self.ended || self.broken) && is_answered && !self.is_moving()
    }

    /// Keeps what could not be processed yet. Grows as bytes arrive, whatever length the frame claims, and not past
    /// the end of the frame.
    pub(super) fn keep_input(&mut self, bytes: &[u8]) {
        let needed = self.input.len() + bytes.len();
        if self.input.capacity() < needed {
            let doubled = (self.input.capacity() * 2).min(self.dialect.frame_bytes(&self.input));
            self.input.reserve_exact(doubled.max(needed) - self.input.len());
        }
        self.input.extend_from_slice(bytes);
    }

    fn validate(&self) {
        let is_untouched = self.pending == 0 && self.watches == 0 && self.backlog() == 0 && !self.broken;
        assert!(self.home == Home::Here || is_untouched, "what has begun to be served stays");
        assert!(!self.broken || self.input.is_empty(), "a broken connection keeps no input");
        assert_eq!(self.pending == 0, self.first_waiter == NO_WAITER, "what is pending is in the list of waiters");
        self.dialect.validate(self.pending as usize);
    }
}

/// A slab of connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

impl Connections {
    pub(super) fn insert(&mut self, dialect: Dialect) -> ConnectionId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, connection: None });
            u32::try_from(self.slots.len() - 1).expect("connections are bounded by far less")
        });
        let slot = &mut self.slots[index as usize];
        slot.connection = Some(Connection::new(dialect));
        ConnectionId { index, generation: slot.generation }
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Connection {
        let slot = &mut self.slots[id.index as usize];
        assert_eq!(slot.generation, id.generation, "a connection is removed once");
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        slot.connection.take().expect("of this generation")
    }

    /// # Panics
    /// If it was removed.
    pub(super) fn at(&mut self, id: ConnectionId) -> &mut Connection {
        let slot = &mut self.slots[id.index as usize];
        assert_eq!(slot.generation, id.generation, "the connection is gone");
        slot.connection.as_mut().expect("of this generation")
    }

    /// It, unless it was removed.
    pub(super) fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let slot = &mut self.slots[id.index as usize];
        slot.connection.as_mut().filter(|_| slot.generation == id.generation)
    }

    /// # Panics
    /// If it was removed.
    pub(super) fn get(&self, id: ConnectionId) -> &Connection {
        let slot = &self.slots[id.index as usize];
        assert_eq!(slot.generation, id.generation, "the connection is gone");
        slot.connection.as_ref().expect("of this generation")
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ConnectionId> {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.connection.is_some())
            .map(|(index, slot)| ConnectionId { index: index as u32, generation: slot.generation })
    }

    pub(super) fn validate(&self) {
        let open =
            self.slots.iter().filter_map(|slot| slot.connection.as_ref()).inspect(|open| open.validate()).count();
        assert_eq!(open, self.len(), "every slot is open or free");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_grows_with_what_arrives_and_not_with_what_is_claimed() {
        let mut connection = Connection::new(Dialect::Native);
        connection.keep_input(&(64_u32 << 20).to_be_bytes());
        assert!(connection.input.capacity() < 64, "{}", connection.input.capacity());
        for _ in 0..1000 {
            connection.keep_input(&[0; 1000]);
            assert!(connection.input.capacity() <= 2 * connection.input.len().max(64));
        }
    }

    #[test]
    fn input_is_not_doubled_past_the_end_of_its_frame() {
        let mut connection = Connection::new(Dialect::Native);
        connection.keep_input(&100_000_u32.to_be_bytes());
        while connection.input.len() < 100_004 {
            connection.keep_input(&[0; 5_000]);
        }
        assert!(connection.input.capacity() <= 105_004, "{}", connection.input.capacity());
    }

    #[test]
    fn a_number_is_used_again_with_another_generation() {
        let mut connections = Connections::default();
        let first = connections.insert(Dialect::Native);
        connections.remove(first);
        let second = connections.insert(Dialect::Native);
        assert_eq!(first.index, second.index);
        assert_ne!(first, second);
        assert_eq!(connections.len(), 1);
        connections.validate();
    }
}
