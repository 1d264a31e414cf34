//! What the store promises, one promise at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use larder_store::limits::{BUDGET_BYTES_MIN, GROUPS_MAX, KEY_BYTES_MAX, TTL_JITTER_MAX, VERSION_AHEAD_MS_MAX};
use larder_store::{
    Charge, Condition, Expiry, GroupError, GroupIndex, GroupSettings, Handle, Key, Marks, NoHook, PolicyKind, Removal,
    RemovalHook, Store, StoreError, StoreSettings, Write,
};

use crate::{SETTINGS, group, key_hash};

const NOW: u64 = 1_700_000_000_000;
const GROUP: GroupIndex = GroupIndex(0);

fn store(policy: PolicyKind, budget_bytes: u64) -> Store {
    let mut store = Store::new(SETTINGS, NoHook);
    assert_eq!(store.create_group(group("default", policy, Charge::Bytes, budget_bytes)), Ok(GROUP));
    store
}

fn key(bytes: &[u8]) -> Key<'_> {
    Key { group: GROUP, hash: key_hash(7, bytes), bytes }
}

fn write(value: &[u8]) -> Write<'_> {
    Write { value, ..Write::default() }
}

fn value(store: &mut Store, key: Key<'_>, now_ms: u64) -> Option<Vec<u8>> {
    store.get(key, now_ms).map(|handle| store.entry(handle).value.to_vec())
}

fn is_refused(store: &Store, handle: Handle) -> bool {
    catch_unwind(AssertUnwindSafe(|| store.entry(handle).version)).is_err()
}

#[test]
fn conditions_decide_whether_a_write_takes_place() {
    let mut store = store(PolicyKind::Lru, 10_000);
    let on = |condition| Write { value: b"v", condition, ..Write::default() };
    assert_eq!(store.set(key(b"k"), on(Condition::Present), NOW), Err(StoreError::NotFound));
    assert_eq!(store.set(key(b"k"), on(Condition::Version(1)), NOW), Err(StoreError::NotFound));
    let first = store.set(key(b"k"), on(Condition::Absent), NOW).unwrap();
    assert_eq!(store.set(key(b"k"), on(Condition::Absent), NOW), Err(StoreError::Exists));
    let second = store.set(key(b"k"), on(Condition::Version(first)), NOW).unwrap();
    assert_eq!(store.set(key(b"k"), on(Condition::Version(first)), NOW), Err(StoreError::VersionMismatch));
    assert_eq!(store.delete(key(b"k"), first, NOW), Err(StoreError::VersionMismatch));
    assert_eq!(store.delete(key(b"k"), second, NOW), Ok(()));
    assert_eq!(store.delete(key(b"k"), 0, NOW), Err(StoreError::NotFound));
    assert!(first < second);
    let counters = store.counters(GROUP);
    assert_eq!((counters.sets, counters.deletes, counters.entries, counters.bytes), (2, 1, 0, 0));
}

#[test]
fn an_entry_expires_at_its_ms() {
    let mut store = Store::new(SETTINGS, NoHook);
    let settings = GroupSettings { ttl_ms: 2000, ..group("default", PolicyKind::Lru, Charge::Bytes, 10_000) };
    store.create_group(settings).unwrap();
    let at = |expiry| Write { value: b"v", expiry, ..Write::default() };
    for (expiry, last_ms) in [
        (Expiry::Default, 1999),
        (Expiry::After(1), 0),
        (Expiry::After(500), 499),
        (Expiry::At(NOW + 77), 76),
        (Expiry::Keep, 1999),
        (Expiry::Never, 1_000_000_000_000),
        (Expiry::After(u64::MAX), 1_000_000_000_000),
    ] {
        store.set(key(b"k"), at(expiry), NOW).unwrap();
        assert!(store.peek(key(b"k"), NOW + last_ms).is_some(), "{expiry:?}");
        assert!(store.get(key(b"k"), NOW + last_ms).is_some(), "{expiry:?}");
        if last_ms < 1_000_000_000_000 {
            assert!(store.peek(key(b"k"), NOW + last_ms + 1).is_none(), "{expiry:?}");
            assert!(store.get(key(b"k"), NOW + last_ms + 1).is_none(), "{expiry:?}");
        }
        store.validate();
        let _ = store.delete(key(b"k"), 0, NOW);
    }
    assert_eq!(store.counters(GROUP).expirations, 5);
}

