//! Entries that stay for a while after their time is over.

use larder_store::{
    Charge, Condition, Expiry, GroupIndex, Key, NoHook, PolicyKind, Store, StoreError, StoreSettings, Write,
};

use crate::{SETTINGS, group, key_hash};

const NOW: u64 = 1_700_000_000_000;
const GROUP: GroupIndex = GroupIndex(0);

/// Stale for 100 ms.
fn store() -> Store<NoHook> {
    let mut store = Store::new(StoreSettings { memory_bytes: 4 << 20, ..SETTINGS }, NoHook);
    store.create_group(group("g", PolicyKind::Lru, Charge::Bytes, 1 << 20)).expect("room");
    store.set_stale(GROUP, 100);
    store
}

fn key(bytes: &[u8]) -> Key<'_> {
    Key { group: GROUP, hash: key_hash(7, bytes), bytes }
}

fn write(value: &[u8]) -> Write<'_> {
    Write { value, expiry: Expiry::After(50), ..Write::default() }
}

fn value(store: &Store<NoHook>, bytes: &[u8], now_ms: u64) -> Option<(Vec<u8>, u64)> {
    let entry = store.entry(store.stale(key(bytes), now_ms)?);
    Some((entry.value.contiguous().expect("it is short").to_vec(), entry.expires_at_ms))
}

#[test]
fn an_entry_is_fresh_then_stale_then_gone() {
    let mut store = store();
    store.set(key(b"a"), write(b"v"), NOW).expect("room");
    let handle = store.get(key(b"a"), NOW + 49).expect("it is fresh");
    assert_eq!(store.entry(handle).expires_at_ms, NOW + 50, "nobody sees the longer time");
    assert_eq!(value(&store, b"a", NOW + 49), None, "it is not stale");
    for now_ms in [NOW + 50, NOW + 149] {
        assert!(store.get(key(b"a"), now_ms).is_none() && store.peek(key(b"a"), now_ms).is_none());
        assert_eq!(value(&store, b"a", now_ms), Some((b"v".to_vec(), NOW + 50)));
        assert_eq!(store.touch(key(b"a"), Expiry::Never, now_ms).err(), Some(StoreError::NotFound));
        let mut seen = 0;
        store.scan(GROUP, 0, now_ms, |_| {
            seen += 1;
            std::ops::ControlFlow::Continue(())
        });
        assert_eq!(seen, 0, "it is not shown");
        assert!(!store.reclaim(now_ms, 1000).more && store.counters(GROUP).entries == 1);
        store.validate();
    }
    assert_eq!(value(&store, b"a", NOW + 150), None);
    assert_eq!(store.reclaim(NOW + 150, 1000).expired, 1);
    assert_eq!((store.counters(GROUP).hits, store.counters(GROUP).misses), (1, 4), "touches count");
    store.validate();
}

#[test]
fn what_is_stale_is_absent_for_whoever_writes() {
    let at = NOW + 60;
    let fill = || {
        let mut store = store();
        store.set(key(b"a"), write(b"1"), NOW).expect("room");
        store
    };
    let gone = |store: &Store<NoHook>| value(store, b"a", at).is_none() && store.peek(key(b"a"), at).is_none();
    let mut deleted = fill();
    assert_eq!(deleted.delete(key(b"a"), 0, at), Err(StoreError::NotFound));
    assert!(gone(&deleted), "nobody is shown what was deleted");
    let mut added = fill();
    added.set(key(b"a"), Write { condition: Condition::Absent, ..write(b"2") }, at).expect("there is none");
    assert!(added.peek(key(b"a"), at).is_some() && value(&added, b"a", at).is_none());
    let mut replaced = fill();
    let present = Write { condition: Condition::Present, ..write(b"2") };
    assert_eq!(replaced.set(key(b"a"), present, at), Err(StoreError::NotFound));
    let mut counted = fill();
    assert_eq!(counted.increment(key(b"a"), 1, None, Expiry::Never, at), Err(StoreError::NotFound));
    let mut voided = fill();
    assert!(!voided.void(key(b"a"), at) && gone(&voided));
    let mut invalidated = fill();
    invalidated.invalidate(GROUP, at);
    assert!(gone(&invalidated));
    let mut swept = fill();
    let mut cursor = Some(0);
    while let Some(next) = cursor {
        (cursor, _) = swept.void_where(next, at, |_, _| true);
    }
    assert!(gone(&swept));
    // Who says that its time is over wants it gone.
    let mut touched = store();
    touched.set(key(b"a"), Write { expiry: Expiry::Never, ..write(b"1") }, NOW).expect("room");
    touched.touch(key(b"a"), Expiry::At(NOW + 1), at).expect("it is there");
    assert!(gone(&touched));
    for store in [deleted, added, replaced, counted, voided, invalidated, swept, touched] {
        store.validate();
    }
}

#[test]
fn what_is_as_good_as_new_expires_anew() {
    let mut store = store();
    let version = store.set(key(b"a"), write(b"v"), NOW).expect("room");
    assert!(store.renew(key(b"a"), version + 1, Expiry::After(50), NOW + 60).is_none(), "it is another one");
    let handle = store.renew(key(b"a"), version, Expiry::After(50), NOW + 60).expect("it is stale");
    assert_eq!((store.entry(handle).version, store.entry(handle).expires_at_ms), (version, NOW + 110));
    assert!(store.get(key(b"a"), NOW + 109).is_some());
    let handle = store.renew(key(b"a"), version, Expiry::Never, NOW + 109).expect("it is fresh");
    assert_eq!(store.entry(handle).expires_at_ms, 0);
    assert!(store.renew(key(b"b"), version, Expiry::Never, NOW).is_none());
    store.set(key(b"a"), write(b"v"), NOW + 200).expect("room");
    assert!(store.renew(key(b"a"), version, Expiry::Never, NOW + 200).is_none(), "it was written since");
    store.validate();
}

#[test]
fn a_longer_window_shows_nothing_for_longer_than_it_was_good_for() {
    let mut store = store();
    store.set(key(b"a"), write(b"v"), NOW).expect("room");
    store.set_stale(GROUP, 10);
    assert_eq!(store.get(key(b"a"), NOW).map(|handle| store.entry(handle).expires_at_ms), Some(NOW + 50));
    store.set_stale(GROUP, 120);
    assert_eq!(store.get(key(b"a"), NOW).map(|handle| store.entry(handle).expires_at_ms), Some(NOW + 30));
    assert_eq!(value(&store, b"a", NOW + 149), Some((b"v".to_vec(), NOW + 30)));
    assert_eq!(value(&store, b"a", NOW + 150), None);
    store.validate();
}
