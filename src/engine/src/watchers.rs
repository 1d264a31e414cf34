//! Who is told of entries that leave: a bounded buffer for each, which its owner polls.

use alloc::vec::Vec;
use core::mem;

use larder_protocol::limits::{REMOVALS_KEY_BYTES_MAX, REMOVALS_MAX};
use larder_protocol::{RemovalReason, Removals, RemovedSpan, Reply, Span};
use larder_store::{GroupIndex, Reason, Removal, RemovalHook};

use crate::limits::WATCHERS_MAX;
use crate::{Engine, failures};

/// The name of a watcher of one engine. It is never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatcherId(u64);

/// The watchers of one shard; see [`Engine::watch`]. While there are none, a removal costs a look at that.
#[derive(Debug, Default)]
pub struct Watchers {
    watchers: Vec<Watcher>,
    /// How many there were in all.
    begun: u64,
    /// What was polled last, which may still be looked at.
    polled: Buffer,
}

/// One watcher, and what it was not told yet.
#[derive(Debug)]
struct Watcher {
    id: WatcherId,
    group: GroupIndex,
    buffer: Buffer,
    /// How many left since the buffer was full.
    missed: u64,
}

/// Entries that left. Its memory is reserved once, for as much as it may ever hold.
#[derive(Debug, Default)]
struct Buffer {
    keys: Vec<u8>,
    spans: Vec<RemovedSpan>,
}

impl<H: RemovalHook> Engine<H> {
    /// Who is told of removals.
    pub fn hook(&self) -> &H {
        self.local.store.hook()
    }
}

impl Engine<Watchers> {
    /// Begins to watch what leaves a group on this shard, from the next operation on; the group is named as requests
    /// name it. Poll [`Engine::removals`], and end it with [`Engine::unwatch`].
    ///
    /// # Errors
    /// The reply for who wants to: there is no such group, or there are [`WATCHERS_MAX`] watchers.
    pub fn watch(&mut self, group: u64) -> Result<WatcherId, Reply<'_>> {
        let Some(group) = self.local.groups.group(group) else { return Err(self.local.no_such_group(group)) };
        match self.hook_mut().add(group.index) {
            Some(id) => {
                self.local.counters.requests += 1;
                Ok(id)
            }
            None => {
                self.local.counters.overloaded += 1;
                Err(Reply::Failed(&failures::WATCHERS))
            }
        }
    }

    /// Ends a watch.
    ///
    /// # Panics
    /// If there is none with this id.
    pub fn unwatch(&mut self, id: WatcherId) {
        self.hook_mut().remove(id);
    }

    /// Whether a watcher has something to be told.
    ///
    /// # Panics
    /// If there is none with this id.
    pub fn has_removals(&self, id: WatcherId) -> bool {
        self.hook().watcher(id).has_news()
    }

    /// Everything that left since the last time, as far as there was room for it, and how much besides. What is not
    /// polled waits, up to [`REMOVALS_MAX`] entries with [`REMOVALS_KEY_BYTES_MAX`] bytes of keys.
    ///
    /// # Panics
    /// If there is no watcher with this id.
    pub fn removals(&mut self, id: WatcherId) -> Removals<'_> {
        self.hook_mut().poll(id)
    }
}

impl RemovalHook for Watchers {
    #[inline]
    fn listens(&self) -> bool {
        !self.watchers.is_empty()
    }

    fn removed(&mut self, removal: Removal<'_>) {
        let of_group = self.watchers.iter_mut().filter(|watcher| watcher.group == removal.group);
        of_group.for_each(|watcher| watcher.note(&removal));
    }

    fn each_watched(&self, watched: &mut dyn FnMut(GroupIndex)) {
        self.watchers.iter().for_each(|watcher| watched(watcher.group));
    }
}

impl Watchers {
    /// Nobody watches.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many watch.
    pub fn len(&self) -> usize {
        self.watchers.len()
    }