#[test]
fn keep_keeps_what_is_left_and_touch_changes_it_alone() {
    let mut store = store(PolicyKind::TwoQ, 10_000);
    let version = store.set(key(b"k"), Write { expiry: Expiry::After(100), ..write(b"a") }, NOW).unwrap();
    let handle = store.touch(key(b"k"), Expiry::After(300), NOW + 50).unwrap();
    let entry = store.entry(handle);
    assert_eq!((entry.expires_at_ms, entry.version, entry.value.contiguous()), (NOW + 350, version, Some(&b"a"[..])));
    store.set(key(b"k"), Write { expiry: Expiry::Keep, ..write(b"b") }, NOW + 200).unwrap();
    assert!(store.peek(key(b"k"), NOW + 349).is_some());
    assert!(store.peek(key(b"k"), NOW + 350).is_none());
    assert_eq!(store.touch(key(b"k"), Expiry::Never, NOW + 350), Err(StoreError::NotFound));
    let counters = store.counters(GROUP);
    assert_eq!((counters.hits, counters.misses, counters.expirations), (1, 1, 1));
}

#[test]
fn a_time_that_has_come_removes() {
    let mut store = store(PolicyKind::Lru, 10_000);
    for expiry in [Expiry::At(NOW), Expiry::At(1), Expiry::At(0), Expiry::After(0)] {
        let before = store.set(key(b"k"), write(b"v"), NOW).unwrap();
        let version = store.set(key(b"k"), Write { expiry, ..write(b"w") }, NOW).unwrap();
        assert!(version > before, "{expiry:?}");
        assert_eq!(store.counters(GROUP).entries, 0, "{expiry:?}");
        assert!(store.set(key(b"k"), Write { expiry, ..write(b"w") }, NOW).is_ok(), "{expiry:?}: nothing to remove");

        store.set(key(b"k"), write(b"v"), NOW).unwrap();
        let handle = store.touch(key(b"k"), expiry, NOW).unwrap();
        assert_eq!(store.entry(handle).value, b"v", "{expiry:?}: one that touches and reads still reads");
        assert_eq!(value(&mut store, key(b"k"), NOW), None, "{expiry:?}");
        assert!(is_refused(&store, handle), "{expiry:?}");
    }
}

#[test]
fn what_is_too_large_changes_nothing() {
    let mut store = store(PolicyKind::TwoQ, 20_000);
    let small: Vec<[u8; 2]> = (0..100_u16).map(u16::to_le_bytes).collect();
    for small in &small {
        store.set(key(small), write(b"123"), NOW).unwrap();
    }
    let before = store.counters(GROUP);
    let room = (0..20_000).rev().find(|&len| store.entry_bytes(2, len) == 20_000).unwrap();
    let long_key = vec![0; KEY_BYTES_MAX + 1];
    for (key, len) in [(key(&small[0]), room + 1), (key(b"new"), room), (key(&small[0]), 100_001), (key(&long_key), 0)]
    {
        assert_eq!(store.set(key, write(&vec![1; len]), NOW), Err(StoreError::TooLarge), "{len}");
    }
    assert_eq!(store.append(key(&small[0]), &vec![1; room - 2], NOW), Err(StoreError::TooLarge));
    assert_eq!(store.counters(GROUP), before);
    assert_eq!(value(&mut store, key(&small[0]), NOW).unwrap(), b"123");
    store.validate();

    store.set(key(&small[0]), write(&vec![2; room]), NOW).unwrap();
    let counters = store.counters(GROUP);
    assert_eq!(
        (counters.entries, counters.bytes, counters.ghost_bytes),
        (1, 20_000, 0),
        "a whole budget is not above it"
    );
    store.validate();
}

#[test]
fn a_largest_key_is_a_key() {
    let mut store = store(PolicyKind::Lru, 200_000);
    let long_key = vec![9; KEY_BYTES_MAX];
    store.set(key(&long_key), write(b"v"), NOW).unwrap();
    assert_eq!(value(&mut store, key(&long_key), NOW).unwrap(), b"v");
    assert!(store.get(key(&long_key[1..]), NOW).is_none());
}

