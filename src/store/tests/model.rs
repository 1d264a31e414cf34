//! Long runs of random operations on a store and on a plain model.

use larder_store::{GroupIndex, Reason};

use crate::operation::Operations;
use crate::run::Run;
use crate::setup::Setup;

/// Bytes from which the operations of a run are read: some 5000.
const RUN_BYTES: usize = 28_000;
const SEEDS: u64 = 20;

#[test]
fn random_operations_agree_with_a_plain_model() {
    random_operations(Setup::roomy);
}

#[test]
fn random_operations_agree_with_a_plain_model_while_memory_is_short() {
    random_operations(Setup::tight);
}

fn random_operations(setup: fn(u64) -> Setup) {
    let mut ghost_hits = [0, 0];
    for seed in 0..if crate::full() { 20 * SEEDS } else { SEEDS } {
        let (setup, mut bytes) = (setup(seed), vec![0; RUN_BYTES]);
        fastrand::Rng::with_seed(seed).fill(&mut bytes);
        let mut run = Run::new(setup);
        for (step, operation) in (Operations { bytes: &bytes }).enumerate() {
            run.context = format!("seed {seed} step {step}: {operation:?}");
            run.step(&operation);
        }
        assert_eventful(&run, setup.is_tight);
        for (group, hits) in [1, 3].into_iter().zip(&mut ghost_hits) {
            *hits += run.store.counters(GroupIndex(group)).ghost_hits;
        }
    }
    assert!(ghost_hits.iter().all(|&hits| hits > SEEDS), "ghosts were hit {ghost_hits:?} times");
}

/// A run in which something never happened would prove nothing about it.
fn assert_eventful(run: &Run, is_tight: bool) {
    let Run { context, store, groups, .. } = run;
    for reason in
        [Reason::Evicted, Reason::Expired, Reason::Deleted, Reason::Replaced, Reason::Invalidated, Reason::Voided]
    {
        let count: u64 = groups.iter().filter_map(|model| model.removals.get(&reason)).sum();
        assert!(count > 0, "{context}: no entry left as {reason:?}");
    }
    let memory = store.memory();
    assert_eq!(memory.moved_bytes > 0, is_tight, "{context}: {memory:?}");
    assert!(!is_tight || memory.evictions > 0, "{context}: {memory:?}");
}
