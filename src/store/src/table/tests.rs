//! Random operations on tables and on maps, compared after every one.

use std::collections::BTreeMap;

use super::resize::MOVES_MAX;
use super::*;

/// What the multiplier of [`Homes::point`] is multiplied with to give 1.
const INVERSE: u64 = 0xF1DE_83E1_9937_733D;

/// Hashes of the entries by their value, as items would have them.
type Model = BTreeMap<u32, u64>;

/// How the hashes of a run are distributed.
#[derive(Clone, Copy, Debug)]
enum Hashes {
    Mixed,
    /// Few different ones.
    Equal,
    /// A few narrow ranges of points.
    Clustered,
    /// Every home gets about as much as it can take.
    Even,
}

impl Hashes {
    fn draw(self, random: &mut fastrand::Rng) -> u64 {
        // The top bits of what is multiplied by the inverse are the point.
        let mixed = match self {
            Self::Mixed => random.u64(..),
            Self::Equal => random.u64(0..3) << 62 | random.u64(0..2),
            Self::Clustered => random.u64(0..5) << 61 | random.u64(..) >> random.u32(8..20),
            Self::Even => random.u64(0..4000) * (u64::MAX / 4000),
        };
        mixed.wrapping_mul(INVERSE)
    }
}

struct Run<L> {
    random: fastrand::Rng,
    hashes: Hashes,
    region: Region,
    table: Table<L>,
    model: Model,
    next: u32,
    refused: u32,
    resizes: u32,
    moves_most: u64,
}

impl<L: Layout> Run<L> {
    fn new(seed: u64, hashes: Hashes, segments: usize, lines_of_segment: usize) -> Self {
        let mut region = Region::of_segments(segments, lines_of_segment * 64);
        // What was there before must not matter.
        region.bytes_mut().fill(0xA5);
        let table = Table::new(&mut region, Use::Index, 0).expect("there are segments");
        let (random, model) = (fastrand::Rng::with_seed(seed), Model::new());
        Self { random, hashes, region, table, model, next: 1, refused: 0, resizes: 0, moves_most: 0 }
    }

    fn some(&mut self) -> Option<(u32, u64)> {
        let from = self.random.u32(0..=self.next);
        let found = self.model.range(from..).next().or_else(|| self.model.iter().next());
        found.map(|(&value, &hash)| (value, hash))
    }

    fn insert(&mut self) {
        let hash = match self.some() {
            Some((_, hash)) if self.random.u8(0..50) == 0 => hash,
            _ => self.hashes.draw(&mut self.random),
        };
        let value = self.next;
        self.next += 1;
        for attempt in 0.. {
            let model = &self.model;
            match self.table.insert(&mut self.region, hash, value, &|_, value| model[&value]) {
                Ok(()) => break,
                Err(Crowded { victim }) => {
                    self.refused += 1;
                    assert!(attempt < 300, "evicting does not help");
                    self.remove(victim);
                }
            }
        }
        self.model.insert(value, hash);
    }

    fn remove(&mut self, value: u32) {
        let hash = self.model[&value];
        // The table may ask about the one that leaves, as long as it is there.
        let model = &self.model;
        self.table.remove(&mut self.region, hash, value, &|_, value| model[&value]);
        self.model.remove(&value);
    }

    fn replace(&mut self, value: u32) {
        let hash = self.model.remove(&value).unwrap();
        self.table.replace(&mut self.region, hash, value, self.next);
        self.model.insert(self.next, hash);
        self.next += 1;
    }

    /// One operation; inserts are more frequent while `rising`.
    fn step(&mut self, rising: bool) {
        let (moved, resize) = (self.table.moved, self.table.resize);
        let refused = self.refused;
        match (self.random.u8(0..16), self.some()) {
            (0, Some((value, _))) => self.replace(value),
            (1..5, Some((value, _))) if rising => self.remove(value),
            (1..12, Some((value, _))) if !rising => self.remove(value),
            _ => self.insert(),
        }
        let calls = 1 + 2 * u64::from(self.refused - refused);
        let moved = self.table.moved - moved;
        assert!(moved <= calls * MOVES_MAX as u64, "{moved} entries were moved");
        self.moves_most = self.moves_most.max(moved);
        self.resizes += u32::from(resize != Resize::Steady && self.table.resize == Resize::Steady);
    }

