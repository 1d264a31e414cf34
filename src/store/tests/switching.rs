//! A group goes from one policy to another while it is in use.

use larder_store::limits::SWITCH_ENTRIES;
use larder_store::{Charge, GroupError, GroupIndex, Key, NoHook, PolicyKind, PolicySettings, Store, Write};

use crate::{SETTINGS, group, key_hash};

const GROUP: GroupIndex = GroupIndex(0);
const NOW_MS: u64 = 1_700_000_000_000;
const ENTRIES: u64 = 5_000;

fn key(bytes: &[u8]) -> Key<'_> {
    Key { group: GROUP, hash: key_hash(7, bytes), bytes }
}

fn set(store: &mut Store, number: u64) {
    let bytes = number.to_le_bytes();
    store.set(key(&bytes), Write { value: &bytes, ..Write::default() }, NOW_MS).unwrap();
}

fn holds(store: &Store, number: u64) -> bool {
    store.peek(key(&number.to_le_bytes()), NOW_MS).is_some()
}

fn filled(policy: PolicyKind, charge: Charge, budget: u64) -> Store {
    let mut store = Store::new(SETTINGS, NoHook);
    store.create_group(group("default", policy, charge, budget)).unwrap();
    (0..ENTRIES).for_each(|number| set(&mut store, number));
    store
}

fn pairs() -> impl Iterator<Item = (PolicyKind, PolicyKind)> {
    let all = PolicyKind::ALL;
    all.iter().flat_map(move |&from| all.iter().map(move |&to| (from, to))).filter(|(from, to)| from != to)
}

#[test]
fn entries_stay_and_go_over_in_bounded_steps() {
    for (from, to) in pairs() {
        let mut store = filled(from, Charge::Bytes, 4 << 20);
        store.set_policy(GROUP, to.into()).unwrap();
        assert_eq!(store.counters(GROUP).switching, ENTRIES, "{from} to {to}");
        assert_eq!(store.group_settings(GROUP).policy, to.into());
        for number in ENTRIES..ENTRIES + 100 {
            let left = store.counters(GROUP).switching;
            set(&mut store, number);
            assert_eq!(left - store.counters(GROUP).switching, SWITCH_ENTRIES as u64, "{from} to {to}");
        }
        for number in 0..100 {
            assert!(store.get(key(&(ENTRIES - 1 - number).to_le_bytes()), NOW_MS).is_some(), "{from} to {to}");
        }
        store.validate();
        let mut calls = 0;
        while store.reclaim(NOW_MS, 64).more {
            calls += 1;
            assert!(calls <= ENTRIES / 64 + 2, "{from} to {to}: the background goes on for ever");
        }
        store.validate();
        assert_eq!(store.counters(GROUP).switching, 0, "{from} to {to}");
        let lost = (0..ENTRIES + 100).filter(|&number| !holds(&store, number)).count();
        assert_eq!((lost, store.counters(GROUP).evictions), (0, 0), "{from} to {to}");
    }
}

#[test]
fn a_second_change_waits_for_the_first() {
    let mut store = filled(PolicyKind::Lru, Charge::Bytes, 4 << 20);
    store.set_policy(GROUP, PolicyKind::Lru.into()).unwrap();
    assert_eq!(store.counters(GROUP).switching, 0, "the same policy is no change");
    let other: PolicySettings = "two_q:in=30%".parse().unwrap();
    store.set_policy(GROUP, other).unwrap();
    let refused = store.set_policy(GROUP, PolicyKind::Lru.into());
    let expected = GroupError::Switching { name: "default".into(), policy: other, entries_left: ENTRIES };
    assert_eq!(refused, Err(expected));
    while store.reclaim(NOW_MS, 64).more {}
    let parameters_alone: PolicySettings = "two_q:in=40%".parse().unwrap();
    store.set_policy(GROUP, parameters_alone).unwrap();
    assert_eq!(store.counters(GROUP).switching, ENTRIES, "other parameters are a change too");
    let mut empty = Store::new(SETTINGS, NoHook);
    empty.create_group(group("default", PolicyKind::Lru, Charge::Bytes, 4 << 20)).unwrap();
    for policy in [PolicyKind::TwoQ, PolicyKind::Lru, PolicyKind::TwoQ] {
        empty.set_policy(GROUP, policy.into()).unwrap();
        set(&mut empty, 1);
        empty.delete(key(&1_u64.to_le_bytes()), 0, NOW_MS).unwrap();
        empty.validate();
    }
}

#[test]
fn the_entries_of_the_former_policy_go_first() {
    for (from, to) in pairs() {
        let mut store = filled(from, Charge::Objects, ENTRIES);
        store.set_policy(GROUP, to.into()).unwrap();
        for number in ENTRIES..ENTRIES + ENTRIES / 4 {
            set(&mut store, number);
            assert!(holds(&store, number), "{from} to {to}: {number} goes before older ones");
        }
        let counters = store.counters(GROUP);
        assert_eq!((counters.entries, counters.evictions), (ENTRIES, ENTRIES / 4), "{from} to {to}");
        store.validate();
    }
}

#[test]
fn counters_begin_anew_with_the_policy() {
    let mut store = filled(PolicyKind::Lru, Charge::Objects, ENTRIES / 2);
    assert!(store.get(key(b"absent"), NOW_MS).is_none());
    let before = store.counters(GROUP);
    assert_eq!((before.sets, before.misses, before.evictions), (ENTRIES, 1, ENTRIES / 2));
    assert_eq!(store.policy_counters(GROUP), before);
    store.set_policy(GROUP, PolicyKind::TwoQ.into()).unwrap();
    set(&mut store, ENTRIES);
    let since = store.policy_counters(GROUP);
    assert_eq!((since.sets, since.misses, since.evictions), (1, 0, 1));
    assert_eq!((since.entries, since.bytes), (ENTRIES / 2, ENTRIES / 2), "the state is the present one");
    assert_eq!(store.counters(GROUP).sets, ENTRIES + 1);
}
