//! A scan shows what is there throughout, whatever is written between its calls.

use std::ops::ControlFlow;

use larder_store::{Charge, GroupIndex, Key, NoHook, PolicyKind, Store, StoreSettings, Write};

use crate::{SETTINGS, group, key_hash};

const NOW: u64 = 1_700_000_000_000;
const SCANNED: GroupIndex = GroupIndex(0);
const OTHER: GroupIndex = GroupIndex(1);
/// Entries that nobody touches while the scan goes on.
const STEADY: u32 = 5_000;

/// Two groups in a memory that their budgets fill; the first has room for all that it is given.
fn store() -> Store {
    let mut store = Store::new(StoreSettings { memory_bytes: 32 << 20, ..SETTINGS }, NoHook);
    store.create_group(group("scanned", PolicyKind::Lru, Charge::Bytes, 2 << 20)).unwrap();
    store.create_group(group("other", PolicyKind::Lru, Charge::Bytes, 30 << 20)).unwrap();
    (0..STEADY).for_each(|number| set(&mut store, SCANNED, number, 40));
    store
}

fn set(store: &mut Store, group: GroupIndex, number: u32, length: usize) {
    let number = number.to_le_bytes();
    let key = Key { group, hash: key_hash(7, &number), bytes: &number };
    store.set(key, Write { value: &[6; 20_000][..length], ..Write::default() }, NOW).unwrap();
}

fn delete(store: &mut Store, group: GroupIndex, number: u32) {
    let number = number.to_le_bytes();
    let _ = store.delete(Key { group, hash: key_hash(7, &number), bytes: &number }, 0, NOW);
}

/// Scans the first group, has something `happen` between the calls, and returns how many there were and how often each
/// of the steady entries was shown.
fn scan(store: &mut Store, count: usize, mut happen: impl FnMut(&mut Store)) -> (usize, Vec<usize>) {
    let (mut shown, mut cursor, mut calls) = (vec![0; STEADY as usize], Some(0), 0);
    while let Some(at) = cursor {
        let mut entries = 0;
        cursor = store.scan(SCANNED, at, NOW, |entry| {
            let number = u32::from_le_bytes(entry.key.try_into().expect("keys are numbers"));
            if let Some(shown) = shown.get_mut(number as usize) {
                *shown += 1;
            }
            entries += 1;
            if entries < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        calls += 1;
        happen(store);
    }
    (calls, shown)
}

#[track_caller]
fn assert_all_shown((calls, shown): &(usize, Vec<usize>)) {
    let missed = shown.iter().filter(|&&times| times == 0).count();
    assert_eq!(missed, 0, "of {STEADY}, in {calls} calls");
}

#[test]
fn with_nothing_going_on_each_entry_is_shown_once() {
    let mut store = store();
    for count in [1, 7, 100, 1_000_000] {
        let (calls, shown) = scan(&mut store, count, |_| {});
        assert!(shown.iter().all(|&times| times == 1), "{count} at a time");
        assert!(calls > STEADY as usize / (count + 20), "{calls} calls of {count}");
    }
}

#[test]
fn while_the_index_grows_all_that_stays_is_shown() {
    let mut store = store();
    let (mut number, before) = (0, store.memory());
    let scanned = scan(&mut store, 20, |store| {
        (0..1000).for_each(|_| {
            number += 1;
            set(store, OTHER, number, 8);
        });
    });
    assert_all_shown(&scanned);
    let after = store.memory();
    assert!(after.index_lines > 4 * before.index_lines, "{before:?} {after:?}");
    store.validate();
}

#[test]
fn while_the_index_shrinks_all_that_stays_is_shown() {
    let mut store = store();
    (0..300_000).for_each(|number| set(&mut store, OTHER, number, 8));
    let (mut number, before) = (300_000, store.memory());
    let scanned = scan(&mut store, 20, |store| {
        for _ in 0..1500_u32.min(number) {
            number -= 1;
            delete(store, OTHER, number);
        }
    });
    assert_all_shown(&scanned);
    let after = store.memory();
    assert!(after.index_lines * 4 < before.index_lines, "{before:?} {after:?}");
    store.validate();
}

/// The lengths of values change, so that cleaning moves the steady entries while they are scanned, and the index grows
/// and shrinks with how many entries there is room for.
#[test]
fn while_entries_are_moved_and_evicted_all_that_stays_is_shown() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut store = store();
    let (mut lines, mut moved) = (Vec::new(), 0);
    for round in 0..6 {
        let (length, writes) = [(8, 3000), (15_000, 60)][round % 2];
        let scanned = scan(&mut store, 50, |store| {
            for _ in 0..writes {
                let length = random.usize(0..=length);
                set(store, OTHER, random.u32(0..400_000), length);
                delete(store, OTHER, random.u32(0..400_000));
            }
        });
        assert_all_shown(&scanned);
        let memory = store.memory();
        lines.push(memory.index_lines);
        moved = memory.moved_bytes;
        store.validate();
    }
    assert_eq!(store.counters(SCANNED).entries, u64::from(STEADY));
    assert!(
        lines.windows(2).any(|pair| pair[0] < pair[1]) && lines.windows(2).any(|pair| pair[0] > pair[1]),
        "{lines:?}"
    );
    assert!(moved > 1 << 20, "{moved} bytes were moved");
}
