//! What the store promises about its memory, and mistakes that stores of this kind make.

use std::ops::ControlFlow;

use larder_store::limits::{CLEAN_RATIO, GHOST_BYTES, MEMORY_BYTES_MIN, SEGMENT_BYTES_MIN};
use larder_store::{
    Charge, Expiry, GroupError, GroupIndex, GroupSettings, Key, NoHook, PolicyKind, Store, StoreError, StoreSettings,
    Write,
};

use crate::{SETTINGS, group, key_hash};

const NOW: u64 = 1_700_000_000_000;
const GROUP: GroupIndex = GroupIndex(0);

fn store(policy: PolicyKind, memory_bytes: u64) -> Store {
    let mut store = Store::new(StoreSettings { memory_bytes, value_bytes_max: 64 << 20, ..SETTINGS }, NoHook);
    assert_eq!(store.create_group(group("default", policy, Charge::Bytes, memory_bytes)), Ok(GROUP));
    store
}

fn key(bytes: &[u8]) -> Key<'_> {
    Key { group: GROUP, hash: key_hash(7, bytes), bytes }
}

fn write(value: &[u8]) -> Write<'_> {
    Write { value, ..Write::default() }
}

/// A value that says which it is at each place.
fn pattern(seed: u32, len: usize) -> Vec<u8> {
    (0..len as u32).map(|at| (at.wrapping_mul(31) ^ at >> 8 ^ seed) as u8).collect()
}

#[test]
fn values_of_all_sizes_come_back_whole() {
    let mut store = store(PolicyKind::Lru, 24 << 20);
    let largest = (0..24 << 20).rev().step_by(4096).find(|&len| store.entry_bytes(5, len) <= store.entry_bytes_max());
    for len in [0, 1, 4000, 4040, 4060, 8192, 65_534, 65_535, 65_536, 1 << 20, largest.unwrap()] {
        let value = pattern(1, len);
        store.set(key(b"value"), write(&value), NOW).unwrap();
        store.validate();
        let handle = store.get(key(b"value"), NOW).unwrap();
        let held = store.entry(handle).value;
        assert_eq!((held.len(), held.is_empty(), held.to_vec() == value), (len, len == 0, true), "{len} bytes");
        assert!(held == value[..] && held == held && held != [value.as_slice(), b"!"].concat()[..], "{len} bytes");
        assert_eq!(held.contiguous().is_some(), held.pieces().count() == 1);
        assert_eq!(store.counters(GROUP).bytes, store.entry_bytes(5, len));
        if store.entry_bytes(5, len + 8) <= store.entry_bytes_max() {
            store.prepend(key(b"value"), b"<--", NOW).unwrap();
            store.append(key(b"value"), b"--->", NOW).unwrap();
            let handle = store.get(key(b"value"), NOW).unwrap();
            assert!(store.entry(handle).value == [b"<--", value.as_slice(), b"--->"].concat()[..], "{len} bytes");
            store.validate();
        }
    }
}

#[test]
fn a_value_larger_than_memory_could_hold_is_refused_and_evicts_nothing() {
    let mut store = store(PolicyKind::TwoQ, 1 << 20);
    for number in 0..100_u32 {
        store.set(key(&number.to_le_bytes()), write(b"value"), NOW).unwrap();
    }
    let first = (0..2 << 20).find(|&len| store.entry_bytes(1, len) > store.entry_bytes_max()).unwrap();
    for len in [first, 1 << 20, 64 << 20] {
        assert_eq!(store.set(key(b"k"), write(&vec![0; len]), NOW), Err(StoreError::TooLarge), "{len}");
    }
    assert_eq!((store.counters(GROUP).entries, store.memory().evictions), (100, 0));
    store.set(key(b"k"), write(&vec![0; first - 1]), NOW).unwrap();
    store.set(key(b"k"), write(&vec![0; first - 4000]), NOW).unwrap();
    store.validate();
}

#[test]
fn limits_count_bytes_and_not_entries() {
    let mut store = store(PolicyKind::Lru, 4 << 20);
    store.set_budget(GROUP, 1 << 20).unwrap();
    for number in 0..100_u32 {
        store.set(key(&number.to_le_bytes()), write(&[0; 100_000]), NOW).unwrap();
    }
    assert_eq!(store.counters(GROUP).entries, 10);
    for number in 0..100_000_u32 {
        store.set(key(&number.to_le_bytes()), write(b"v"), NOW).unwrap();
    }
    assert_eq!(store.counters(GROUP).entries, (1 << 20) / 48);
    store.validate();
}

