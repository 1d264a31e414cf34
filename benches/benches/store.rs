//! One shard's store: look-ups and writes of random keys, in a store that does not fit in the processor's caches.

use std::process::ExitCode;

use larder_benches::harness::{case, run};
use larder_ring::{group_hash, key_hash};
use larder_store::{
    Charge, Condition, Expiry, GroupIndex, GroupSettings, Key, PolicyKind, Store, StoreSettings, Write,
};

/// Keys of a store with room for all of them.
const KEYS: u64 = 500_000;
const VALUE: [u8; 64] = [7; 64];
const NOW_MS: u64 = 1_700_000_000_000;

fn main() -> ExitCode {
    run(&[
        case("get_hit_lru", || getting(PolicyKind::Lru, 0)),
        case("get_hit_two_q", || getting(PolicyKind::TwoQ, 0)),
        case("get_miss", || getting(PolicyKind::TwoQ, KEYS)),
        case("set_same_size_lru", || setting(PolicyKind::Lru, 1 << 30, KEYS)),
        case("set_same_size_two_q", || setting(PolicyKind::TwoQ, 1 << 30, KEYS)),
        case("set_evicting_lru", || setting(PolicyKind::Lru, 8 << 20, 64 * KEYS)),
        case("set_evicting_two_q", || setting(PolicyKind::TwoQ, 8 << 20, 64 * KEYS)),
    ])
}

/// Numbers that follow each other without a pattern.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((u128::from(self.0) * u128::from(below)) >> 64) as u64
    }
}

struct Shard {
    store: Store,
    group: GroupIndex,
    group_hash: u64,
    numbers: Numbers,
}

impl Shard {
    fn new(policy: PolicyKind, budget_bytes: u64) -> Shard {
        let mut store = Store::new(
            StoreSettings {
                shard: 0,
                value_bytes_max: 1 << 16,
                memory_bytes: budget_bytes,
                key_hash: |seed, key| key_hash(key, seed),
            },
            larder_store::NoHook,
        );
        let settings = GroupSettings {
            name: "default".into(),
            budget_bytes,
            policy,
            ttl_ms: 0,
            ttl_jitter: 0,
            hash_seed: group_hash("default", 0),
            charge: Charge::Bytes,
        };
        let group = store.create_group(settings).expect("the first group of a store");
        Shard { store, group, group_hash: group_hash("default", 0), numbers: Numbers(1) }
    }

    fn filled(policy: PolicyKind, budget_bytes: u64) -> Shard {
        let mut shard = Shard::new(policy, budget_bytes);
        (0..KEYS).for_each(|number| shard.set(number));
        shard
    }

    fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { group: self.group, hash: key_hash(bytes, self.group_hash), bytes }
    }

    fn set(&mut self, number: u64) {
        let bytes = key_bytes(number);
        let write = Write { value: &VALUE, flags: 0, condition: Condition::Always, expiry: Expiry::Default };
        self.store.set(self.key(&bytes), write, NOW_MS).expect("an unconditional set of a small value");
    }
}

fn key_bytes(number: u64) -> [u8; 16] {
    let mut bytes = *b"key:____________";
    bytes[8..].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Keys from `first` on; those from [`KEYS`] on are not there.
fn getting(policy: PolicyKind, first: u64) -> impl FnMut() -> usize {
    let mut shard = Shard::filled(policy, 1 << 30);
    move || {
        let bytes = key_bytes(first + shard.numbers.next(KEYS));
        let handle = shard.store.get(shard.key(&bytes), NOW_MS);
        assert_eq!(handle.is_some(), first == 0, "what is there is found");
        handle.map_or(0, |handle| shard.store.entry(handle).value.len())
    }
}

fn setting(policy: PolicyKind, budget_bytes: u64, below: u64) -> impl FnMut() {
    let mut shard = Shard::filled(policy, budget_bytes);
    move || {
        let number = shard.numbers.next(below);
        shard.set(number);
    }
}
