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
    held: VecDeque<Option<Span>>,
    /// Their text, as it came, and that of some that are out already.
    text: Vec<u8>,
    /// Bytes of the text that are of answers that are held.
    live: usize,
}

/// Where the text of an answer is.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    bytes: usize,
}

/// Bytes that an answer that is held takes beside its text.
const HELD_BYTES: usize = size_of::<Option<Span>>();
/// Places for answers that are kept when none is held.
const HELD_KEPT: usize = 64;
/// Bytes for their text that are kept when none is held; and so many may be of answers that are out, beside as many as are
/// of others.
const TEXT_KEPT: usize = 1 << 10;

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

    /// Bytes that are held, with those of the text that is out already.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        self.text.len() + HELD_BYTES * self.held.len()
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
        if self.text.capacity() == 0 {
            self.text.reserve(TEXT_KEPT);
        }
        let start = self.text.len();
        append(&mut self.text);
        let bytes = self.text.len() - start;
        self.live += bytes;
        let span = Span { start, bytes };
        if self.held.len() <= behind {
            self.held.resize(behind + 1, None);
        }
        assert!(self.held[behind].replace(span).is_none(), "a command is answered once");
    }

    /// The answer of the first place held is out: so are those behind it that have come.
    fn release(&mut self, output: &mut Vec<u8>) {
        loop {
            self.held.pop_front();
            let Some(span) = self.held.front_mut().and_then(Option::take) else { break };
            output.extend_from_slice(self.text_of(span));
            self.live -= span.bytes;
            self.front = following(self.front);
        }
        if self.held.is_empty() {
            self.held.shrink_to(HELD_KEPT);
            self.text.clear();
            self.text.shrink_to(TEXT_KEPT);
        } else if self.text.len() > 2 * self.live + TEXT_KEPT {
            self.compact();
        }
    }

    fn text_of(&self, Span { start, bytes }: Span) -> &[u8] {
        &self.text[start..][..bytes]
    }

    /// Keeps the text of what is held alone.
    #[cold]
    fn compact(&mut self) {
        let mut text = Vec::with_capacity(2 * self.live + TEXT_KEPT);
        for span in self.held.iter_mut().flatten() {
            let start = text.len();
            text.extend_from_slice(&self.text[span.start..][..span.bytes]);
            span.start = start;
        }
        self.text = text;
    }

    /// How many commands have not been answered; panics with what is wrong.
    pub(super) fn validate(&self) -> usize {
        let text: usize = self.held.iter().flatten().map(|span| self.text_of(*span).len()).sum();
        assert_eq!(self.live, text, "the text of what is held is counted");
        assert!(self.text.len() <= 2 * text + TEXT_KEPT, "{} bytes for {text}", self.text.len());
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
        let (mut output, mut waiting, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..1_000_u32 {
            // Now and then a long one, and often none at all.
            let text = number.to_be_bytes().repeat([0, 1, 20, 200][random.usize(0..4)]);
            expected.extend_from_slice(&text);
            waiting.push((order.take(), text));
            while waiting.len() > random.usize(0..20) {
                let (place, text) = waiting.swap_remove(random.usize(0..waiting.len()));
                order.place(&mut output, place, |out| out.extend_from_slice(&text));
                assert_eq!(order.validate(), waiting.len(), "seed {seed}");
            }
        }
        for (place, text) in waiting {
            order.place(&mut output, place, |out| out.extend_from_slice(&text));
            order.validate();
        }
        assert!(output == expected && order.held_bytes() == 0, "seed {seed}");
        let kept = (order.text.capacity(), order.held.capacity());
        assert!(kept.0 <= TEXT_KEPT && kept.1 <= HELD_KEPT, "{kept:?} are kept, seed {seed}");
    }
}