#[test]
fn handles_of_a_run_of_gets_are_valid_together_and_no_longer() {
    let mut store = store(PolicyKind::Lru, 10_000);
    for name in [b"a", b"b", b"c"] {
        store.set(key(name), write(name), NOW).unwrap();
    }
    store.set(key(b"x"), Write { expiry: Expiry::After(5), ..write(b"x") }, NOW).unwrap();
    let now = NOW + 5;
    let run: Vec<Option<Handle>> = [b"a", b"x", b"b", b"?", b"c", b"a"].map(|name| store.get(key(name), now)).to_vec();
    let values: Vec<Option<&[u8]>> =
        run.iter().map(|&handle| handle.and_then(|handle| store.entry(handle).value.contiguous())).collect();
    assert_eq!(values, [Some(&b"a"[..]), None, Some(b"b"), None, Some(b"c"), Some(b"a")]);

    let ends: [fn(&mut Store); 8] = [
        |store| _ = store.set(key(b"new"), write(b"v"), NOW + 5),
        |store| _ = store.delete(key(b"?"), 0, NOW + 5),
        |store| _ = store.touch(key(b"a"), Expiry::Keep, NOW + 5),
        |store| _ = store.increment(key(b"n"), 1, Some(1), Expiry::Default, NOW + 5),
        |store| _ = store.append(key(b"a"), b"", NOW + 5),
        |store| _ = store.get(key(b"a"), NOW + 6),
        |store| _ = store.reclaim(NOW + 5, 1),
        |store| _ = store.invalidate(GROUP, NOW + 5),
    ];
    for (place, end) in ends.into_iter().enumerate() {
        let handle = store.get(key(b"b"), now).unwrap();
        assert!(!is_refused(&store, handle), "end {place}");
        end(&mut store);
        assert!(is_refused(&store, handle), "end {place}");
    }

    store.set(key(b"a"), write(b"a"), now).unwrap();
    assert!(store.get(key(b"a"), now).is_some());
    let touched = store.touch(key(b"a"), Expiry::Never, now).unwrap();
    assert!(store.get(key(b"a"), now).is_some());
    assert!(is_refused(&store, touched), "a get after a touch begins another run, even at the same time");
}

#[test]
fn an_entry_remembers_its_last_access_and_its_marks() {
    let mut store = store(PolicyKind::TwoQ, 10_000);
    store.set(key(b"k"), write(b"v"), NOW).unwrap();
    for (now, hit_before, last_access_ms) in
        [(NOW + 1010, false, NOW), (NOW + 3999, true, NOW + 1000), (NOW + 4001, true, NOW + 3000)]
    {
        let seen = store.peek(key(b"k"), now).unwrap();
        let (seen, handle) = (store.entry(seen).hit_before, store.get(key(b"k"), now).unwrap());
        let entry = store.entry(handle);
        assert_eq!((entry.hit_before, seen, entry.last_access_ms), (hit_before, hit_before, last_access_ms));
    }
    let handle = store.get(key(b"k"), NOW + 4001).unwrap();
    assert_eq!(store.entry(handle).marks, Marks::default());
    let marks = Marks { stale: true, won: false };
    store.mark(handle, marks);
    assert_eq!(store.entry(handle).marks, marks, "marking keeps handles valid");
    store.set(key(b"k"), write(b"w"), NOW + 5000).unwrap();
    let handle = store.get(key(b"k"), NOW + 5000).unwrap();
    let entry = store.entry(handle);
    assert_eq!((entry.marks, entry.hit_before, entry.last_access_ms), (Marks::default(), false, NOW + 5000));
}

