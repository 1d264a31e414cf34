//! Where the answers of a connection belong: in the order of its commands, though many are answered early.

use std::collections::VecDeque;

/// Places begin again after this many: far more than can wait.
pub(super) const PLACES: u64 = 1 << 43;

/// Answers that wait for those before them.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The place of the command that comes next.
    next: u64,
    /// The place of the answer that goes out next.
    front: u64,
    /// Answers that came before their turn, the first of them that of `front`, which has not come. Answers to what waits at
    /// other shards are as many as may wait; those that a connection gives by itself are counted by their bytes.
    held: VecDeque<Option<Vec<u8>>>,
    held_bytes: usize,
}

/// Bytes that an answer that is held takes beside its text.
const HELD_BYTES: usize = size_of::<Option<Vec<u8>>>();
/// Places for answers that are kept when none is held.
const HELD_KEPT: usize = 64;

impl Order {
    /// The place of the next command, which is not taken yet.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The place of the next command.
    #[inline]
    pub(super) fn take(&mut self) -> u64 {
        let place = self.next;
        self.next = following(place);
        place
    }

    /// This place is taken, and all before it.
    #[inline]
    pub(super) fn took(&mut self, place: u64) {
        self.next = following(place);
    }

    /// Bytes that are held.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Answers the command of a place: what `append` adds comes to `output`, now or in its turn.
    #[inline]
    pub(super) fn place(&mut self, output: &mut Vec<u8>, place: u64, append: impl FnOnce(&mut Vec<u8>)) {
        if place != self.front {
            return self.hold(place, append);
        }
        append(output);
        self.front = following(self.front);
        if !self.held.is_empty() {
            self.release(output);
        }
    }

    fn hold(&mut self, place: u64, append: impl FnOnce(&mut Vec<u8>)) {
        let behind = usize::try_from(place.wrapping_sub(self.front) % PLACES).expect("what is held is bounded");
        let mut text = Vec::new();
        append(&mut text);
        while self.held.len() <= behind {
            self.held.push_back(None);
            self.held_bytes += HELD_BYTES;
        }
        self.held_bytes += text.len();
        assert!(self.held[behind].replace(text).is_none(), "a command is answered once");
    }

    /// The answer of the first place held is out: so are those behind it that have come.
    fn release(&mut self, output: &mut Vec<u8>) {
        loop {
            if self.held.pop_front().is_some() {
                self.held_bytes -= HELD_BYTES;
            }
            let Some(text) = self.held.front_mut().and_then(Option::take) else { break };
            self.held_bytes -= text.len();
            output.extend_from_slice(&text);
            self.front = following(self.front);
        }
        if self.held.is_empty() {
            self.held.shrink_to(HELD_KEPT);
        }
    }

    /// How many commands have not been answered; panics with what is wrong.
    pub(super) fn validate(&self) -> usize {
        let text: usize = self.held.iter().flatten().map(Vec::len).sum();
        assert_eq!(self.held_bytes, text + HELD_BYTES * self.held.len());
        assert!(self.held.front().is_none_or(Option::is_none), "what has its turn is not held");
        (self.next.wrapping_sub(self.front) % PLACES) as usize - self.held.iter().flatten().count()
    }
}

/// The place behind one.
#[inline]
pub(super) fn following(place: u64) -> u64 {
    (place + 1) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_begin_again_and_the_order_stays() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut order = Order { next: PLACES - 500, front: PLACES - 500, ..Order::default() };
        let (mut output, mut waiting) = (Vec::new(), Vec::new());
        for number in 0..1_000_u32 {
            waiting.push((order.take(), number));
            while waiting.len() > random.usize(0..20) {
                let (place, number) = waiting.swap_remove(random.usize(0..waiting.len()));
                order.place(&mut output, place, |out| out.extend_from_slice(&number.to_be_bytes()));
                assert_eq!(order.validate(), waiting.len(), "seed {seed}");
            }
        }
        for (place, number) in waiting {
            order.place(&mut output, place, |out| out.extend_from_slice(&number.to_be_bytes()));
        }
        let numbers: Vec<u8> = (0..1_000_u32).flat_map(u32::to_be_bytes).collect();
        assert!(output == numbers && order.held_bytes() == 0, "seed {seed}");
    }
}
