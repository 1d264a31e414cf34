//! Whatever leaves is told of exactly once, to a hook that listens.

use larder_store::{Charge, Expiry, GroupIndex, Key, PolicyKind, Reason, Removal, RemovalHook, Store, Write};

use crate::{SETTINGS, group, key_hash};

const GROUP: GroupIndex = GroupIndex(0);
const NOW_MS: u64 = 1_000_000;

/// Writes down what it is told while it listens.
#[derive(Debug)]
struct Listener {
    listens: bool,
    heard: Vec<(Vec<u8>, Reason, u64)>,
}

impl RemovalHook for Listener {
    fn listens(&self) -> bool {
        self.listens
    }

    fn removed(&mut self, removal: Removal<'_>) {
        assert!(self.listens, "it was told of {removal:?}");
        assert_eq!(removal.group, GROUP);
        self.heard.push((removal.key.to_vec(), removal.reason, removal.bytes));
    }
}

/// A store with room for two entries.
fn store(listens: bool) -> Store<Listener> {
    let mut store = Store::new(SETTINGS, Listener { listens, heard: Vec::new() });
    store.create_group(group("default", PolicyKind::Lru, Charge::Objects, 2)).unwrap();
    store
}

fn key(bytes: &[u8]) -> Key<'_> {
    Key { group: GROUP, hash: key_hash(7, bytes), bytes }
}

fn set(store: &mut Store<Listener>, bytes: &[u8], value: &[u8], expiry: Expiry) {
    store.set(key(bytes), Write { value, expiry, ..Write::default() }, NOW_MS).unwrap();
}

/// What was heard since the last time.
fn heard(store: &mut Store<Listener>) -> Vec<(Vec<u8>, Reason, u64)> {
    std::mem::take(&mut store.hook_mut().heard)
}

fn one(bytes: &[u8], reason: Reason, size: u64) -> Vec<(Vec<u8>, Reason, u64)> {
    vec![(bytes.to_vec(), reason, size)]
}

#[test]
fn every_way_out_is_told_of_once_with_key_reason_and_size() {
    let mut store = store(true);
    set(&mut store, b"a", b"value", Expiry::Never);
    assert_eq!(heard(&mut store), [], "nothing has left");
    set(&mut store, b"a", b"other", Expiry::Never);
    assert_eq!(heard(&mut store), one(b"a", Reason::Replaced, 6), "in its place");
    set(&mut store, b"a", b"a longer one", Expiry::Never);
    assert_eq!(heard(&mut store), one(b"a", Reason::Replaced, 6), "in another one");
    store.append(key(b"a"), b"!", NOW_MS).unwrap();
    assert_eq!(heard(&mut store), one(b"a", Reason::Replaced, 13));
    store.touch(key(b"a"), Expiry::At(u64::MAX >> 20), NOW_MS).unwrap();
    assert_eq!(heard(&mut store), [], "a touch moves it and it stays");
    store.delete(key(b"a"), 0, NOW_MS).unwrap();
    assert_eq!(heard(&mut store), one(b"a", Reason::Deleted, 14));
    assert!(store.delete(key(b"a"), 0, NOW_MS).is_err());
    assert_eq!(heard(&mut store), [], "it was gone");

    set(&mut store, b"a", b"1", Expiry::Never);
    set(&mut store, b"a", b"2", Expiry::At(NOW_MS));
    assert_eq!(heard(&mut store), one(b"a", Reason::Deleted, 2), "by an expiry that has come");
    for bytes in [b"b", b"c", b"d"] {
        set(&mut store, bytes, b"", Expiry::Never);
    }
    assert_eq!(heard(&mut store), one(b"b", Reason::Evicted, 1));
    assert!(store.void(key(b"c"), NOW_MS) && !store.void(key(b"c"), NOW_MS));
    assert_eq!(heard(&mut store), one(b"c", Reason::Voided, 1));
    store.invalidate(GROUP, NOW_MS);
    assert_eq!(heard(&mut store), [], "it is told when it is noticed");
    assert!(store.get(key(b"d"), NOW_MS).is_none() && store.get(key(b"d"), NOW_MS).is_none());
    assert_eq!(heard(&mut store), one(b"d", Reason::Invalidated, 1));
}

