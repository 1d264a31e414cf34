//! Answers that wait for others of the same connection.
//!
//! Of the requests that a client sends together, some are for other shards. Were the answers of the rest sent at once,
//! each such batch would take two sends instead of one, and its client, which asks again as answers come, would ask in
//! ever smaller batches. So they are held back for as long as others are on their way, of shards and of other nodes: for
//! a bounded number of turns of a busy shard and a bounded time, or until it has waited for work in vain. Nothing waits for
//! an answer that is known to take long, be it that an origin or who holds a lease has to give it, which the shard that has
//! the key says at once, or that it was waited for in vain.

use std::collections::VecDeque;

use crate::limits::{HOLD_MS, HOLD_TURNS};

/// When a connection's answers began to be held back; the name of that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    turn: u64,
    since_ms: u64,
}

/// Who is held, in order. One that was sent earlier stays in it until its time is over.
#[derive(Debug, Default)]
pub(super) struct Holding {
    turn: u64,
    queue: VecDeque<(Held, u32)>,
}

impl Holding {
    /// Counts a turn.
    pub(super) fn turn(&mut self) {
        self.turn += 1;
    }

    /// Holds what a connection has from now on.
    pub(super) fn hold(&mut self, index: u32, now_ms: u64) -> Held {
        let held = Held { turn: self.turn, since_ms: now_ms };
        self.queue.push_back((held, index));
        held
    }

    /// A connection that was held for [`HOLD_TURNS`] or [`HOLD_MS`], until there is none.
    pub(super) fn next_over(&mut self, now_ms: u64) -> Option<(Held, u32)> {
        let (held, _) = self.queue.front()?;
        let is_over = self.turn >= held.turn + HOLD_TURNS || now_ms >= held.since_ms + HOLD_MS;
        if is_over { self.queue.pop_front() } else { None }
    }

    /// A connection that is held, until there is none.
    pub(super) fn next(&mut self) -> Option<(Held, u32)> {
        self.queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_held_for_longer_than_the_bound() {
        let mut holding = Holding::default();
        let first = holding.hold(7, 0);
        holding.turn();
        let second = holding.hold(8, 0);
        for _ in 1..HOLD_TURNS {
            assert_eq!(holding.next_over(0), None);
            holding.turn();
        }
        assert_eq!((holding.next_over(0), holding.next_over(0)), (Some((first, 7)), None));
        holding.turn();
        assert_eq!(holding.next_over(0), Some((second, 8)));
        let third = holding.hold(9, 1);
        assert_ne!(second, third);
        assert_eq!((holding.next(), holding.next()), (Some((third, 9)), None));
        let fourth = holding.hold(10, 2);
        assert_eq!((holding.next_over(1 + HOLD_MS), holding.next_over(2 + HOLD_MS)), (None, Some((fourth, 10))));
    }
}
