//! Times to live: to the ms of the clock that the caller has, and of no other.

use std::collections::HashMap;

use larder_store::{Charge, Expiry, GroupIndex, GroupSettings, Key, NoHook, PolicyKind, Store, StoreSettings, Write};

use crate::{SETTINGS, group, key_hash};

const NOW: u64 = 1_700_000_000_000;
const GROUP: GroupIndex = GroupIndex(0);

fn store(ttl_ms: u64, ttl_jitter: u8) -> Store {
    let mut store = Store::new(StoreSettings { memory_bytes: 8 << 20, ..SETTINGS }, NoHook);
    let settings = group("default", PolicyKind::TwoQ, Charge::Bytes, 8 << 20);
    store.create_group(GroupSettings { ttl_ms, ttl_jitter, ..settings }).unwrap();
    store
}

fn key(bytes: &[u8]) -> Key<'_> {
    Key { group: GROUP, hash: key_hash(7, bytes), bytes }
}

fn set(store: &mut Store, bytes: &[u8], value: &[u8], expiry: Expiry, now_ms: u64) {
    store.set(key(bytes), Write { value, expiry, ..Write::default() }, now_ms).unwrap();
}

fn expires_at_ms(store: &Store, bytes: &[u8], now_ms: u64) -> u64 {
    let handle = store.peek(key(bytes), now_ms).expect("it is there");
    store.entry(handle).expires_at_ms
}

/// Gives the key "k" 2 s from this time.
type Way = fn(&mut Store, &[u8], u64);

/// Every way to give an entry 2 s.
const WAYS: [(&str, Way); 8] = [
    ("the default", |store, value, now| set(store, b"k", value, Expiry::Default, now)),
    ("a time to live", |store, value, now| set(store, b"k", value, Expiry::After(2000), now)),
    ("an absolute time", |store, value, now| set(store, b"k", value, Expiry::At(now + 2000), now)),
    ("a write that keeps what is left", |store, value, now| {
        set(store, b"k", b"short", Expiry::At(now + 2000), now);
        set(store, b"k", value, Expiry::Keep, now);
    }),
    ("a touch of what never expires", |store, value, now| {
        set(store, b"k", value, Expiry::Never, now);
        store.touch(key(b"k"), Expiry::After(2000), now).unwrap();
    }),
    ("a touch that shortens", |store, value, now| {
        set(store, b"k", value, Expiry::After(60_000), now);
        store.touch(key(b"k"), Expiry::Default, now).unwrap();
    }),
    ("a touch that lengthens", |store, value, now| {
        set(store, b"k", value, Expiry::After(1), now);
        store.touch(key(b"k"), Expiry::At(now + 2000), now).unwrap();
    }),
    ("an append", |store, value, now| {
        set(store, b"k", value, Expiry::After(2000), now);
        store.append(key(b"k"), b"more", now).unwrap();
    }),
];

#[test]
fn two_seconds_end_after_two_seconds_whatever_gave_them() {
    for (name, way) in WAYS {
        for length in [0, 100, 90_000] {
            for (after_ms, is_there) in [(0, true), (1900, true), (1999, true), (2000, false), (2100, false)] {
                let what = format!("{name}, {length} bytes, after {after_ms} ms");
                let mut store = store(2000, 0);
                way(&mut store, &vec![b'v'; length], NOW);
                assert_eq!(store.peek(key(b"k"), NOW + after_ms).is_some(), is_there, "{what}");
                assert_eq!(store.get(key(b"k"), NOW + after_ms).is_some(), is_there, "{what}");
                assert_eq!(store.counters(GROUP).entries, u64::from(is_there), "{what}");
                store.validate();
            }
        }
    }
}

#[test]
fn what_has_no_time_stays_whatever_passes() {
    let mut store = store(0, 0);
    let century_ms = 100 * 365 * 86_400_000;
    set(&mut store, b"default", b"v", Expiry::Default, NOW);
    set(&mut store, b"never", b"v", Expiry::Never, NOW);
    set(&mut store, b"kept", b"v", Expiry::Keep, NOW);
    set(&mut store, b"touched", b"v", Expiry::After(1), NOW);
    store.touch(key(b"touched"), Expiry::Never, NOW).unwrap();
    for later in [NOW + 1, NOW + century_ms] {
        let reclaimed = store.reclaim(later, 10_000);
        assert_eq!((reclaimed.expired, reclaimed.more), (0, false));
        for name in [&b"default"[..], b"never", b"kept", b"touched"] {
            assert!(store.get(key(name), later).is_some());
        }
    }
}