#[test]
fn numbers_are_added_to() {
    let mut store = store(PolicyKind::Lru, 10_000);
    let keep = Expiry::Keep;
    assert_eq!(store.increment(key(b"n"), 1, None, keep, NOW), Err(StoreError::NotFound));
    let (number, first) = store.increment(key(b"n"), 5, Some(40), Expiry::After(100), NOW).unwrap();
    assert_eq!(number, 40, "the initial value is not added to");
    let (number, second) = store.increment(key(b"n"), 2, Some(7), Expiry::Never, NOW).unwrap();
    assert_eq!((number, second > first), (42, true));
    assert_eq!(store.increment(key(b"n"), -142, None, keep, NOW).unwrap().0, -100);
    assert_eq!(value(&mut store, key(b"n"), NOW).unwrap(), b"-100");
    assert!(store.peek(key(b"n"), NOW + 100).is_none(), "the expiry of the first one stays");
    store.set(key(b"n"), write(i64::MAX.to_string().as_bytes()), NOW).unwrap();
    assert_eq!(store.increment(key(b"n"), 1, None, keep, NOW), Err(StoreError::OutOfRange));
    assert_eq!(store.increment(key(b"n"), i64::MIN, None, keep, NOW).unwrap().0, -1);
    store.set(key(b"n"), Write { flags: 9, ..write(b"ten") }, NOW).unwrap();
    assert_eq!(store.increment(key(b"n"), 1, Some(1), keep, NOW), Err(StoreError::NotANumber));
    store.append(key(b"n"), b"-", NOW).unwrap();
    store.prepend(key(b"n"), b"+", NOW).unwrap();
    let handle = store.get(key(b"n"), NOW).unwrap();
    assert_eq!((store.entry(handle).value.contiguous(), store.entry(handle).flags), (Some(&b"+ten-"[..]), 9));
    assert_eq!(store.append(key(b"?"), b"v", NOW), Err(StoreError::NotFound));
}

#[test]
fn an_invalidated_group_is_empty_at_once_and_reclaimed_in_steps() {
    let mut store = store(PolicyKind::TwoQ, 1 << 20);
    let other = store.create_group(group("other", PolicyKind::Lru, Charge::Bytes, 10_000)).unwrap();
    store.set(Key { group: other, ..key(b"stays") }, write(b"v"), NOW).unwrap();
    for number in 0..5000_u32 {
        store.set(key(&number.to_le_bytes()), write(b"v"), NOW).unwrap();
    }
    assert_eq!(store.invalidate(GROUP, NOW), 1);
    assert_eq!(store.counters(GROUP).entries, 5000, "nothing was walked");
    assert!((0..5000_u32).all(|number| store.peek(key(&number.to_le_bytes()), NOW).is_none()));
    store.set(key(&7_u32.to_le_bytes()), write(b"new"), NOW).unwrap();
    assert_eq!(
        store.set(key(&8_u32.to_le_bytes()), Write { condition: Condition::Present, ..write(b"") }, NOW),
        Err(StoreError::NotFound)
    );

    let (mut calls, mut invalidated) = (0, 0);
    loop {
        let reclaimed = store.reclaim(NOW, 100);
        assert!(reclaimed.invalidated <= 100 && reclaimed.expired == 0);
        (calls, invalidated) = (calls + 1, invalidated + reclaimed.invalidated);
        if !reclaimed.more {
            break;
        }
    }
    assert_eq!(invalidated, 4998, "those two were asked for");
    assert!(
        (50..60).contains(&calls),
        "4,998 removals by 100, 4 blocks and 512 segments by 800, and not {calls} calls"
    );
    assert_eq!(store.counters(GROUP).entries, 1);
    assert_eq!(store.counters(other).entries, 1);
    assert_eq!(store.invalidate(GROUP, NOW), 2);
    assert_eq!(store.invalidate(other, NOW), 1);
    store.validate();
}

#[test]
fn expired_entries_are_reclaimed_without_being_asked_for() {
    let mut store = store(PolicyKind::Lru, 32 << 20);
    for number in 0..100_000_u32 {
        let expiry = if number % 2 == 0 { Expiry::After(1000) } else { Expiry::Never };
        store.set(key(&number.to_le_bytes()), Write { expiry, ..write(b"v") }, NOW).unwrap();
    }
    assert_eq!(store.reclaim(NOW + 999, usize::MAX).expired, 0, "and ends, since nothing can have expired");
    let mut calls = 0;
    while store.reclaim(NOW + 1000, 1000).more {
        calls += 1;
    }
    assert!((56..58).contains(&calls), "50,000 removals by 1000, as many looks by 8000, and not {calls} calls");
    assert_eq!(store.counters(GROUP).entries, 50_000);
    let idle = store.reclaim(NOW + 1000, 1000);
    assert!(!idle.more && idle.expired == 0);
    store.validate();
}

