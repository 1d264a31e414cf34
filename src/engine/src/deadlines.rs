//! When waiting requests run out of time: a binary heap that knows where each of its members is, so that an answered
//! request leaves it at once. Requests mostly have one time-out, and then a new deadline is the latest: it is added
//! without moving any other.

use alloc::vec::Vec;

/// Deadlines by the number of who waits (dense and small).
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: Vec<Deadline>,
    /// Where in `heap` each number is; [`NOWHERE`]: it is not.
    positions: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    at_ms: u64,
    number: u32,
}

const NOWHERE: u32 = u32::MAX;

impl Deadlines {
    /// The earliest deadline, with whose it is.
    pub(crate) fn first(&self) -> Option<(u64, u32)> {
        self.heap.first().map(|deadline| (deadline.at_ms, deadline.number))
    }

    /// Adds the deadline of `number`, which has none.
    pub(crate) fn insert(&mut self, number: u32, at_ms: u64) {
        if self.positions.len() <= number as usize {
            self.positions.resize(number as usize + 1, NOWHERE);
        }
        debug_assert_eq!(self.positions[number as usize], NOWHERE, "{number} has a deadline");
        self.heap.push(Deadline { at_ms, number });
        self.rise(self.heap.len() - 1);
    }

    /// Removes the deadline of `number`, if it has one.
    pub(crate) fn remove(&mut self, number: u32) {
        let Some(position) = self.positions.get_mut(number as usize) else { return };
        let position = core::mem::replace(position, NOWHERE);
        if position == NOWHERE {
            return;
        }
        let position = position as usize;
        self.heap.swap_remove(position);
        if position < self.heap.len() {
            let risen = self.rise(position);
            self.sink(risen);
        }
    }

    /// Moves a member towards the front until its parent is not later; says where it is then.
    fn rise(&mut self, mut position: usize) -> usize {
        let deadline = self.heap[position];
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.heap[parent].at_ms <= deadline.at_ms {
                break;
            }
            self.put(position, self.heap[parent]);
            position = parent;
        }
        self.put(position, deadline);
        position
    }

    fn sink(&mut self, mut position: usize) {
        let deadline = self.heap[position];
        loop {
            let mut child = 2 * position + 1;
            if child + 1 < self.heap.len() && self.heap[child + 1].at_ms < self.heap[child].at_ms {
                child += 1;
            }
            if child >= self.heap.len() || self.heap[child].at_ms >= deadline.at_ms {
                break;
            }
            self.put(position, self.heap[child]);
            position = child;
        }
        self.put(position, deadline);
    }

    fn put(&mut self, position: usize, deadline: Deadline) {
        self.heap[position] = deadline;
        self.positions[deadline.number as usize] = position as u32;
    }

    /// Whether `number` has a deadline.
    pub(crate) fn has(&self, number: u32) -> bool {
        self.positions.get(number as usize).is_some_and(|position| *position != NOWHERE)
    }

    /// How many deadlines there are.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Panics with what is wrong.
    pub(crate) fn validate(&self) {
        for (position, deadline) in self.heap.iter().enumerate() {
            let parent = &self.heap[position.saturating_sub(1) / 2];
            assert!(parent.at_ms <= deadline.at_ms, "{parent:?} is in front of {deadline:?}");
            assert_eq!(self.positions[deadline.number as usize], position as u32, "position of {deadline:?}");
        }
        let known = self.positions.iter().filter(|position| **position != NOWHERE).count();
        assert_eq!(known, self.heap.len(), "every known position is in the heap");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn random_operations_against_a_sorted_map() {
        let seed = 0x5EED_DEAD;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut deadlines = Deadlines::default();
        let mut model = BTreeMap::new();
        for step in 0..20_000 {
            let number = random.u32(0..200);
            match model.entry(number) {
                std::collections::btree_map::Entry::Vacant(vacant) if random.bool() => {
                    let at_ms = random.u64(0..50);
                    vacant.insert(at_ms);
                    deadlines.insert(number, at_ms);
                }
                _ => {
                    model.remove(&number);
                    deadlines.remove(number);
                }
            }
            deadlines.validate();
            assert_eq!(deadlines.len(), model.len(), "seed {seed:#x}, step {step}");
            let earliest = model.values().min().copied();
            assert_eq!(deadlines.first().map(|first| first.0), earliest, "seed {seed:#x}, step {step}");
            if let Some((at_ms, number)) = deadlines.first() {
                assert_eq!(model[&number], at_ms, "seed {seed:#x}, step {step}");
            }
        }
    }
}
