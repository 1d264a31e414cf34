//! What reads, and what writes in place, allocates nothing.

use allocation_counter::measure;
use larder_store::{Charge, Expiry, GroupIndex, Key, NoHook, PolicyKind, Store, StoreSettings, Write};

use crate::{SETTINGS, group, key_hash};

const NOW: u64 = 1_700_000_000_000;
const KEYS: u32 = 1000;
/// Lengths of values: empty, usual, the longest in one piece of this memory and the next, many pieces.
const LENGTHS: [usize; 5] = [0, 100, 4_000, 8_000, 90_000];

#[track_caller]
fn allocates_nothing(what: &str, call: impl FnOnce()) {
    let info = measure(call);
    assert_eq!(info.count_total, 0, "{what}: {info:?}");
}

fn key(number: &[u8; 4]) -> Key<'_> {
    Key { group: GroupIndex(0), hash: key_hash(7, number), bytes: number }
}

/// A store with so many entries of all lengths, each with its neighbours in the lists of the policy.
fn store(policy: PolicyKind) -> Store {
    let mut store = Store::new(StoreSettings { memory_bytes: 32 << 20, ..SETTINGS }, NoHook);
    store.create_group(group("default", policy, Charge::Bytes, 32 << 20)).unwrap();
    for number in 0..KEYS {
        set(&mut store, number, LENGTHS[number as usize % LENGTHS.len()], &[7; 90_000]);
    }
    assert_eq!(store.counters(GroupIndex(0)).entries, u64::from(KEYS), "all of them are held");
    store
}

fn set(store: &mut Store, number: u32, length: usize, bytes: &[u8]) {
    let write = Write { value: &bytes[..length], ..Write::default() };
    store.set(key(&number.to_le_bytes()), write, NOW).unwrap();
}

#[test]
fn a_get_allocates_nothing_whether_it_hits_or_misses() {
    for &policy in PolicyKind::ALL {
        let mut store = store(policy);
        // Twice, so that an entry is read that was read before and one that was not.
        for round in 0..2 {
            for number in 0..2 * KEYS {
                let number_bytes = number.to_le_bytes();
                let what = format!("{policy}, key {number}, round {round}");
                allocates_nothing(&what, || {
                    let handle = store.get(key(&number_bytes), NOW + round);
                    let length =
                        handle.map(|handle| store.entry(handle).value.pieces().map(<[u8]>::len).sum::<usize>());
                    assert_eq!(length, (number < KEYS).then(|| LENGTHS[number as usize % LENGTHS.len()]));
                });
            }
        }
        let pieces = |number: u32| {
            let handle = store.peek(key(&number.to_le_bytes()), NOW).unwrap();
            store.entry(handle).value.pieces().count()
        };
        assert_eq!([0, 1, 2, 3, 4].map(pieces), [1, 1, 1, 2, 23], "in one piece and in several");
    }
}

#[test]
fn a_get_of_what_has_expired_allocates_nothing() {
    for &policy in PolicyKind::ALL {
        let mut store = store(policy);
        for number in 0..KEYS {
            store.touch(key(&number.to_le_bytes()), Expiry::After(1), NOW).unwrap();
        }
        for number in 0..KEYS {
            let number = number.to_le_bytes();
            allocates_nothing("a removal", || assert_eq!(store.get(key(&number), NOW + 1), None));
        }
        assert_eq!(store.counters(GroupIndex(0)).expirations, u64::from(KEYS));
    }
}

#[test]
fn runs_of_gets_and_what_is_asked_ahead_allocate_nothing() {
    let mut store = store(PolicyKind::TwoQ);
    let numbers: Vec<[u8; 4]> = (0..2 * KEYS).map(u32::to_le_bytes).collect();
    let hashes: Vec<u64> = numbers.iter().map(|number| key(number).hash).collect();
    let mut handles = Vec::with_capacity(numbers.len());
    allocates_nothing("a run", || {
        store.prefetch(&hashes);
        handles.extend(numbers.iter().map(|number| store.get(key(number), NOW)));
        let found = handles.iter().flatten().filter(|&&handle| store.entry(handle).version > 0).count();
        assert_eq!(found, KEYS as usize);
    });
}

#[test]
fn a_set_of_the_same_length_allocates_nothing() {
    for &policy in PolicyKind::ALL {
        let mut store = store(policy);
        let written = store.memory().written_bytes;
        for number in 0..KEYS {
            let length = LENGTHS[number as usize % LENGTHS.len()];
            let other = [number as u8; 90_000];
            allocates_nothing(&format!("{policy}, {length} bytes"), || set(&mut store, number, length, &other));
            let handle = store.get(key(&number.to_le_bytes()), NOW).unwrap();
            assert!(store.entry(handle).value == other[..length]);
        }
        assert_eq!(store.memory().written_bytes, written, "they were written in place");
    }
}

/// Once memory is full, a set of any length finds everything that it needs in the region.
#[test]
fn a_set_that_evicts_and_cleans_allocates_nothing() {
    let mut random = fastrand::Rng::with_seed(1);
    for &policy in PolicyKind::ALL {
        let mut store = store(policy);
        let bytes = [9; 90_000];
        let mut random_set = |store: &mut Store| {
            let most = LENGTHS[random.usize(1..LENGTHS.len())];
            let length = random.usize(0..most);
            set(store, random.u32(0..5 * KEYS), length, &bytes);
        };
        (0..20_000).for_each(|_| random_set(&mut store));
        let before = store.memory();
        for _ in 0..5_000 {
            allocates_nothing(&policy.to_string(), || random_set(&mut store));
        }
        let after = store.memory();
        assert!(after.moved_bytes > before.moved_bytes && after.evictions > before.evictions, "{before:?} {after:?}");
        store.validate();
    }
}