#[test]
fn groups_that_cannot_be_are_refused_with_the_reason() {
    let mut store = Store::new(SETTINGS, NoHook);
    let with = |name: &str, budget| group(name, PolicyKind::Lru, Charge::Bytes, budget);
    assert_eq!(store.create_group(with("a", BUDGET_BYTES_MIN)), Ok(GroupIndex(0)));
    let duplicate = store.create_group(with("a", BUDGET_BYTES_MIN)).unwrap_err();
    assert_eq!(duplicate, GroupError::DuplicateName { name: "a".into() });
    let small = store.create_group(with("b", BUDGET_BYTES_MIN - 1)).unwrap_err();
    assert_eq!(
        small.to_string(),
        "group \"b\" has a budget of 4095 on each shard, the minimum is 4096; raise it or use fewer shards"
    );
    let none = store.create_group(group("b", PolicyKind::TwoQ, Charge::Objects, 0)).unwrap_err();
    assert!(matches!(none, GroupError::BudgetTooSmall { minimum: 1, .. }));
    let room = SETTINGS.memory_bytes - BUDGET_BYTES_MIN;
    let vast = store.create_group(with("b", room + 1)).unwrap_err();
    assert_eq!(vast, GroupError::BudgetTooLarge { name: "b".into(), budget: room + 1, room });
    let jitter = store.create_group(GroupSettings { ttl_jitter: TTL_JITTER_MAX + 1, ..with("b", room) }).unwrap_err();
    assert_eq!(jitter.to_string(), "group \"b\" has a TTL jitter of 51 %, the limit is 50 %");
    for name in [String::new(), "n".repeat(256)] {
        assert!(matches!(store.create_group(with(&name, 10_000)), Err(GroupError::NameLength { .. })));
    }
    for number in 1..GROUPS_MAX {
        store.create_group(with(&number.to_string(), BUDGET_BYTES_MIN)).unwrap();
    }
    assert_eq!(store.create_group(with("b", 10_000)), Err(GroupError::TooManyGroups { name: "b".into() }));
    assert_eq!(store.groups().count(), GROUPS_MAX);
    assert!(store.groups().all(|(index, settings)| store.group_settings(index) == settings));
}

#[test]
fn versions_rise_over_all_keys_and_after_what_others_gave() {
    let mut store = store(PolicyKind::Lru, 10_000);
    let other = store.create_group(group("other", PolicyKind::Lru, Charge::Bytes, 10_000)).unwrap();
    let first = store.set(key(b"a"), write(b"v"), NOW).unwrap();
    assert_eq!((first >> 20, (first >> 8) & 0xFFF, first & 0xFF), (NOW, 0, 3));
    let second = store.set(Key { group: other, ..key(b"b") }, write(b"v"), NOW).unwrap();
    assert_eq!(second, first + 256);
    let foreign = ((NOW + 5000) << 20) | 0xF_FF_FF;
    store.raise_version(foreign, NOW).unwrap();
    let third = store.append(key(b"a"), b"v", NOW).unwrap();
    assert!(third > foreign);
    let ahead = store.raise_version((NOW + VERSION_AHEAD_MS_MAX + 1) << 20, NOW).unwrap_err();
    assert_eq!(ahead.ahead_ms, VERSION_AHEAD_MS_MAX + 1);
    assert!(ahead.to_string().contains("600001 ms ahead"), "{ahead}");
}

#[test]
fn a_hot_set_outlives_a_scan_under_two_q_but_not_under_lru() {
    let kept = |policy| {
        let mut store = Store::new(SETTINGS, NoHook);
        store.create_group(group("default", policy, Charge::Objects, 1000)).unwrap();
        let mut read = |number: u64| {
            let bytes = number.to_le_bytes();
            let found = store.get(key(&bytes), NOW).is_some();
            if !found {
                store.set(key(&bytes), write(b""), NOW).unwrap();
            }
            u64::from(found)
        };
        for round in 0..20 {
            // Other keys in between push the hot ones through the ghosts once.
            let others = (0..400).map(|other| 1_000_000 + round * 400 + other);
            (0..300).chain(others).map(&mut read).sum::<u64>();
        }
        (2_000_000..2_010_000).map(&mut read).sum::<u64>();
        (0..300).map(read).sum::<u64>()
    };
    assert_eq!(kept(PolicyKind::Lru), 0);
    assert_eq!(kept(PolicyKind::TwoQ), 300);
}

