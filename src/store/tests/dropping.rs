//! Groups that are dropped, and others that get their numbers.

use larder_store::limits::GROUPS_MAX;
use larder_store::{
    Charge, GroupError, GroupIndex, GroupSettings, Key, PolicyKind, Reason, Removal, RemovalHook, Store, StoreSettings,
    Write,
};

use crate::{SETTINGS, group, key_hash};

const NOW: u64 = 1_700_000_000_000;
/// Less than what the tests store.
const SMALL: StoreSettings = StoreSettings { memory_bytes: 4 << 20, ..SETTINGS };

/// Remembers why entries left.
#[derive(Default)]
struct Left(Vec<Reason>);

impl RemovalHook for Left {
    const ENABLED: bool = true;

    fn removed(&mut self, removal: Removal<'_>) {
        self.0.push(removal.reason);
    }
}

fn named(group: GroupIndex, seed: u64, bytes: &[u8]) -> Key<'_> {
    Key { group, hash: key_hash(seed, bytes), bytes }
}

fn settings(name: &str, kind: PolicyKind, budget: u64, hash_seed: u64) -> GroupSettings {
    GroupSettings { hash_seed, ..group(name, kind, Charge::Bytes, budget) }
}

fn fill(store: &mut Store<Left>, group: GroupIndex, seed: u64, count: u32) {
    for number in 0..count {
        let key = number.to_le_bytes();
        let write = Write { value: &[7; 50], ..Write::default() };
        store.set(named(group, seed, &key), write, NOW).expect("it fits");
    }
}

#[test]
fn nothing_of_a_dropped_group_is_seen_by_the_next_with_its_number() {
    for &kind in PolicyKind::ALL {
        let mut store = Store::new(SMALL, Left::default());
        let half = SMALL.memory_bytes / 2;
        store.create_group(settings("stays", PolicyKind::Lru, half, 1)).expect("room");
        let dropped = store.create_group(settings("goes", kind, half, 2)).expect("room");
        fill(&mut store, dropped, 2, 40_000);
        fill(&mut store, GroupIndex(0), 1, 10);
        store.hook_mut().0.clear();
        store.drop_group(dropped);
        store.validate();
        assert_eq!(store.groups().map(|(_, group)| &*group.name).collect::<Vec<_>>(), ["stays"], "{kind:?}");
        assert!(store.free_dropped(|_| true), "{kind:?}: its entries are there still");
        // Name and budget are free at once, the number is not.
        let next = store.create_group(settings("goes", kind, half - 20_000, 3)).expect("name and budget are free");
        assert_ne!(next, dropped, "{kind:?}");
        let mut steps = 0;
        while store.reclaim(NOW, 100).more {
            steps += 100;
        }
        assert!(steps > 100, "{kind:?}: in steps");
        assert!(store.hook().0.iter().all(|reason| *reason == Reason::Invalidated), "{kind:?}");
        assert!(store.free_dropped(|_| false), "{kind:?}: somebody names it");
        assert!(!store.free_dropped(|index| index == dropped), "{kind:?}");
        store.validate();
        let again = store.create_group(settings("third", kind, 10_000, 4)).expect("a number is free");
        assert_eq!(again, dropped, "{kind:?}");
        for number in 0..40_000_u32 {
            assert!(store.peek(named(again, 4, &number.to_le_bytes()), NOW).is_none(), "{kind:?}: {number}");
        }
        assert_eq!(store.counters(again).entries, 0);
        fill(&mut store, again, 4, 10);
        assert!(store.peek(named(again, 4, &3_u32.to_le_bytes()), NOW).is_some(), "{kind:?}");
        assert!(store.peek(named(GroupIndex(0), 1, &3_u32.to_le_bytes()), NOW).is_some(), "the other one has its own");
        store.validate();
    }
}

#[test]
fn what_a_dropped_group_takes_goes_first_when_memory_is_wanted() {
    let mut store = Store::new(SMALL, Left::default());
    let half = SMALL.memory_bytes / 2;
    let stays = store.create_group(settings("stays", PolicyKind::Lru, half, 1)).expect("room");
    let dropped = store.create_group(settings("goes", PolicyKind::Lru, half, 2)).expect("room");
    fill(&mut store, stays, 1, 40_000);
    fill(&mut store, dropped, 2, 40_000);
    let before = store.counters(stays);
    store.drop_group(dropped);
    let next = store.create_group(settings("next", PolicyKind::Lru, half, 3)).expect("room");
    fill(&mut store, next, 3, 40_000);
    assert_eq!(store.counters(stays), before, "there were others to go");
    store.validate();
}

#[test]
fn a_policy_may_be_changing_when_its_group_is_dropped() {
    let mut store = Store::new(SMALL, Left::default());
    let half = SMALL.memory_bytes / 2;
    let dropped = store.create_group(settings("goes", PolicyKind::TwoQ, half, 2)).expect("room");
    fill(&mut store, dropped, 2, 40_000);
    store.set_policy(dropped, PolicyKind::LruK.into()).expect("the first change");
    store.reclaim(NOW, 10);
    store.set_budget(dropped, half / 2).expect("less");
    store.drop_group(dropped);
    while store.reclaim(NOW, 1000).more {}
    assert!(!store.free_dropped(|_| true));
    store.validate();
    let again = store.create_group(settings("next", PolicyKind::Arc, half, 3)).expect("room");
    assert_eq!(again, dropped);
    fill(&mut store, again, 3, 40_000);
    store.validate();
}

#[test]
fn numbers_run_out_while_dropped_groups_have_them() {
    let mut store = Store::new(SMALL, Left::default());
    for number in 0..GROUPS_MAX {
        store.create_group(settings(&number.to_string(), PolicyKind::Fifo, 4096, 9)).expect("a number");
    }
    store.drop_group(GroupIndex(5));
    let refused = store.create_group(settings("more", PolicyKind::Fifo, 4096, 9));
    assert_eq!(refused, Err(GroupError::TooManyGroups { name: "more".into() }));
    assert!(!store.free_dropped(|_| true), "it had no entries");
    assert_eq!(store.create_group(settings("more", PolicyKind::Fifo, 4096, 9)), Ok(GroupIndex(5)));
}