#[test]
fn a_rewritten_key_is_in_one_list() {
    let mut store = store(PolicyKind::TwoQ, 1 << 20);
    for round in 0..2000 {
        let number = round % 7_u32;
        store.set(key(&number.to_le_bytes()), write(&vec![1; (round * 37 % 9000) as usize]), NOW).unwrap();
        store.validate();
    }
    assert_eq!(store.counters(GROUP).entries, 7);
}

#[test]
fn a_sweep_leaves_what_does_not_expire() {
    let mut store = store(PolicyKind::Lru, 4 << 20);
    for number in 0..1000_u32 {
        let expiry = if number % 10 == 0 { Expiry::After(1) } else { Expiry::Default };
        store.set(key(&number.to_le_bytes()), Write { expiry, ..write(b"v") }, NOW).unwrap();
    }
    while store.reclaim(NOW + 1_000_000, 100).amid_round {}
    assert_eq!(store.counters(GROUP).entries, 900, "no TTL means no expiry");
    store.validate();
}

#[test]
fn a_million_entries_that_expire_in_one_ms_are_reclaimed_in_bounded_steps_without_reads() {
    let mut store = store(PolicyKind::TwoQ, 128 << 20);
    for number in 0..1_000_000_u32 {
        store.set(key(&number.to_le_bytes()), Write { expiry: Expiry::At(NOW + 1000), ..write(b"v") }, NOW).unwrap();
    }
    let before = store.memory();
    let mut calls = 0;
    while store.reclaim(NOW + 1000, 1000).more {
        calls += 1;
    }
    let after = store.memory();
    assert!((1000..1010).contains(&calls), "{calls} calls of 1000 steps");
    assert_eq!((store.counters(GROUP).entries, after.live_bytes), (0, 0));
    assert!(after.segments_log <= 1 && after.segments_free > before.segments_free, "{after:?}");
    store.validate();
}

#[test]
fn memory_holds_what_it_is_given_whatever_the_sizes_were_before() {
    let mut store = store(PolicyKind::Lru, 16 << 20);
    let mut number = 0_u32;
    for len in [200, 65_536, 1024, 16, 0, 3_000_000, 100] {
        let mut written = 0;
        while written < 4 * (16 << 20) {
            number += 1;
            store.set(key(&number.to_le_bytes()), write(&vec![2; len]), NOW).unwrap();
            written += len + 40;
        }
        store.validate();
        let memory = store.memory();
        let taken = memory.live_bytes + memory.segments_index * memory.segment_bytes;
        assert!(taken * 100 >= if len > 1 << 20 { 60 } else { 88 } * memory.memory_bytes, "{len}: {memory:?}");
    }
    let memory = store.memory();
    assert!(memory.moved_bytes * 10 < memory.written_bytes, "in order, whole segments die: {memory:?}");
}

#[test]
fn no_write_moves_more_than_its_share() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut store = store(PolicyKind::Lru, 16 << 20);
    let mut evictions_max = 0;
    for _ in 0..600_000 {
        let number = random.u32(0..300_000).to_le_bytes();
        let before = store.counters(GROUP).evictions;
        store.set(key(&number), write(&[3; 64]), NOW).unwrap();
        evictions_max = evictions_max.max(store.counters(GROUP).evictions - before);
        let _ = store.delete(key(&random.u32(0..300_000).to_le_bytes()), 0, NOW);
    }
    store.validate();
    let memory = store.memory();
    let entry_bytes = store.entry_bytes(4, 64) - 8;
    assert!(memory.moved_bytes > memory.written_bytes, "{memory:?}");
    assert!(memory.moved_bytes < 8 * memory.written_bytes, "{memory:?}");
    assert!(memory.moved_bytes_max <= (CLEAN_RATIO as u64 + 1) * entry_bytes, "{memory:?}");
    assert!(evictions_max <= 14, "{evictions_max} entries were evicted for one");
}