    fn check(&self, context: &str) {
        self.table.validate(&self.region, &|_, value| Some(self.model[&value]));
        self.region.validate();
        assert_eq!(self.table.len(), self.model.len(), "{context}");
    }

    fn check_look_ups(&mut self, count: usize, context: &str) {
        for _ in 0..count {
            if let Some((value, hash)) = self.some() {
                let found = self.table.find(&self.region, hash, |other| (other == value).then_some(other));
                assert_eq!(found, Some(value), "{context}");
                let candidate = self.table.candidate(&self.region, hash);
                assert!(candidate.is_some(), "{context}");
            }
            let absent = self.hashes.draw(&mut self.random);
            let is_it = |value: u32| (self.model.get(&value) == Some(&absent)).then_some(value);
            let found = self.table.find(&self.region, absent, is_it);
            assert_eq!(found.is_some(), self.model.values().any(|&hash| hash == absent), "{context}");
        }
    }
}

/// As many times the usual number of steps as the environment says.
fn effort() -> usize {
    match std::env::var_os("LARDER_TEST_FULL") {
        Some(value) if value == "1" => 20,
        _ => 1,
    }
}

fn agrees_with_a_map<L: Layout>(hashes: Hashes) -> (u32, u32) {
    let (mut resizes, mut refused) = (0, 0);
    for seed in 0..4 * effort() as u64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let lines = 1 << random.u32(0..5);
        let segments = random.usize(16..160) / lines + 40 / lines + 4;
        let mut run = Run::<L>::new(seed, hashes, segments, lines);
        for step in 0..4000 {
            let context = format!("{hashes:?} seed {seed} step {step}");
            run.step(step / 700 % 2 == 0);
            run.check(&context);
            run.check_look_ups(2, &context);
        }
        (resizes, refused) = (resizes + run.resizes, refused + run.refused);
    }
    (resizes, refused)
}

#[test]
fn the_inverse_is_one() {
    let homes = Homes::new(64 - 1, 1);
    assert_eq!(homes.point(6_u64.wrapping_mul(INVERSE)), 3);
}

#[test]
fn tables_of_entries_agree_with_a_map() {
    for hashes in [Hashes::Mixed, Hashes::Even] {
        let (resizes, _) = agrees_with_a_map::<EntryLine>(hashes);
        assert!(resizes > 10, "{hashes:?}: only {resizes} changes of the number of lines");
    }
}

#[test]
fn tables_of_entries_with_bad_hashes_agree_with_a_map() {
    for hashes in [Hashes::Equal, Hashes::Clustered] {
        let (_, refused) = agrees_with_a_map::<EntryLine>(hashes);
        assert!(refused > 10, "{hashes:?}: only {refused} insertions were refused");
    }
}

#[test]
fn tables_of_ghosts_agree_with_a_map() {
    for hashes in [Hashes::Mixed, Hashes::Equal, Hashes::Clustered, Hashes::Even] {
        agrees_with_a_map::<GhostLine>(hashes);
    }
}

/// A key that is there all the time is visited, although entries come and go and the table grows and shrinks.
#[test]
fn a_scan_visits_what_is_there_throughout() {
    for seed in 0..4 * effort() as u64 {
        let hashes = [Hashes::Mixed, Hashes::Even, Hashes::Clustered][seed as usize % 3];
        let mut run = Run::<EntryLine>::new(seed, hashes, 40, 8);
        (0..500).for_each(|_| run.step(true));
        for round in 0..40 {
            let mut expected = run.model.clone();
            let (mut visited, mut cursor) = (Model::new(), Some(0));
            while let Some(from) = cursor {
                let model = &run.model;
                let hash_of = |_: &Region, value: u32| model[&value];
                cursor = run.table.scan(&run.region, from, &hash_of, |value| _ = visited.insert(value, model[&value]));
                for _ in 0..run.random.u8(0..12) {
                    run.step(round % 4 < 2);
                    run.check("scan");
                }
                expected.retain(|value, _| run.model.contains_key(value));
            }
            let missed = expected.keys().find(|value| !visited.contains_key(value));
            assert_eq!(missed, None, "seed {seed} round {round} with {} entries", expected.len());
        }
        assert!(run.resizes > 4, "seed {seed}: {} changes of the number of lines", run.resizes);
    }
}

