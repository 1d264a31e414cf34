//! Where the answers of a connection belong: in the order of its commands, though many are answered early.

use std::collections::VecDeque;

use larder_protocol::resp::{Shape, Version};

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

/// What the id of a request says: from the lowest bits on, how its reply is told, in which version of the protocol, whether at
/// all, which part of a command it is, and the place of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    /// `None`: see [`Pending`].
    pub(super) shape: Option<Shape>,
    pub(super) version: Version,
    pub(super) is_silent: bool,
    pub(super) part: usize,
    pub(super) place: u64,
}

const SHAPE_BITS: u32 = 5;
const VERSION_SHIFT: u32 = SHAPE_BITS;
const SILENT_SHIFT: u32 = VERSION_SHIFT + 1;
const PART_SHIFT: u32 = SILENT_SHIFT + 1;
const PART_BITS: u32 = 14;
const PLACE_SHIFT: u32 = PART_SHIFT + PART_BITS;
/// Places begin again after this many: far more than can wait.
const PLACES: u64 = 1 << (u64::BITS - PLACE_SHIFT);
/// In the bits of a shape: there is none.
const NO_SHAPE: u64 = (1 << SHAPE_BITS) - 1;

const _: () = assert!(Shape::ALL.len() < NO_SHAPE as usize, "every shape has its number");
const _: () = assert!(larder_protocol::limits::KEYS_MAX <= 1 << PART_BITS, "every key of a command is a part");

impl Id {
    pub(super) fn number(self) -> u64 {
        let shape = self.shape.map_or(NO_SHAPE, |shape| shape as u64);
        let (three, silent) = (u64::from(self.version == Version::Three), u64::from(self.is_silent));
        self.place << PLACE_SHIFT
            | (self.part as u64) << PART_SHIFT
            | silent << SILENT_SHIFT
            | three << VERSION_SHIFT
            | shape
    }

    #[inline]
    pub(super) fn of(number: u64) -> Self {
        let version = if number >> VERSION_SHIFT & 1 == 1 { Version::Three } else { Version::Two };
        Self {
            shape: Shape::ALL.get((number & NO_SHAPE) as usize).copied(),
            version,
            is_silent: number >> SILENT_SHIFT & 1 == 1,
            part: (number >> PART_SHIFT) as usize & ((1 << PART_BITS) - 1),
            place: number >> PLACE_SHIFT,
        }
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
    fn an_id_says_what_it_was_made_of() {
        for shape in [None, Some(Shape::Value), Some(Shape::Count)] {
            for (version, is_silent) in [(Version::Two, true), (Version::Three, false)] {
                let id = Id { shape, version, is_silent, part: (1 << PART_BITS) - 1, place: PLACES - 1 };
                assert_eq!(Id::of(id.number()), id);
                assert_eq!(Id::of(Id { part: 0, place: 1, ..id }.number()), Id { part: 0, place: 1, ..id });
            }
        }
    }

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
