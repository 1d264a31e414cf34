//! Holds a policy, access by access, against a naive one that is obviously right.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use crate::limits::{BUDGET_BYTES_MIN, ENTRY_BYTES_MIN, GHOST_BYTES};
use crate::{Charge, GroupIndex, GroupSettings, Key, NoHook, PolicyKind, PolicySettings, Store, StoreSettings, Write};

/// A policy and its contents, as plainly as can be.
pub(super) trait Oracle {
    /// What there is; told before anything else.
    fn begin(&mut self, _account: Account) {}
    /// A key is read or overwritten; whether it is there.
    fn access(&mut self, key: u64) -> bool;
    /// A key is stored (after an `access` that found it, or did not) with a charge of at most the budget.
    fn store(&mut self, key: u64, charge: u64, account: Account);
    /// A key is written, whether it is there or not.
    fn write(&mut self, key: u64, charge: u64, account: Account) {
        self.access(key);
        self.store(key, charge, account);
    }
    /// A key is deleted.
    fn delete(&mut self, key: u64);
    /// The keys that are there, in any order.
    fn entries(&self) -> Vec<u64>;
    /// How many ghosts there are.
    fn ghosts(&self) -> u64;
    /// What is remembered beside entries, in bytes of the budget.
    fn ghost_bytes(&self, account: Account) -> u64 {
        self.ghosts() * account.ghost
    }
}

/// What there is, and what a ghost takes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    pub(super) budget: u64,
    pub(super) ghost: u64,
}

impl Account {
    /// What the ghost of an entry with this charge counts as, if it keeps so many bytes more than others.
    pub(super) fn ghost_cost(&self, charge: u64, more: u64) -> u64 {
        let whole = charge + if self.ghost == 0 { 0 } else { self.ghost + more };
        let mut unit = 1;
        while whole >= 64 * unit {
            unit *= 2;
        }
        whole.next_multiple_of(unit)
    }
}

/// Runs seeded traces through a store with the policy and through the oracle: read-through gets of objects, and then
/// reads, writes of all sizes and deletes with charges in bytes. Contents and ghosts must agree after each access.
pub(super) fn hold<O: Oracle>(policy: PolicyKind, oracle: impl Fn() -> O) {
    hold_for(policy.into(), 6000, oracle);
}

/// The same with so many accesses.
pub(super) fn hold_for<O: Oracle>(policy: PolicySettings, accesses: usize, oracle: impl Fn() -> O) {
    for seed in 0..12 {
        let objects = [1, 2, 3, 4, 7, 10, 33, 100][seed as usize % 8];
        let case = Case { policy, charge: Charge::Objects, budget: objects, seed };
        case.run(oracle(), accesses, |_| 0);

        let budget = BUDGET_BYTES_MIN + 1237 * seed;
        let case = Case { policy, charge: Charge::Bytes, budget, seed };
        // A few bytes less than the budget, since a long value has a longer header and some in pieces.
        let largest = (budget - ENTRY_BYTES_MIN - 5 * 24 - size_of::<u64>() as u64) as usize;
        let size = |random: &mut fastrand::Rng| match random.u8(0..50) {
            0 => largest,
            1..5 => random.usize(0..=largest),
            _ => random.usize(0..300),
        };
        case.run(oracle(), accesses, size);
    }
}

#[derive(Clone, Copy, Debug)]
struct Case {
    policy: PolicySettings,
    charge: Charge,
    budget: u64,
    seed: u64,
}

impl Case {
    fn run<O: Oracle>(self, mut oracle: O, accesses: usize, size: impl Fn(&mut fastrand::Rng) -> usize) {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let (policy, charge) = (self.policy, self.charge);
        let (mut store, group) = held_by(policy, charge, self.budget);
        let account = Account { budget: self.budget, ghost: if charge == Charge::Bytes { GHOST_BYTES } else { 0 } };
        oracle.begin(account);
        let mut scan = 1 << 32;
        for step in 0..accesses {
            let number = next_key(step, &mut scan, &mut random);
            let bytes = number.to_le_bytes();
            let key = Key { group, hash: hash(number), bytes: &bytes };
            let value = vec![0; size(&mut random)];
            let cost = match charge {
                Charge::Objects => 1,
                Charge::Bytes => store.entry_bytes_in(group, bytes.len(), value.len()),
            };
            match random.u8(0..20) {
                0 => {
                    assert_eq!(store.delete(key, 0, 1).is_ok(), oracle.entries().contains(&number), "{self:?} {step}");
                    oracle.delete(number);
                }
                1..3 => {
                    store.set(key, Write { value: &value, ..Write::default() }, 1).unwrap();
                    oracle.write(number, cost, account);
                }
                _ => {
                    let found = oracle.access(number);
                    assert_eq!(store.get(key, 1).is_some(), found, "{self:?} access {step} of key {number}");
                    if !found {
                        store.set(key, Write { value: &value, ..Write::default() }, 1).unwrap();
                        oracle.store(number, cost, account);
                    }
                }
            }
            store.validate();
            let held: BTreeSet<u64> =
                store.keys().map(|key| u64::from_le_bytes(key.try_into().expect("a key of 8 bytes"))).collect();
            assert_eq!(held, oracle.entries().into_iter().collect(), "{self:?} access {step} of key {number}");
            let ghosts = store.counters(group).ghost_bytes;
            assert_eq!(ghosts, oracle.ghost_bytes(account), "{self:?} access {step} of key {number}");
        }
    }
}

/// A store with one group, whose keys have 8 bytes.
pub(super) fn held_by(policy: PolicySettings, charge: Charge, budget_bytes: u64) -> (Store<NoHook>, GroupIndex) {
    let key_hash = |_, key: &[u8]| hash(u64::from_le_bytes(key.try_into().expect("a key of 8 bytes")));
    let settings = StoreSettings { shard: 0, value_bytes_max: 1 << 20, memory_bytes: 4 << 20, key_hash };
    let mut store = Store::new(settings, NoHook);
    let name = String::from("held");
    let group = GroupSettings { name, budget_bytes, policy, charge, ttl_ms: 0, ttl_jitter: 0, hash_seed: 0 };
    let group = store.create_group(group).unwrap();
    (store, group)
}

/// The hash of a key.
pub(super) fn hash(number: u64) -> u64 {
    number.wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// Skewed keys over a few hundred, with a pass over new keys from time to time.
fn next_key(step: usize, scan: &mut u64, random: &mut fastrand::Rng) -> u64 {
    if step % 500 >= 400 && random.bool() {
        *scan += 1;
        return *scan;
    }
    let draw = random.f64();
    (draw * draw * draw * 300.0) as u64
}
