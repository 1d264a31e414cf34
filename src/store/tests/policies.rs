//! What is asked of eviction policies, whatever they do.

use larder_store::{Charge, Key, NoHook, PolicyKind, PolicySettings, Store, StoreSettings, Write};

/// A store with one group, of which gets that miss store the key.
struct Cache {
    store: Store<NoHook>,
    group: larder_store::GroupIndex,
}

fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

impl Cache {
    fn new(policy: PolicySettings, charge: Charge, budget: u64, memory_bytes: u64) -> Self {
        let key_hash = |_, key: &[u8]| mixed(u64::from_le_bytes(key.try_into().expect("a key of 8 bytes")));
        let mut store = Store::new(StoreSettings { shard: 0, value_bytes_max: 1000, memory_bytes, key_hash }, NoHook);
        let settings = larder_store::GroupSettings { policy, ..crate::group("g", policy.kind(), charge, budget) };
        let group = store.create_group(settings).unwrap();
        Self { store, group }
    }

    fn of_objects(policy: PolicySettings, objects: u64) -> Self {
        Self::new(policy, Charge::Objects, objects, (16 << 20) + 200 * objects)
    }

    /// Whether the key was there.
    fn ask(&mut self, number: u64, value: &[u8]) -> bool {
        let key = Key { group: self.group, hash: mixed(number), bytes: &number.to_le_bytes() };
        let is_there = self.store.get(key, 1).is_some();
        if !is_there {
            self.store.set(key, Write { value, ..Write::default() }, 1).unwrap();
        }
        is_there
    }
}

fn policy(text: &str) -> PolicySettings {
    text.parse().unwrap()
}

/// Every policy, and those whose parameters have them keep more.
fn policies() -> impl Iterator<Item = PolicySettings> {
    PolicyKind::ALL.iter().map(|&kind| kind.into()).chain([policy("lru_k:k=3")])
}

/// Draws keys of which few are asked for often.
fn zipf(random: &mut fastrand::Rng, keys: f64) -> u64 {
    (keys.powf(random.f64()) - 1.0) as u64
}

#[test]
fn a_scan_of_ten_times_the_capacity_leaves_a_hot_set_its_hits() {
    for policy in ["two_q", "lru_k", "lru_k:k=3", "arc", "s3_fifo"].map(policy) {
        let (objects, hot) = (10_000, 5_000);
        let hits = |with_scan: bool| {
            let mut random = fastrand::Rng::with_seed(1);
            let mut cache = Cache::of_objects(policy, objects);
            let (mut hits, mut scanned) = (0, 1 << 32);
            for step in 0..600_000_u64 {
                let is_hit = cache.ask(random.u64(0..hot), b"");
                hits += u64::from(step >= 200_000 && is_hit);
                // As many keys as are asked for of the hot set, for a tenth of the time three times as many.
                if with_scan && (200_000..300_000).contains(&step) {
                    cache.ask(scanned, b"");
                    scanned += 1;
                }
            }
            hits
        };
        let (alone, scanned) = (hits(false), hits(true));
        println!("{policy}: {scanned} of {alone} hits are left");
        assert!(scanned * 10 >= alone * 9, "{policy}: {scanned} of {alone} hits");
    }
}

#[test]
fn lru_does_not_stand_a_scan() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut cache = Cache::of_objects(PolicyKind::Lru.into(), 1_000);
    (0..20_000).for_each(|_| _ = cache.ask(random.u64(0..500), b""));
    (1 << 32..(1 << 32) + 10_000).for_each(|number| _ = cache.ask(number, b""));
    assert!((0..500).all(|number| !cache.ask(number, b"")), "else the scan of the test above is none");
}

/// Distinct keys do not make anything grow, whatever is remembered of them.
#[test]
fn memory_is_flat_whatever_the_number_of_keys() {
    let keys: u64 = if crate::full() { 100_000_000 } else { 5_000_000 };
    for policy in policies() {
        let memory_bytes = 8 << 20;
        let mut cache = Cache::new(policy, Charge::Bytes, memory_bytes, memory_bytes);
        let mut settled = 0;
        for number in 0..keys {
            cache.ask(number, b"some value or other");
            if number % (keys / 100) == 0 {
                let (counters, memory) = (cache.store.counters(cache.group), cache.store.memory());
                assert!(counters.bytes + counters.ghost_bytes <= memory_bytes, "{policy}: {counters:?}");
                assert!(memory.segments_free > 0, "{policy}: {memory:?}");
                let ghosts = memory.segments_ghost;
                if number == keys / 100 * 50 {
                    settled = ghosts;
                }
                assert!(
                    number < keys / 100 * 50 || ghosts <= settled + 2,
                    "{policy}: {ghosts} segments, and {settled}"
                );
            }
        }
        cache.store.validate();
    }
}

/// Sixteen caches with a sixteenth each miss about as often as one.
#[test]
fn shards_miss_about_as_often_as_one_cache() {
    for policy in policies() {
        let objects = 16_000;
        let mut random = fastrand::Rng::with_seed(1);
        let mut whole = Cache::of_objects(policy, objects);
        let mut shards: Vec<_> = (0..16).map(|_| Cache::of_objects(policy, objects / 16)).collect();
        let (mut misses, mut of_shards) = (0_u64, 0_u64);
        for step in 0..400_000 {
            let key = zipf(&mut random, 200_000.0);
            let [one, many] = [whole.ask(key, b""), shards[(mixed(key) >> 60) as usize].ask(key, b"")]
                .map(|is_hit| u64::from(!is_hit));
            if step >= 100_000 {
                (misses, of_shards) = (misses + one, of_shards + many);
            }
        }
        let off = misses.abs_diff(of_shards) as f64 / misses as f64;
        println!("{policy}: {misses} misses, {of_shards} with 16 shards, {:.2} % off", off * 100.0);
        assert!(off < 0.02, "{policy}: {misses} misses, {of_shards} with 16 shards");
    }
}

/// With k = 1 and no period, LRU-K is LRU.
#[test]
fn lru_1_hits_as_lru_does() {
    let one = policy("lru_k:k=1,period=0%");
    let mut random = fastrand::Rng::with_seed(1);
    let (mut lru, mut lru_1) = (Cache::of_objects(PolicyKind::Lru.into(), 100), Cache::of_objects(one, 100));
    let mut hits = 0;
    for step in 0..100_000 {
        let key = zipf(&mut random, 1_000.0);
        let is_hit = lru.ask(key, b"");
        assert_eq!(lru_1.ask(key, b""), is_hit, "step {step}");
        hits += u64::from(is_hit);
    }
    assert!(hits > 50_000, "{hits} hits");
    assert_eq!(lru_1.store.counters(lru_1.group).ghost_hits, 0, "it has nothing to remember");
}
