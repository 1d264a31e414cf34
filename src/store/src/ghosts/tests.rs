//! Ghosts beside a list of pairs.

use std::collections::HashSet;

use super::*;

/// As many times the usual number of steps as the environment says.
fn effort() -> u64 {
    match std::env::var_os("LARDER_TEST_FULL") {
        Some(value) if value == "1" => 20,
        _ => 1,
    }
}

#[test]
fn ghosts_behave_like_a_list_of_pairs() {
    for seed in 0..20 * effort() {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut region = Region::of_segments(200, 64 << random.u32(0..5));
        let mut ghosts = Ghosts::new(&region, Charge::Objects);
        let mut model: Vec<(u64, u32)> = Vec::new();
        let keys = [50, 1000][seed as usize % 2];
        let limit = 10 * keys;
        assert_eq!(rounded(99), 100, "some charges are not kept as they are");
        for step in 0..3000 {
            let hash = random.u64(0..keys).wrapping_mul(0x5851_F42D_4C95_7F2D);
            match random.u8(0..5) {
                0 => {
                    let known = model.iter().any(|ghost| ghost.0 == hash);
                    assert_eq!(ghosts.take(&mut region, hash), known, "seed {seed} step {step}");
                    model.retain(|ghost| ghost.0 != hash);
                }
                1 if step % 50 == 0 || step / 1000 % 2 == 1 => {
                    assert_eq!(ghosts.forget_oldest(&mut region), model.pop().is_some(), "seed {seed} step {step}");
                }
                _ => {
                    let charge = if random.u8(0..20) == 0 { limit as u32 + 1 } else { random.u32(1..100) };
                    if ghosts.take(&mut region, hash) {
                        model.retain(|ghost| ghost.0 != hash);
                    }
                    ghosts.remember(&mut region, hash, charge, limit);
                    if u64::from(rounded(charge)) <= limit {
                        model.insert(0, (hash, rounded(charge)));
                    }
                    while model.iter().map(|ghost| u64::from(ghost.1)).sum::<u64>() > limit {
                        model.pop();
                    }
                }
            }
            ghosts.validate(&region, limit);
            region.validate();
            let costs: Vec<u32> = model.iter().rev().map(|ghost| ghost.1).collect();
            assert_eq!(ghosts.costs(&region), costs, "seed {seed} step {step}");
            assert_eq!(ghosts.len(), model.len() as u64, "seed {seed} step {step}");
        }
        let known: HashSet<u64> = model.iter().map(|ghost| ghost.0).collect();
        for key in 0..keys {
            let hash = key.wrapping_mul(0x5851_F42D_4C95_7F2D);
            assert_eq!(ghosts.take(&mut region, hash), known.contains(&hash), "seed {seed}");
        }
        assert_eq!((ghosts.cost(), region.free()), (0, region.segments()), "all memory was given back");
    }
}

/// Ghosts pass through in steady state at the cost that limits.rs names.
#[test]
fn stale_slots_and_memory_are_bounded() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut region = Region::new(16 << 20);
    let mut ghosts = Ghosts::new(&region, Charge::Objects);
    let ghosts_max = 200_000;
    let mut most = 0;
    for step in 0..10 * ghosts_max {
        ghosts.remember(&mut region, random.u64(..), 1, ghosts_max);
        most = most.max(if step > ghosts_max { region.used_for(Use::Ghost) * region.segment_bytes() } else { 0 });
    }
    ghosts.validate(&region, ghosts_max);
    let slots = ghosts.table.as_ref().map_or(0, Table::len) as u64;
    eprintln!("{slots} slots and {most} bytes for {ghosts_max} ghosts");
    assert!(slots < ghosts_max * 110 / 100, "{slots} slots for {ghosts_max} ghosts");
    assert!(most as u64 <= ghosts_max * (GHOST_BYTES + 1), "{most} bytes for {ghosts_max} ghosts");
    while ghosts.len() > 100 {
        ghosts.forget_oldest(&mut region);
    }
    (0..150_000).for_each(|_| ghosts.remember(&mut region, random.u64(..), 1, 100));
    ghosts.validate(&region, 100);
    assert!(region.used_for(Use::Ghost) <= 4, "{} segments are left", region.used_for(Use::Ghost));
}

#[test]
fn ghosts_yield_where_there_is_no_memory() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut region = Region::of_segments(40, 1024);
    let mut ghosts = Ghosts::new(&region, Charge::Objects);
    let mut remembered = 0;
    let mut held = 0;
    for step in 0..20_000 {
        if step == 10_000 {
            // Ghosts have to do with what they have from here on.
            held = core::iter::from_fn(|| region.take(Use::Log)).count();
        }
        ghosts.remember(&mut region, random.u64(..), 1, u64::from(u32::MAX));
        remembered = remembered.max(ghosts.len());
        if step % 16 == 0 {
            ghosts.validate(&region, u64::MAX);
        }
        assert!(region.free() >= crate::limits::RESERVE_SEGMENTS, "ghosts leave the reserve alone");
    }
    assert!(remembered > 1000 && ghosts.len() > 0, "{remembered} were remembered");
    let taken: Vec<_> = core::iter::from_fn(|| region.take_reserved(Use::Log)).collect();
    ghosts.clear(&mut region);
    ghosts.validate(&region, 0);
    assert_eq!(region.free() + taken.len() + held, region.segments(), "all memory was given back");
    let mut others = Ghosts::new(&region, Charge::Objects);
    let all: Vec<_> = core::iter::from_fn(|| region.take_reserved(Use::Log)).collect();
    others.remember(&mut region, 1, 1, 100);
    assert_eq!((others.len(), all.is_empty()), (0, false), "no ghost fits");
    others.validate(&region, 100);
}

