//! What has expired leaves without being asked for, in the steps that a shard takes in the background.

use larder_server::limits::{BACKGROUND_INTERVAL_MS, BACKGROUND_LOOK_PAUSE_MS, BACKGROUND_PAUSE_MS, BACKGROUND_STEPS};
use larder_store::{Charge, Expiry, GroupIndex, GroupSettings, Key, NoHook, PolicyKind, Store, StoreSettings, Write};

use crate::support::scaled;

const NOW: u64 = 1_700_000_000_000;
const GROUP: GroupIndex = GroupIndex(0);

/// How many expire, and how long it may take until 95 % of their bytes are free: 10 s for a million. With fewer entries
/// all times are as much shorter.
fn entries_and_ms() -> (u64, u64) {
    (scaled(1_000_000) as u64, scaled(10_000) as u64)
}

/// How long they live: 1 s.
fn ttl_ms() -> u64 {
    scaled(1000) as u64
}

/// The hash of a server's keys.
fn key_hash(group_hash: u64, key: &[u8]) -> u64 {
    larder_ring::key_hash(key, group_hash)
}

fn store(policy: PolicyKind, ttl_jitter: u8) -> Store {
    let memory_bytes = (scaled(256) as u64) << 20;
    let settings = StoreSettings { shard: 0, value_bytes_max: 1 << 20, memory_bytes, key_hash };
    let mut store = Store::new(settings, NoHook);
    let (name, ttl_ms, charge) = ("default".into(), ttl_ms(), Charge::Bytes);
    let group = GroupSettings {
        name,
        budget_bytes: memory_bytes,
        policy: policy.into(),
        ttl_ms,
        ttl_jitter,
        hash_seed: 7,
        charge,
    };
    assert_eq!(store.create_group(group), Ok(GROUP));
    store
}

fn set(store: &mut Store, number: u64, expiry: Expiry, now_ms: u64) {
    let number = number.to_le_bytes();
    let key = Key { group: GROUP, hash: key_hash(7, &number), bytes: &number };
    store.set(key, Write { value: &[5; 64], expiry, ..Write::default() }, now_ms).unwrap();
}

/// Takes background steps when a shard takes them, the first as late as can be.
fn background(store: &mut Store, from_ms: u64, until_ms: u64) {
    let interval_ms = scaled(BACKGROUND_INTERVAL_MS as usize) as u64;
    let mut now_ms = from_ms + interval_ms - 1;
    while now_ms < until_ms {
        let before = store.counters(GROUP).entries;
        let reclaimed = store.reclaim(now_ms, BACKGROUND_STEPS);
        let removed = before - store.counters(GROUP).entries;
        assert_eq!(removed, reclaimed.expired);
        assert!(removed <= BACKGROUND_STEPS as u64, "{removed} entries were removed at once");
        now_ms += if reclaimed.more { BACKGROUND_PAUSE_MS } else { interval_ms };
    }
}

#[track_caller]
fn assert_reclaimed(mut store: Store, from_ms: u64, until_ms: u64) {
    let (entries, before) = (store.counters(GROUP).entries, store.memory());
    assert_eq!(entries, entries_and_ms().0, "all of them are held until they expire");
    background(&mut store, from_ms, until_ms);
    let after = store.memory();
    assert!(after.live_bytes * 20 < before.live_bytes, "{} of {entries} are left", store.counters(GROUP).entries);
    let log_bytes = after.segments_log * after.segment_bytes;
    assert!(log_bytes * 20 < before.live_bytes + 20 * 3 * after.segment_bytes, "segments are free again: {after:?}");
    store.validate();
}

#[test]
fn a_million_entries_that_expire_in_one_ms_are_gone_in_ten_seconds() {
    let (entries, time_ms) = entries_and_ms();
    for &policy in PolicyKind::ALL {
        let mut store = store(policy, 0);
        (0..entries).for_each(|number| set(&mut store, number, Expiry::At(NOW + ttl_ms()), NOW));
        assert_reclaimed(store, NOW + ttl_ms(), NOW + ttl_ms() + time_ms);
    }
}

#[test]
fn a_million_entries_of_one_second_are_gone_in_ten_seconds() {
    let (entries, time_ms) = entries_and_ms();
    for &policy in PolicyKind::ALL {
        for ttl_jitter in [0, 50] {
            // Written one after the other within the second before the first expires.
            let (mut store, written_ms) = (store(policy, ttl_jitter), ttl_ms() / 2);
            for number in 0..entries {
                set(&mut store, number, Expiry::Default, NOW + number * written_ms / entries);
            }
            let last_ms = NOW + written_ms + ttl_ms() + ttl_ms() * u64::from(ttl_jitter) / 100;
            assert_reclaimed(store, NOW + written_ms, last_ms + time_ms);
        }
    }
}

/// One entry in 200, in segments that have dead blocks too: all is looked at in time though little is found.
#[test]
fn a_few_among_a_million_are_gone_in_twenty_seconds() {
    let (entries, time_ms) = entries_and_ms();
    let mut store = store(PolicyKind::TwoQ, 0);
    for number in 0..entries {
        set(&mut store, number, Expiry::Never, NOW);
        if number % 2 == 0 {
            set(&mut store, u64::MAX, Expiry::Never, NOW);
        }
        if number % 200 == 1 {
            set(&mut store, u64::MAX - 1 - number, Expiry::At(NOW + ttl_ms()), NOW);
        }
    }
    let expiring = entries / 200;
    assert_eq!(store.counters(GROUP).entries, entries + 1 + expiring, "all of them are held until they expire");
    let (from_ms, mut removed) = (NOW + ttl_ms(), 0);
    let mut now_ms = from_ms + BACKGROUND_INTERVAL_MS - 1;
    loop {
        let reclaimed = store.reclaim(now_ms, BACKGROUND_STEPS);
        removed += reclaimed.expired;
        if removed == expiring {
            break;
        }
        now_ms += if reclaimed.amid_round { BACKGROUND_LOOK_PAUSE_MS } else { BACKGROUND_INTERVAL_MS };
        assert!(now_ms < from_ms + BACKGROUND_INTERVAL_MS + 2 * time_ms, "{removed} of {expiring} were found");
    }
    println!("{expiring} among {entries} were gone {} ms after their time", now_ms - from_ms);
    while store.reclaim(now_ms, BACKGROUND_STEPS).amid_round {}
    let idle = store.reclaim(now_ms, BACKGROUND_STEPS);
    assert!(!idle.more && !idle.amid_round && idle.expired == 0, "and the round ends: {idle:?}");
    store.validate();
}

#[test]
fn what_has_no_time_is_not_looked_at() {
    let mut store = store(PolicyKind::TwoQ, 0);
    let (entries, time_ms) = entries_and_ms();
    (0..entries).for_each(|number| set(&mut store, number, Expiry::Never, NOW));
    background(&mut store, NOW + ttl_ms(), NOW + ttl_ms() + 100 * time_ms);
    assert_eq!(store.counters(GROUP).entries, entries);
    assert!(!store.reclaim(u64::MAX / 2, BACKGROUND_STEPS).more);
}