/// The same calls at the same distances from a start give the same, wherever the start is, and however long it took.
#[test]
fn the_clock_of_the_caller_is_all_that_counts() {
    let run = |start_ms: u64| {
        let (mut store, mut seen) = (store(2000, 0), Vec::new());
        let mut random = fastrand::Rng::with_seed(1);
        let mut now_ms = start_ms;
        for _ in 0..2000 {
            now_ms += random.u64(0..20);
            let number = [random.u8(0..200)];
            match random.u8(0..8) {
                0 => set(&mut store, &number, b"v", Expiry::Default, now_ms),
                1 => set(&mut store, &number, b"v", Expiry::At(now_ms + random.u64(1..3000)), now_ms),
                2 => seen.push(u64::from(store.touch(key(&number), Expiry::After(700), now_ms).is_ok())),
                3 => seen.push(store.reclaim(now_ms, 20).expired),
                _ => seen.push(u64::from(store.get(key(&number), now_ms).is_some())),
            }
        }
        (seen, store.counters(GROUP).expirations)
    };
    let expected = run(NOW);
    assert!(expected.1 > 100, "{} expired", expected.1);
    for start_ms in [1, 1_000_000, NOW + 3_600_000, 1 << 43] {
        assert!(run(start_ms) == expected, "it begins at {start_ms}");
    }
}

#[test]
fn jitter_takes_every_ms_of_its_band_and_none_beside_it() {
    for percent in [0, 1, 10, 50] {
        let mut store = store(2000, percent);
        let band_ms = 20 * u64::from(percent);
        let (first, last) = (2000 - band_ms, 2000 + band_ms);
        let mut times = HashMap::new();
        let mut note = |at_ms: u64| *times.entry(at_ms - NOW).or_insert(0) += 1;
        for number in 0..20_000_u32 {
            let number = number.to_le_bytes();
            set(&mut store, &number, b"v", Expiry::Default, NOW);
            note(expires_at_ms(&store, &number, NOW));
            let touched = store.touch(key(&number), Expiry::Default, NOW).unwrap();
            note(store.entry(touched).expires_at_ms);
            let kept = expires_at_ms(&store, &number, NOW);
            set(&mut store, &number, b"other", Expiry::Keep, NOW);
            assert_eq!(expires_at_ms(&store, &number, NOW), kept, "what is kept is kept to the ms");
        }
        // The same key gets another time with each write, too.
        for _ in 0..20_000 {
            set(&mut store, b"one", b"v", Expiry::Default, NOW);
            note(expires_at_ms(&store, b"one", NOW));
        }
        assert!(times.keys().all(|ms| (first..=last).contains(ms)), "{percent} %");
        assert_eq!(times.len() as u64, last - first + 1, "{percent} %: every ms of the band was given");
        let most = times.values().max().unwrap();
        assert!(*most <= 3 * 60_000 / times.len(), "{percent} %: {most} entries have the same ms");
    }
}

/// What a writer says is exact in a group with jitter too.
#[test]
fn jitter_leaves_alone_what_a_writer_says() {
    let mut store = store(2000, 50);
    for number in 0..1000_u32 {
        let number = number.to_le_bytes();
        for (expiry, at_ms) in [(Expiry::After(777), NOW + 777), (Expiry::At(NOW + 5), NOW + 5), (Expiry::Never, 0)] {
            set(&mut store, &number, b"v", expiry, NOW);
            assert_eq!(expires_at_ms(&store, &number, NOW), at_ms, "{expiry:?}");
            set(&mut store, &number, b"v", Expiry::Default, NOW);
            let touched = store.touch(key(&number), expiry, NOW).unwrap();
            assert_eq!(store.entry(touched).expires_at_ms, at_ms, "{expiry:?}");
        }
    }
}