/// The table is as full as it is meant to be while it grows, and no insertion moves more than a few.
#[test]
fn growth_is_in_small_steps_and_keeps_the_lines_full() {
    let entries = if effort() > 1 { 4_000_000 } else { 400_000 };
    let mut random = fastrand::Rng::with_seed(1);
    let mut region = Region::of_segments(entries * 9 / (16 << 10) + 8, 16 << 10);
    let mut table = Table::<EntryLine>::new(&mut region, Use::Index, entries / 8).unwrap();
    let hashes: Vec<u64> = (0..=entries).map(|_| random.u64(..)).collect();
    let hash_of = |_: &Region, value: u32| hashes[value as usize];
    let (mut moved_most, begin) = (0, table.home_lines());
    for value in 1..=entries {
        let (moved, hash) = (table.moved, hash_of(&region, value as u32));
        table.insert(&mut region, hash, value as u32, &hash_of).expect("mixed hashes fit");
        moved_most = moved_most.max(table.moved - moved);
        if table.home_lines() > begin {
            let load = value * 100 / (table.lines.len() * EntryLine::SLOTS);
            assert!((60..90).contains(&load) || value < 10_000, "{value} entries fill {load} %");
        }
    }
    eprintln!("an insertion moved at most {moved_most} entries, each was moved {} times", table.moved / entries as u64);
    assert!(moved_most < 300, "an insertion moved {moved_most} entries");
    assert!(table.moved < 16 * entries as u64, "each entry was moved {} times", table.moved / entries as u64);
    table.validate(&region, &|_, value| Some(hashes[value as usize]));
    for value in (1..=entries).rev() {
        let moved = table.moved;
        table.remove(&mut region, hashes[value], value as u32, &hash_of);
        assert!(table.moved - moved < 300, "a removal moved {} entries", table.moved - moved);
    }
    assert_eq!((table.len(), table.home_lines()), (0, begin), "it is as small as it was");
    region.validate();
}

/// Look-ups stay short however often entries come and go.
#[test]
fn churn_does_not_lengthen_look_ups() {
    let entries = 100_000;
    let mut random = fastrand::Rng::with_seed(1);
    let mut region = Region::of_segments(100, 16 << 10);
    let mut table = Table::<EntryLine>::new(&mut region, Use::Index, entries / 8).unwrap();
    let mut hashes: Vec<u64> = (0..=entries).map(|_| random.u64(..)).collect();
    for value in 1..=entries {
        table.insert(&mut region, hashes[value], value as u32, &|_, value| hashes[value as usize]).unwrap();
    }
    // As full as it gets.
    for _ in 0..10 * entries {
        let value = random.usize(1..=entries);
        table.remove(&mut region, hashes[value], value as u32, &|_, value| hashes[value as usize]);
        hashes[value] = random.u64(..);
        table.insert(&mut region, hashes[value], value as u32, &|_, value| hashes[value as usize]).unwrap();
    }
    let lines: usize = (0..table.home_lines()).map(|home| 1 + table.last_of_home(&region, home) - home).sum();
    assert!(lines * 10 < table.home_lines() * 14, "{lines} lines are looked at for {} homes", table.home_lines());
    table.validate(&region, &|_, value| Some(hashes[value as usize]));
}

#[test]
fn growth_waits_for_a_segment() {
    let mut run = Run::<EntryLine>::new(1, Hashes::Mixed, 16, 4);
    let taken: Vec<_> = core::iter::from_fn(|| run.region.take(Use::Log)).collect();
    while !run.table.wants_segment(&run.region) {
        run.insert();
    }
    let lines = run.table.home_lines();
    (0..3).for_each(|_| run.insert());
    run.check("waiting");
    assert_eq!(run.table.home_lines(), lines);
    taken.into_iter().for_each(|segment| run.region.give_back(segment));
    while run.table.home_lines() == lines || run.table.resize != Resize::Steady {
        run.insert();
        run.check("growing");
    }
    run.table.dissolve(&mut run.region);
    assert_eq!(run.region.free(), run.region.segments());
}

#[test]
#[should_panic(expected = "is not in the table")]
fn what_is_not_there_cannot_be_removed() {
    let mut run = Run::<EntryLine>::new(1, Hashes::Mixed, 16, 4);
    run.insert();
    run.model.insert(7, 7);
    run.remove(7);
}
