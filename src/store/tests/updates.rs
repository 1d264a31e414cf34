//! What is made of entries that are there.

use larder_store::{Charge, Expiry, GroupIndex, Key, NoHook, PolicyKind, Store, StoreError, TouchCondition, Write};

use crate::{SETTINGS, group, key_hash};

const NOW: u64 = 1_700_000_000_000;

fn store() -> Store {
    let mut store = Store::new(SETTINGS, NoHook);
    store.create_group(group("default", PolicyKind::TwoQ, Charge::Bytes, 10_000)).unwrap();
    store
}

fn key(bytes: &[u8]) -> Key<'_> {
    Key { group: GroupIndex(0), hash: key_hash(7, bytes), bytes }
}

fn write(value: &[u8]) -> Write<'_> {
    Write { value, ..Write::default() }
}

#[test]
fn an_update_makes_a_value_of_the_one_before() {
    let mut store = store();
    let first = store.update(key(b"k"), NOW, |value| {
        value.extend_from_slice(b"abc");
        Ok(())
    });
    let first = first.unwrap();
    store.set(key(b"k"), Write { flags: 7, expiry: Expiry::After(100), ..write(b"abc") }, NOW).unwrap();
    let second = store.update(key(b"k"), NOW + 1, |value| {
        value.reverse();
        Ok(())
    });
    let second = second.unwrap();
    assert!(second > first);
    let refused = store.update(key(b"k"), NOW + 2, |value| {
        value.clear();
        Err(StoreError::NotANumber)
    });
    assert_eq!(refused, Err(StoreError::NotANumber));
    let long = SETTINGS.value_bytes_max + 1;
    let too_long = store.update(key(b"k"), NOW + 3, |value| {
        value.resize(long, 0);
        Ok(())
    });
    assert_eq!(too_long, Err(StoreError::TooLarge));
    let entry = store.entry(store.peek(key(b"k"), NOW + 3).unwrap());
    assert_eq!((entry.value.contiguous(), entry.flags, entry.version), (Some(&b"cba"[..]), 7, second));
    assert_eq!(entry.expires_at_ms, NOW + 100);
    store.validate();
}

#[test]
fn a_touch_that_is_not_meant_changes_nothing() {
    let mut store = store();
    store.set(key(b"k"), Write { expiry: Expiry::After(100), ..write(b"a") }, NOW).unwrap();
    for (expiry, only) in [
        (Expiry::Never, TouchCondition::Lasting),
        (Expiry::After(100), TouchCondition::Later),
        (Expiry::After(100), TouchCondition::Earlier),
        (Expiry::Keep, TouchCondition::ExpiringEarlier),
    ] {
        assert_eq!(store.touch_if(key(b"k"), expiry, only, NOW), Err(StoreError::Exists), "{only:?}");
        assert_eq!(store.entry(store.peek(key(b"k"), NOW).unwrap()).expires_at_ms, NOW + 100, "{only:?}");
    }
    assert!(store.touch_if(key(b"k"), Expiry::Never, TouchCondition::Expiring, NOW).is_ok());
    assert!(store.touch_if(key(b"k"), Expiry::After(1), TouchCondition::Earlier, NOW).is_ok());
    store.validate();
}
