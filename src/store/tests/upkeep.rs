//! Scans, and budgets that are lowered while the store is in use.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use larder_store::limits::{ENTRY_BYTES_MIN, EVICTION_STEPS, HOME_ENTRIES_MAX, SHRINK_STEP_BYTES};
use larder_store::{Charge, GroupIndex, Key, NoHook, PolicyKind, Store, Write};

use crate::{SETTINGS, full, group, key_hash};

const NOW: u64 = 1_700_000_000_000;
const MIB: u64 = 1 << 20;

fn store(budgets: &[u64]) -> Store {
    let mut store = Store::new(SETTINGS, NoHook);
    for (index, budget) in budgets.iter().enumerate() {
        store.create_group(group(&format!("group {index}"), PolicyKind::TwoQ, Charge::Bytes, *budget)).unwrap();
    }
    store
}

fn key(group: u16, bytes: &[u8]) -> Key<'_> {
    Key { group: GroupIndex(group), hash: key_hash(7, bytes), bytes }
}

fn set(store: &mut Store, group: u16, number: u32, value_bytes: usize) {
    let value = vec![number as u8; value_bytes];
    store.set(key(group, &number.to_be_bytes()), Write { value: &value, ..Write::default() }, NOW).unwrap();
}

/// The numbers that a scan shows in calls of so many entries each, with something happening between them.
fn scanned(store: &mut Store, count: usize, mut between: impl FnMut(&mut Store)) -> BTreeSet<u32> {
    let (mut numbers, mut cursor) = (BTreeSet::new(), Some(0));
    while let Some(from) = cursor {
        let mut seen = 0;
        cursor = store.scan(GroupIndex(1), from, NOW, |entry| {
            seen += 1;
            numbers.insert(u32::from_be_bytes(entry.key.try_into().unwrap()));
            if seen < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        assert!(seen < count + HOME_ENTRIES_MAX, "{seen} entries at once");
        assert!(cursor.is_none_or(|cursor| cursor > from), "a scan goes forward");
        between(store);
    }
    numbers
}

#[test]
fn a_scan_shows_every_entry_of_its_group_and_no_other() {
    let mut store = store(&[MIB, 16 * MIB]);
    assert!(scanned(&mut store, 10, |_| ()).is_empty());
    for number in 0..20_000 {
        set(&mut store, u16::from(number % 4 > 0), number, 20);
    }
    let all: BTreeSet<u32> = (0..20_000).filter(|number| number % 4 > 0).collect();
    for count in [1, 100, 1_000_000] {
        assert_eq!(scanned(&mut store, count, |_| ()), all, "{count} at a time");
    }
    store.invalidate(GroupIndex(1), NOW);
    assert!(scanned(&mut store, 10, |_| ()).is_empty(), "what is absent is not shown");
}

/// The index grows to several times its size and shrinks again, and the cleaner moves entries.
#[test]
fn what_is_there_throughout_is_shown_whatever_happens_meanwhile() {
    for seed in 0..if full() { 20 } else { 3 } {
        let mut store = store(&[16 * MIB, 32 * MIB]);
        let mut random = fastrand::Rng::with_seed(seed);
        (0..3_000).for_each(|number| set(&mut store, 1, number, 30));
        let (mut step, mut newest) = (0, 3_000_u32);
        let shown = scanned(&mut store, 20, |store| {
            step += 1;
            for _ in 0..200 {
                if step % 100 < 50 {
                    set(store, random.u16(0..2), newest, random.usize(0..100));
                    newest += 1;
                } else if newest > 3_000 {
                    let number = random.u32(3_000..newest).to_be_bytes();
                    let _ = store.delete(key(random.u16(0..2), &number), 0, NOW);
                }
                set(store, 1, random.u32(0..3_000), random.usize(0..60));
            }
            store.reclaim(NOW, 100);
        });
        assert!(step > 100, "seed {seed}: the index grew and shrank, {step} steps");
        assert_eq!(shown.range(..3_000).count(), 3_000, "seed {seed}");
        store.validate();
    }
}

#[test]
fn a_lowered_budget_is_met_in_bounded_steps_of_all_groups_together() {
    let mut store = store(&[16 * MIB, 16 * MIB]);
    for number in 0..60_000 {
        set(&mut store, (number % 2) as u16, number, 300);
    }
    for group in [GroupIndex(0), GroupIndex(1)] {
        assert!(store.counters(group).bytes > 8 * MIB);
        store.set_budget(group, 4 * MIB).unwrap();
    }
    let (steps, mut calls) = (64, 0);
    loop {
        let before = store.counters(GroupIndex(0)).bytes + store.counters(GroupIndex(1)).bytes;
        let reclaimed = store.reclaim(NOW, steps);
        let after = store.counters(GroupIndex(0)).bytes + store.counters(GroupIndex(1)).bytes;
        assert_eq!(before - after, reclaimed.bytes);
        let evicted_max = (steps / EVICTION_STEPS) as u64 + SHRINK_STEP_BYTES / ENTRY_BYTES_MIN;
        assert!(reclaimed.evicted <= evicted_max, "{} entries at once", reclaimed.evicted);
        calls += 1;
        assert_eq!(reclaimed.more, reclaimed.shrinking);
        if !reclaimed.more {
            break;
        }
    }
    assert!((500..10_000).contains(&calls), "{calls} calls");
    for group in [GroupIndex(0), GroupIndex(1)] {
        let counters = store.counters(group);
        assert!(counters.bytes + counters.ghost_bytes <= 4 * MIB && counters.bytes > 3 * MIB, "{counters:?}");
    }
    store.validate();
}

/// A budget of which little is used is lowered in few calls, since there is nothing to evict.
#[test]
fn what_nobody_uses_is_given_back_soon() {
    let mut store = store(&[32 * MIB]);
    (0..1_000).for_each(|number| set(&mut store, 0, number, 300));
    store.set_budget(GroupIndex(0), MIB).unwrap();
    let calls = (1..1_000).find(|_| !store.reclaim(NOW, 256).more);
    assert!(calls.is_some_and(|calls| calls < 100), "{calls:?} calls");
    assert_eq!(store.counters(GroupIndex(0)).evictions, 0);
    store.validate();
}