#[test]
fn ghosts_are_remembered_while_memory_is_full() {
    let mut store = store(PolicyKind::TwoQ, 16 << 20);
    for number in 0..400_000_u32 {
        store.set(key(&number.to_le_bytes()), write(&[5; 64]), NOW).unwrap();
    }
    let (counters, memory) = (store.counters(GROUP), store.memory());
    assert!(memory.evictions > 100_000, "memory was full before the budget was: {memory:?}");
    assert!(counters.ghost_bytes / GHOST_BYTES * 3 > counters.entries, "{counters:?}");
    let ghosts_bytes = memory.segments_ghost * memory.segment_bytes;
    assert!(ghosts_bytes < counters.ghost_bytes + counters.ghost_bytes / 4, "{memory:?}");
    store.validate();
}

/// Many groups that all would have ghosts, where hardly one can have them: evicting must not try again and again.
#[test]
fn ghosts_that_cannot_have_memory_are_not_begun_again_and_again() {
    let groups = 60;
    let mut store = store(PolicyKind::TwoQ, MEMORY_BYTES_MIN);
    store.set_budget(GROUP, MEMORY_BYTES_MIN / 61).unwrap();
    let other = |number| group(&format!("group {number}"), PolicyKind::TwoQ, Charge::Bytes, MEMORY_BYTES_MIN / 61);
    let groups: Vec<_> = (0..groups).map(|number| store.create_group(other(number)).unwrap()).collect();
    let mut before = store.memory();
    for number in 0..60_000_u32 {
        let (group, bytes) = (groups[number as usize % groups.len()], number.to_le_bytes());
        store.set(Key { group, ..key(&bytes) }, write(&[1; 64]), NOW).unwrap();
        if number % 1000 == 0 {
            store.validate();
        }
        if number == 30_000 {
            before = store.memory();
        }
    }
    let after = store.memory();
    let bytes = after.written_bytes + after.moved_bytes - before.written_bytes - before.moved_bytes;
    let (taken, needed) = (after.segments_taken - before.segments_taken, bytes / after.segment_bytes);
    assert!(taken < 2 * needed, "{taken} segments were taken for the bytes of {needed}");
}

#[test]
fn a_smaller_budget_is_approached_in_steps() {
    for policy in [PolicyKind::Lru, PolicyKind::TwoQ] {
        let mut store = store(policy, 16 << 20);
        store.set_budget(GROUP, 12 << 20).unwrap();
        let set = |store: &mut Store, number: u32| {
            store.set(key(&number.to_le_bytes()), write(&[4; 50]), NOW).unwrap();
        };
        (0..200_000).for_each(|number| set(&mut store, number));
        let full = store.counters(GROUP);
        assert!(full.bytes + full.ghost_bytes > (12 << 20) - 200, "{full:?}");
        store.set_budget(GROUP, 6 << 20).unwrap();
        assert_eq!(store.counters(GROUP).bytes, full.bytes, "nothing was evicted yet");
        store.validate();
        for number in 200_000..201_000 {
            let before = store.counters(GROUP).evictions;
            set(&mut store, number);
            assert!(store.counters(GROUP).evictions - before <= 4, "one entry makes room for a few");
        }
        store.validate();
        let (mut calls, mut evicted) = (0, 0);
        loop {
            let before = store.counters(GROUP).bytes;
            let reclaimed = store.reclaim(NOW, 10);
            assert_eq!(reclaimed.bytes, before - store.counters(GROUP).bytes);
            (calls, evicted) = (calls + 1, evicted + reclaimed.evicted);
            assert!(reclaimed.evicted <= 10 * (4096 / 88 + 2));
            if calls % 20 == 0 {
                store.validate();
            }
            if !reclaimed.more {
                break;
            }
        }
        let counters = store.counters(GROUP);
        assert!(calls > 100 && evicted > 50_000, "{calls} calls evicted {evicted}");
        assert!(counters.bytes + counters.ghost_bytes <= 6 << 20 && counters.budget_bytes == 6 << 20);
        store.set_budget(GROUP, 12 << 20).unwrap();
        (0..200_000).for_each(|number| set(&mut store, number));
        let counters = store.counters(GROUP);
        assert!(counters.bytes + counters.ghost_bytes > (12 << 20) - 200, "a larger one is there at once");
        assert_eq!(counters.ghost_bytes % GHOST_BYTES, 0);
        store.validate();
    }
    let mut store = store(PolicyKind::Lru, 16 << 20);
    let small = store.set_budget(GROUP, 1).unwrap_err();
    assert!(matches!(small, GroupError::BudgetTooSmall { budget: 1, .. }));
    let large = store.set_budget(GROUP, (16 << 20) + 1).unwrap_err();
    assert_eq!(
        large.to_string(),
        "group \"default\" has a budget of 16777217 bytes on each shard, where the other groups leave 16777216 of its memory; lower it or raise the memory"
    );
}