/// Hashes that are all alike fill the lines around one home: ghosts are forgotten early, and nothing else happens.
#[test]
fn hashes_that_are_alike_are_bounded() {
    let mut region = Region::of_segments(400, 1024);
    let mut ghosts = Ghosts::new(&region, Charge::Objects);
    for number in 0..5000_u64 {
        // The multiplier of points times its inverse is 1: these differ in their lowest bits alone.
        ghosts.remember(&mut region, (number << 18).wrapping_mul(0xF1DE_83E1_9937_733D), 1, 100_000);
        if number % 16 == 0 {
            ghosts.validate(&region, 100_000);
        }
    }
    assert!((1..1000).contains(&ghosts.len()), "{}", ghosts.len());
}

/// The hand leaves one part of the table with few slots while the rest has many: shrinking must not be misled by the mean.
#[test]
fn a_limit_that_goes_up_and_down_loses_no_ghost() {
    for seed in 0..20 * effort() {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut region = Region::new(16 << 20);
        let mut ghosts = Ghosts::new(&region, Charge::Objects);
        let mut expected = 0;
        for turn in 0..60 {
            let limit = if turn % 2 == 0 { random.u64(2000..9000) } else { random.u64(100..1500) };
            for step in 0..random.u64(500..9000) {
                ghosts.remember(&mut region, random.u64(..), 1, limit);
                expected = limit.min(expected + 1);
                assert_eq!(ghosts.len(), expected, "seed {seed} turn {turn} step {step}");
            }
            ghosts.validate(&region, limit);
        }
    }
}

/// One that nobody asks for stays while others come and go: what is empty between them is bounded, and passed over.
#[test]
fn ghosts_that_come_and_go_behind_an_old_one_leave_no_trace() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut region = Region::of_segments(100, 1024);
    let mut ghosts = Ghosts::new(&region, Charge::Bytes);
    ghosts.remember(&mut region, 1, 50, 1 << 20);
    for _ in 0..100_000 {
        let hash = random.u64(..);
        ghosts.remember(&mut region, hash, 50, 1 << 20);
        assert!(ghosts.take(&mut region, hash));
    }
    ghosts.validate(&region, 1 << 20);
    assert!(region.used_for(Use::Ghost) < 30, "{} segments", region.used_for(Use::Ghost));
    ghosts.remember(&mut region, 2, 60, 1 << 20);
    assert_eq!(ghosts.costs(&region), [50 + GHOST_BYTES as u32, 60 + GHOST_BYTES as u32].map(rounded));
    assert!(ghosts.forget_oldest(&mut region) && ghosts.take(&mut region, 2) && ghosts.len() == 0);
}

/// A lone old ghost is forgotten before the numbers of those that come and go behind it run out.
#[test]
fn the_span_of_ghosts_is_bounded() {
    let mut region = Region::of_segments(100, 1024);
    let mut ghosts = Ghosts { span_max: 1_000, ..Ghosts::new(&region, Charge::Objects) };
    ghosts.remember(&mut region, 0, 1, 10);
    for hash in 1..5_000_u64 {
        ghosts.remember(&mut region, hash << 40, 1, 10);
        assert!(ghosts.take(&mut region, hash << 40), "{hash} was remembered");
        ghosts.validate(&region, 10);
        // When the old one goes, the others have none before them, and nothing is left when they are taken.
        assert_eq!(ghosts.len(), u64::from(hash < 999), "{hash}; number 0 has no ghost");
        assert!(ghosts.ring.span() <= 1_000, "{hash}");
    }
    assert_eq!(region.free(), region.segments(), "all memory was given back");
}

/// The table has the low bits of a number alone, and none whose low bits are 0.
#[test]
fn numbers_that_begin_again_in_the_table_lose_no_ghost() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut region = Region::of_segments(200, 1024);
    let ring = Ring::new(&region, 1).starting_at(NUMBER - 5_000);
    let mut ghosts = Ghosts::of(ring, Charge::Objects);
    let mut model: Vec<(u64, u32)> = Vec::new();
    for step in 0..10_000 {
        let (hash, word) = (random.u64(..), random.u32(1..));
        ghosts.remember_with(&mut region, hash, (1, word.into()), 300);
        model.insert(0, (hash, word));
        model.truncate(300);
        if step % 3 == 0 {
            let (hash, word) = model.remove(random.usize(0..model.len()));
            assert_eq!(ghosts.take_whole(&mut region, hash), Some((1, word.into())), "step {step}");
        }
        assert_eq!(ghosts.len(), model.len() as u64, "step {step}");
        if step % 64 == 0 {
            ghosts.validate(&region, 300);
        }
    }
    assert!(ghosts.ring.head() > NUMBER + 4_000, "they did begin again");
}