    /// Whether nobody does.
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    /// Walks everything.
    ///
    /// # Panics
    /// With what is wrong.
    pub fn validate(&self) {
        assert!(self.watchers.len() <= WATCHERS_MAX, "{} watchers", self.watchers.len());
        for Watcher { id, buffer: Buffer { keys, spans }, .. } in &self.watchers {
            let is_bounded = keys.len() <= REMOVALS_KEY_BYTES_MAX && spans.len() <= REMOVALS_MAX;
            assert!(is_bounded, "{id:?} has {} removals with {} bytes of keys", spans.len(), keys.len());
            let end = spans.iter().fold(0, |start, RemovedSpan { key, .. }| {
                assert_eq!(key.start, start, "the keys of {id:?} lie one behind the other");
                start + key.len
            });
            assert_eq!(end as usize, keys.len(), "the keys of {id:?} are those of its removals");
        }
    }

    fn add(&mut self, group: GroupIndex) -> Option<WatcherId> {
        if self.watchers.len() == WATCHERS_MAX {
            return None;
        }
        if self.watchers.is_empty() {
            self.polled = Buffer::reserved();
        }
        let id = WatcherId(self.begun);
        self.begun += 1;
        self.watchers.push(Watcher { id, group, buffer: Buffer::reserved(), missed: 0 });
        Some(id)
    }

    fn remove(&mut self, id: WatcherId) {
        let index = self.watchers.iter().position(|watcher| watcher.id == id);
        self.watchers.swap_remove(index.expect("a watch ends once"));
        if self.watchers.is_empty() {
            self.polled = Buffer::default();
        }
    }

    fn watcher(&self, id: WatcherId) -> &Watcher {
        self.watchers.iter().find(|watcher| watcher.id == id).expect("its watch has not ended")
    }

    fn poll(&mut self, id: WatcherId) -> Removals<'_> {
        let Self { watchers, polled, .. } = self;
        let watcher = watchers.iter_mut().find(|watcher| watcher.id == id).expect("its watch has not ended");
        polled.clear();
        mem::swap(polled, &mut watcher.buffer);
        Removals::new(&polled.keys, &polled.spans, mem::take(&mut watcher.missed))
    }
}

impl Watcher {
    fn has_news(&self) -> bool {
        !self.buffer.spans.is_empty() || self.missed > 0
    }

    /// Once one is missed all are, until the next poll: so what is missed is missed behind all that is there.
    fn note(&mut self, removal: &Removal<'_>) {
        if self.missed > 0 || !self.buffer.has_room(removal.key.len()) {
            self.missed += 1;
            return;
        }
        self.buffer.push(removal);
    }
}

impl Buffer {
    fn reserved() -> Self {
        Self { keys: Vec::with_capacity(REMOVALS_KEY_BYTES_MAX), spans: Vec::with_capacity(REMOVALS_MAX) }
    }

    fn has_room(&self, key_bytes: usize) -> bool {
        self.spans.len() < REMOVALS_MAX && self.keys.len() + key_bytes <= REMOVALS_KEY_BYTES_MAX
    }

    fn push(&mut self, removal: &Removal<'_>) {
        let key = Span { start: self.keys.len() as u32, len: removal.key.len() as u32 };
        self.keys.extend_from_slice(removal.key);
        self.spans.push(RemovedSpan { key, reason: reason_of(removal.reason), bytes: removal.bytes });
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.spans.clear();
    }
}