#[test]
fn jitter_spreads_the_default_ttl_alone() {
    let mut store = Store::new(SETTINGS, NoHook);
    let settings = group("default", PolicyKind::Lru, Charge::Bytes, 32 << 20);
    store.create_group(GroupSettings { ttl_ms: 10_000, ttl_jitter: 25, ..settings }).unwrap();
    let mut times = Vec::new();
    for number in 0..10_000_u32 {
        let number = number.to_le_bytes();
        store.set(key(&number), write(b"v"), NOW).unwrap();
        let handle = store.peek(key(&number), NOW).unwrap();
        times.push(store.entry(handle).expires_at_ms - NOW);
        store.set(key(&number), Write { expiry: Expiry::After(10_000), ..write(b"v") }, NOW).unwrap();
        let handle = store.peek(key(&number), NOW).unwrap();
        assert_eq!(store.entry(handle).expires_at_ms, NOW + 10_000, "a time that is given is exact");
    }
    times.sort_unstable();
    assert!((7500..7510).contains(&times[0]) && (12_490..=12_500).contains(&times[9_999]));
    assert!((9800..10_200).contains(&times[5000]), "{} is in the middle", times[5000]);
}

#[test]
fn a_time_that_is_centuries_ahead_is_kept() {
    let mut store = store(PolicyKind::Lru, 1 << 20);
    let far = NOW + 500 * 365 * 86_400_000;
    store.set(key(b"set"), Write { expiry: Expiry::At(far), flags: 5, ..write(b"v") }, NOW).unwrap();
    let version = store.set(key(b"touched"), Write { flags: 6, ..write(b"value") }, NOW).unwrap();
    let touched = store.touch(key(b"touched"), Expiry::At(far + 1), NOW).unwrap();
    let entry = store.entry(touched);
    assert_eq!((entry.expires_at_ms, entry.version, entry.flags), (far + 1, version, 6));
    assert!(entry.value == b"value" && !entry.hit_before);
    store.validate();
    let handle = store.get(key(b"set"), far - 1).unwrap();
    assert_eq!(store.entry(handle).expires_at_ms, far);
    assert!(store.get(key(b"set"), far).is_none());
}

#[test]
fn a_scan_shows_what_is_there_throughout() {
    let mut random = fastrand::Rng::with_seed(2);
    let mut store = store(PolicyKind::Lru, 32 << 20);
    let other = store
        .set_budget(GROUP, 16 << 20)
        .and_then(|()| store.create_group(group("other", PolicyKind::TwoQ, Charge::Bytes, 1 << 20)));
    let set = |store: &mut Store, group: GroupIndex, number: u32| {
        store.set(Key { group, ..key(&number.to_le_bytes()) }, write(b"v"), NOW).unwrap();
    };
    (0..20_000).for_each(|number| set(&mut store, GROUP, number));
    let (mut seen, mut cursor, mut calls) = (vec![0; 20_000], Some(0), 0);
    while let Some(at) = cursor {
        let mut shown = 0;
        cursor = store.scan(GROUP, at, NOW, |entry| {
            let number = u32::from_le_bytes(entry.key.try_into().unwrap()) as usize;
            shown += 1;
            if let Some(seen) = seen.get_mut(number) {
                *seen += 1;
            }
            if shown < 100 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        assert!(shown < 200, "{shown} at once");
        calls += 1;
        for _ in 0..100 {
            set(&mut store, GROUP, random.u32(20_000..200_000));
            set(&mut store, *other.as_ref().unwrap(), random.u32(..));
        }
    }
    assert!(seen.iter().all(|&seen| seen > 0), "{calls} calls");
    store.validate();
}

#[test]
#[should_panic(expected = "memory_bytes 262143 is not within")]
fn memory_without_room_for_segments_is_a_mistake() {
    assert_eq!(MEMORY_BYTES_MIN, 16 * SEGMENT_BYTES_MIN as u64);
    store(PolicyKind::Lru, MEMORY_BYTES_MIN - 1);
}