#[test]
fn an_expired_entry_is_told_of_once_whoever_notices_it() {
    let later_ms = NOW_MS + 5;
    let notice: [fn(&mut Store<Listener>, u64); 5] = [
        |store, now_ms| assert!(store.get(key(b"a"), now_ms).is_none()),
        |store, now_ms| assert!(store.delete(key(b"a"), 0, now_ms).is_err()),
        |store, now_ms| assert_eq!(store.reclaim(now_ms, 1000).expired, 1),
        |store, now_ms| {
            store.set(key(b"a"), Write::default(), now_ms).unwrap();
        },
        |store, now_ms| {
            for bytes in [b"b", b"c"] {
                store.set(key(bytes), Write::default(), now_ms).unwrap();
            }
        },
    ];
    for notice in notice {
        let mut store = store(true);
        set(&mut store, b"a", b"v", Expiry::After(5));
        assert!(store.peek(key(b"a"), later_ms).is_none());
        assert_eq!(heard(&mut store), [], "a peek changes nothing");
        notice(&mut store, later_ms);
        assert_eq!(heard(&mut store), one(b"a", Reason::Expired, 2));
        store.reclaim(later_ms, 1000);
        store.validate();
        assert_eq!(heard(&mut store), []);
    }
}

#[test]
fn who_begins_to_listen_hears_from_then_on() {
    let mut store = store(false);
    set(&mut store, b"a", b"1", Expiry::Never);
    set(&mut store, b"a", b"2", Expiry::Never);
    store.delete(key(b"a"), 0, NOW_MS).unwrap();
    set(&mut store, b"a", b"3", Expiry::Never);
    store.hook_mut().listens = true;
    store.delete(key(b"a"), 0, NOW_MS).unwrap();
    assert_eq!(heard(&mut store), one(b"a", Reason::Deleted, 2));
}

#[test]
fn a_walk_removes_what_has_lost_its_place() {
    let mut store = Store::new(SETTINGS, Listener { listens: true, heard: Vec::new() });
    store.create_group(group("default", PolicyKind::Lru, Charge::Objects, 5_000)).unwrap();
    let keys: Vec<Vec<u8>> = (0..3_000_u32).map(|number| format!("k{number}").into_bytes()).collect();
    keys.iter().for_each(|bytes| set(&mut store, bytes, b"v", Expiry::Never));
    let is_lost = |hash: u64| hash >> 63 == 0;
    let lost = keys.iter().filter(|bytes| is_lost(key(bytes).hash)).count();
    let middle = store.peek(key(&keys[1_500]), NOW_MS).map(|handle| store.entry(handle).version).unwrap();
    let walk = |store: &mut Store<Listener>, is_void: &dyn Fn(u64, u64) -> bool| {
        let (mut cursor, mut steps, mut looked) = (0, 0, 0);
        loop {
            let (next, seen) = store.void_where(cursor, NOW_MS, is_void);
            assert!(seen <= larder_store::limits::HOME_ENTRIES_MAX, "{seen} in one step");
            (steps, looked) = (steps + 1, looked + seen);
            match next {
                Some(next) => cursor = next,
                None => return (steps, looked),
            }
        }
    };
    let (steps, looked) = walk(&mut store, &|hash, _| is_lost(hash));
    assert!(steps > 100 && looked == keys.len(), "{looked} in {steps} steps");
    let gone = heard(&mut store);
    assert!(
        gone.len() == lost
            && gone.iter().all(|(bytes, reason, _)| is_lost(key(bytes).hash) && *reason == Reason::Voided)
    );
    walk(&mut store, &|_, version| version < middle);
    store.validate();
    for (number, bytes) in keys.iter().enumerate() {
        let is_kept = !is_lost(key(bytes).hash) && number >= 1_500;
        assert_eq!(store.peek(key(bytes), NOW_MS).is_some(), is_kept, "{number}");
    }
}