fn reason_of(reason: Reason) -> RemovalReason {
    match reason {
        Reason::Evicted => RemovalReason::Evicted,
        Reason::Expired => RemovalReason::Expired,
        Reason::Deleted => RemovalReason::Deleted,
        Reason::Replaced => RemovalReason::Replaced,
        Reason::Invalidated => RemovalReason::Invalidated,
        Reason::Voided => RemovalReason::Voided,
        other => unreachable!("entries leave as {other:?}, for which the protocol has no reason"),
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::VecDeque;
    use alloc::vec;

    use super::*;

    /// A removal, by itself.
    type Owned = (Vec<u8>, RemovalReason, u64);

    /// A watcher as it must be: everything since the last poll, of which some at the end may be missed.
    struct Model {
        id: WatcherId,
        group: GroupIndex,
        left: VecDeque<Owned>,
        told: u64,
        missed: u64,
        noted: u64,
    }

    impl Model {
        fn poll(&mut self, watchers: &mut Watchers, context: &str) {
            let removals = watchers.poll(self.id);
            let (len, missed) = (removals.len() as u64, removals.missed());
            for removed in removals.iter() {
                let told = (removed.key.to_vec(), removed.reason, removed.bytes);
                assert_eq!(self.left.pop_front(), Some(told), "{context}: in order, and nothing but what left");
            }
            assert_eq!(self.left.len() as u64, missed, "{context}: all others are missed, and counted");
            self.left.clear();
            (self.told, self.missed) = (self.told + len, self.missed + missed);
            assert_eq!(self.told + self.missed, self.noted, "{context}");
            assert!(!watchers.watcher(self.id).has_news(), "{context}");
        }
    }

    #[test]
    fn every_removal_is_told_once_or_counted_as_missed() {
        let (mut missed, mut told) = (0, 0);
        for seed in 0..30 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut watchers, mut models) = (Watchers::new(), Vec::<Model>::new());
            let longest = random.choice([0, 10, 1_000, 64 << 10]).unwrap();
            for step in 0..3_000 {
                let context = alloc::format!("seed {seed} step {step}");
                match random.u32(0..1_000) {
                    0..5 if models.len() < WATCHERS_MAX => {
                        let group = GroupIndex(random.u16(0..2));
                        let id = watchers.add(group).expect("there is room");
                        models.push(Model { id, group, left: VecDeque::new(), told: 0, missed: 0, noted: 0 });
                    }
                    5..8 if !models.is_empty() => {
                        let model = models.swap_remove(random.usize(0..models.len()));
                        watchers.remove(model.id);
                    }
                    8..12 if !models.is_empty() => {
                        let index = random.usize(0..models.len());
                        models[index].poll(&mut watchers, &context);
                    }
                    _ => {
                        let (group, key) =
                            (GroupIndex(random.u16(0..2)), vec![random.u8(..); random.usize(0..=longest)]);
                        let (reason, bytes) = (Reason::Expired, random.u64(..));
                        watchers.removed(Removal { group, key: &key, reason, bytes, version: 1 });
                        for model in models.iter_mut().filter(|model| model.group == group) {
                            model.left.push_back((key.clone(), RemovalReason::Expired, bytes));
                            model.noted += 1;
                        }
                    }
                }
                watchers.validate();
                assert_eq!((watchers.len(), watchers.listens()), (models.len(), !models.is_empty()), "{context}");
            }
            for model in &mut models {
                model.poll(&mut watchers, "at the end");
                (missed, told) = (missed + model.missed, told + model.told);
            }
        }
        assert!(missed > 1_000 && told > 10_000, "{missed} missed, {told} told");
    }

    #[test]
    fn a_full_buffer_is_full_in_number_or_in_bytes() {
        let mut watchers = Watchers::new();
        let id = watchers.add(GroupIndex(0)).unwrap();
        let removed = |watchers: &mut Watchers, key: &[u8]| {
            watchers.removed(Removal { group: GroupIndex(0), key, reason: Reason::Evicted, bytes: 1, version: 1 });
        };
        (0..REMOVALS_MAX + 3).for_each(|_| removed(&mut watchers, b"k"));
        let removals = watchers.poll(id);
        assert_eq!((removals.len(), removals.missed()), (REMOVALS_MAX, 3));
        let whole = vec![b'k'; REMOVALS_KEY_BYTES_MAX / 4];
        (0..4).for_each(|_| removed(&mut watchers, &whole));
        removed(&mut watchers, b"k");
        removed(&mut watchers, b"");
        let removals = watchers.poll(id);
        assert_eq!((removals.len(), removals.missed()), (4, 2), "not even one that would fit is told before its time");
        removed(&mut watchers, b"k");
        let removals = watchers.poll(id);
        assert_eq!((removals.len(), removals.missed()), (1, 0));
    }

    #[test]
    fn there_are_no_more_than_may_be() {
        let mut watchers = Watchers::new();
        let ids: Vec<_> = (0..WATCHERS_MAX).map(|_| watchers.add(GroupIndex(0)).expect("there is room")).collect();
        assert_eq!(watchers.add(GroupIndex(0)), None);
        watchers.remove(ids[3]);
        let id = watchers.add(GroupIndex(0)).expect("there is room again");
        assert!(!ids.contains(&id));
        watchers.validate();
    }
}
