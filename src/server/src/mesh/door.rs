//! How a sleeping shard learns that something has come, at the cost of one atomic operation per batch of messages
//! and a system call only if it really sleeps.
//!
//! The producer puts down all it has, marks where, and [`Door::knock`]s once. The consumer that found nothing calls
//! [`Door::may_sleep`], and only then waits for the event. Why no wake is lost is told, and model-checked, beside the
//! atomics in `latch`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use super::latch::Latch;

/// The mark of the control lane. Marks 0 and 1 are kept for what comes from outside of the mesh, so that the two lanes
/// of a pair of shards lie in one word.
pub const CONTROL_MARK: usize = 0;
/// Marks that belong to no pair of shards.
const MARKS_RESERVED: usize = 2;
/// Lanes from one shard to another.
const LANES_PER_PAIR: usize = 2;

/// What others may touch of a shard: which lanes to look at, whether it sleeps, and the event that wakes it.
#[derive(Debug)]
pub struct Door {
    latch: Latch,
    event: OwnedFd,
}

impl Door {
    /// The door of one of `shards` shards.
    ///
    /// # Errors
    /// No event can be had: mostly no file descriptors are left.
    pub fn new(shards: u16) -> io::Result<Self> {
        let marks = MARKS_RESERVED + LANES_PER_PAIR * usize::from(shards);
        Ok(Self {
            latch: Latch::new(marks),
            // Blocking on purpose: io_uring answers a read of a non-blocking descriptor at once, with EAGAIN.
            event: eventfd(0, EventfdFlags::CLOEXEC)?,
        })
    }

    /// Tells that something lies on the lanes of `mask` from shard `from`. To be followed by [`Door::knock`].
    pub(super) fn mark_lanes(&self, from: u16, mask: u64) {
        self.latch.mark(MARKS_RESERVED + LANES_PER_PAIR * usize::from(from), mask);
    }

    /// Tells that something lies on the control lane, and wakes the shard.
    pub fn ring_control(&self) {
        self.latch.mark(CONTROL_MARK, 1);
        self.knock();
    }

    /// Wakes the shard if it sleeps. After any number of marks.
    pub fn knock(&self) {
        if self.latch.knock() {
            self.ring();
        }
    }

    /// Makes the event readable, whether the shard sleeps or not.
    pub fn ring(&self) {
        let one = 1_u64.to_ne_bytes();
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&self.event, &one));
        assert_eq!(written, Ok(one.len()), "an event counter takes a 1: a wake adds one, and each is read");
    }

    /// Whether there is a mark. Only a hint while producers run.
    pub fn is_marked(&self) -> bool {
        self.latch.is_marked()
    }

    /// Takes the marks away and hands them to `each`: [`CONTROL_MARK`] or a lane's (by its number).
    pub fn take_marks(&self, each: impl FnMut(usize)) {
        self.latch.take_marks(each);
    }

    /// Says that the shard goes to sleep; false if something has come and it may not. After `true` the shard waits for
    /// [`Door::event`] to be readable, and then calls [`Door::awake`].
    pub fn may_sleep(&self) -> bool {
        self.latch.may_sleep()
    }

    /// Says that the shard is up, so that nobody spends a system call on waking it.
    pub fn awake(&self) {
        self.latch.awake();
    }

    /// Readable (8 bytes) after a knock at a sleeping shard's door.
    pub fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// The shard and the number of the lane that a mark stands for; `None`: [`CONTROL_MARK`].
pub(super) fn lane_of(mark: usize) -> Option<(u16, usize)> {
    let lane = mark.checked_sub(MARKS_RESERVED)?;
    Some(((lane / LANES_PER_PAIR) as u16, lane % LANES_PER_PAIR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_once_and_name_their_lanes() {
        let door = Door::new(256).expect("an event");
        for from in [0_u16, 1, 30, 31, 255] {
            door.mark_lanes(from, 0b01);
            door.mark_lanes(from, 0b11);
            let mut seen = Vec::new();
            door.take_marks(|mark| seen.push(lane_of(mark)));
            assert_eq!(seen, [Some((from, 0)), Some((from, 1))]);
            assert!(!door.is_marked());
        }
        door.ring_control();
        let mut seen = Vec::new();
        door.take_marks(|mark| seen.push(lane_of(mark)));
        assert_eq!(seen, [None]);
    }

    #[test]
    fn a_marked_door_lets_nobody_sleep_and_only_a_sleeper_costs_a_wake() {
        let door = Door::new(1).expect("an event");
        assert!(door.may_sleep());
        door.awake();
        door.ring_control();
        assert!(!door.may_sleep(), "a mark is there");
        assert!(!readable(&door), "nobody slept, so nobody was woken");
        door.take_marks(|_| {});
        assert!(door.may_sleep());
        door.ring_control();
        door.knock();
        assert!(readable(&door), "the sleeper is woken");
        let mut counter = [0; 8];
        rustix::io::read(door.event(), &mut counter).expect("readable");
        assert_eq!(u64::from_ne_bytes(counter), 1, "two knocks are one wake");
    }

    fn readable(door: &Door) -> bool {
        let event = door.event();
        let mut polled = [rustix::event::PollFd::new(&event, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut polled, Some(&now)).expect("poll") == 1
    }
}