#[test]
fn ghosts_of_a_million_keys_stay_inside_the_budget() {
    let mut store = store(PolicyKind::TwoQ, 100_000);
    for number in 0..1_000_000_u32 {
        store.set(key(&number.to_le_bytes()), write(b""), NOW).unwrap();
        let counters = store.counters(GROUP);
        assert!(counters.bytes + counters.ghost_bytes <= 100_000, "after {number} keys");
    }
    store.validate();
    let counters = store.counters(GROUP);
    // Half of the budget, for ghosts that count as 48 bytes and their own 12 each.
    assert!((9_000..=10_000).contains(&counters.ghost_bytes), "{counters:?}");
    assert_eq!(counters.entries + counters.evictions, 1_000_000);
    assert_eq!(counters.ghost_hits, 0);
    let youngest_ghost = (1_000_000 - counters.entries as u32 - 1).to_le_bytes();
    store.set(key(&youngest_ghost), write(b""), NOW).unwrap();
    assert_eq!(store.counters(GROUP).ghost_hits, 1);
}

#[test]
fn a_group_that_is_full_leaves_the_others_alone() {
    let mut store = store(PolicyKind::Lru, 10_000);
    let other = store.create_group(group("other", PolicyKind::TwoQ, Charge::Bytes, 10_000)).unwrap();
    store.set(Key { group: other, ..key(b"k") }, write(b"other"), NOW).unwrap();
    store.set(key(b"k"), write(b"v"), NOW).unwrap();
    for number in 0..1000_u32 {
        store.set(key(&number.to_le_bytes()), write(b"v"), NOW).unwrap();
    }
    assert_eq!(value(&mut store, key(b"k"), NOW), None);
    assert_eq!(value(&mut store, Key { group: other, ..key(b"k") }, NOW).unwrap(), b"other");
    assert_eq!(store.counters(other).evictions, 0);
}

#[test]
fn a_hook_that_does_not_listen_is_not_called() {
    #[derive(Debug)]
    struct Deaf;
    impl RemovalHook for Deaf {
        const ENABLED: bool = false;
        fn removed(&mut self, removal: Removal<'_>) {
            panic!("it was told of {removal:?}");
        }
    }
    let mut store = Store::new(SETTINGS, Deaf);
    store.create_group(group("default", PolicyKind::Lru, Charge::Objects, 1)).unwrap();
    store.set(key(b"a"), write(b"v"), NOW).unwrap();
    store.set(key(b"b"), write(b"v"), NOW).unwrap();
    store.delete(key(b"b"), 0, NOW).unwrap();
    assert_eq!(store.counters(GROUP).evictions, 1);
}

#[test]
#[should_panic(expected = "value_bytes_max 67108865 is above")]
fn a_value_limit_above_the_highest_is_a_mistake() {
    Store::new(StoreSettings { value_bytes_max: (64 << 20) + 1, ..SETTINGS }, NoHook);
}

/// Groups from 127 on are told in a longer header; one key is another entry in each of them.
#[test]
fn entries_of_many_groups_are_told_apart() {
    let mut store = Store::new(SETTINGS, NoHook);
    let policies = [PolicyKind::Lfu, PolicyKind::Lru, PolicyKind::LruK];
    let groups: Vec<GroupIndex> = (0..300)
        .map(|number| {
            let settings = group(&format!("g{number}"), policies[number % 3], Charge::Bytes, 8 << 10);
            // Equal hashes of as many entries would be too many for the index.
            store.create_group(GroupSettings { hash_seed: number as u64, ..settings }).unwrap()
        })
        .collect();
    let same = |group: GroupIndex| Key { group, hash: key_hash(group.0.into(), b"the same"), bytes: b"the same" };
    for &group in &groups {
        store.set(same(group), write(&group.0.to_le_bytes()), NOW).unwrap();
    }
    store.validate();
    for &group in &groups {
        let handle = store.get(same(group), NOW).unwrap();
        assert_eq!(store.entry(handle).value.contiguous(), Some(&group.0.to_le_bytes()[..]));
        let more = match (group.0, policies[usize::from(group.0) % 3]) {
            (127.., PolicyKind::Lru) => 16,
            (127.., _) => 32,
            (_, PolicyKind::Lru) => 0,
            _ => 16,
        };
        assert_eq!(store.counters(group).bytes, store.entry_bytes(8, 2) + more, "{group:?}");
    }
    for &group in groups.iter().step_by(2) {
        store.delete(same(group), 0, NOW).unwrap();
    }
    store.validate();
    let is_there = |group: GroupIndex| group.0 % 2 == 1;
    for &group in &groups {
        assert_eq!(store.get(same(group), NOW).is_some(), is_there(group), "{group:?}");
    }
}
