//! Connections on their way from the shard that accepted them to the one that their first request names.
//!
//! A lane per shard, bounded by [`HANDOVERS_MAX`]; any shard may put a connection on it. One that finds no place, or
//! whose shard takes in no more because it stops, is served where it is: correct, at the price of passing requests on.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam::queue::ArrayQueue;

use super::reactor::Parcel;
use crate::limits::HANDOVERS_MAX;
use crate::mesh::Door;

/// A connection on its way.
#[derive(Debug)]
pub struct Moved {
    /// Its socket, which nothing is reading from.
    pub socket: OwnedFd,
    /// What the reactor kept for it.
    pub parcel: Parcel,
}

/// The lanes of all shards.
#[derive(Debug)]
pub struct Handover {
    lanes: Box<[Lane]>,
    doors: Arc<[Door]>,
}

#[derive(Debug)]
struct Lane {
    queue: ArrayQueue<Moved>,
    is_closed: AtomicBool,
}

impl Handover {
    /// A lane to each of the shards that have these doors.
    pub fn new(doors: Arc<[Door]>) -> Arc<Self> {
        let lane = |_| Lane { queue: ArrayQueue::new(HANDOVERS_MAX), is_closed: AtomicBool::new(false) };
        Arc::new(Self { lanes: doors.iter().map(lane).collect(), doors })
    }

    /// Puts a connection on the lane of shard `to`, and wakes that shard.
    ///
    /// # Errors
    /// A connection that the caller has to serve itself: [`HANDOVERS_MAX`] others wait, or the shard takes in no more.
    /// In the second case it can be one that another shard has put there.
    pub fn send(&self, to: u16, moved: Moved) -> Result<(), Moved> {
        let lane = &self.lanes[usize::from(to)];
        if lane.is_closed.load(Ordering::Relaxed) {
            return Err(moved);
        }
        lane.queue.push(moved)?;
        // Against the one in `close`: either this sees that the lane is closed, or the other sees the connection.
        fence(Ordering::SeqCst);
        if lane.is_closed.load(Ordering::Relaxed) {
            return lane.queue.pop().map_or(Ok(()), Err);
        }
        self.doors[usize::from(to)].ring_control();
        Ok(())
    }

    /// The next connection for `shard`, which asks when its control lane is marked.
    pub fn next(&self, shard: u16) -> Option<Moved> {
        self.lanes[usize::from(shard)].queue.pop()
    }

    /// Lets nothing more onto the lane of `shard`, which then takes what is there with [`Handover::next`] and need not
    /// look again.
    pub fn close(&self, shard: u16) {
        self.lanes[usize::from(shard)].is_closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::shard::Dialect;

    fn moved(number: u64) -> Moved {
        let (socket, _) = UnixStream::pair().expect("descriptors");
        Moved { socket: socket.into(), parcel: Parcel::new(Dialect::Native, number.to_le_bytes().to_vec()) }
    }

    fn handover(shards: u16) -> Arc<Handover> {
        Handover::new((0..shards).map(|_| Door::new(shards).expect("an event")).collect())
    }

    #[test]
    fn a_full_or_closed_lane_gives_the_connection_back() {
        let handover = handover(2);
        for number in 0..HANDOVERS_MAX as u64 {
            handover.send(1, moved(number)).expect("there is room");
        }
        assert!(handover.doors[1].is_marked() && !handover.doors[0].is_marked());
        let back = handover.send(1, moved(77)).expect_err("it is full");
        assert_eq!(back.parcel.input(), 77_u64.to_le_bytes());
        let first = handover.next(1).expect("a connection");
        assert_eq!(first.parcel.input(), 0_u64.to_le_bytes(), "in order");
        handover.close(1);
        handover.send(1, moved(78)).expect_err("it is closed");
        assert_eq!(std::iter::from_fn(|| handover.next(1)).count(), HANDOVERS_MAX - 1);
        handover.send(0, moved(79)).expect("the other one is not closed");
    }

    /// Two shards move connections to a third that stops in the middle of it: each is served once, by somebody.
    #[test]
    fn no_connection_is_lost_to_a_shard_that_stops() {
        const EACH: u64 = 40;
        let rounds = if std::env::var_os("LARDER_TEST_FULL").is_some() { 2_000 } else { 100 };
        for round in 0..rounds {
            let handover = handover(3);
            let served: Arc<Vec<AtomicUsize>> = Arc::new((0..2 * EACH).map(|_| AtomicUsize::new(0)).collect());
            let serve = |served: &[AtomicUsize], moved: Moved| {
                let number = u64::from_le_bytes(moved.parcel.input().try_into().expect("8 bytes"));
                served[number as usize].fetch_add(1, Ordering::Relaxed);
            };
            let senders: Vec<_> = (0..2)
                .map(|sender| {
                    let (handover, served) = (handover.clone(), served.clone());
                    std::thread::spawn(move || {
                        for number in 0..EACH {
                            if let Err(back) = handover.send(2, moved(sender * EACH + number)) {
                                serve(&served, back);
                            }
                        }
                    })
                })
                .collect();
            let mut random = fastrand::Rng::with_seed(round);
            for _ in 0..random.u32(0..60) {
                handover.next(2).into_iter().for_each(|moved| serve(&served, moved));
                std::thread::yield_now();
            }
            handover.close(2);
            std::iter::from_fn(|| handover.next(2)).for_each(|moved| serve(&served, moved));
            senders.into_iter().for_each(|sender| sender.join().expect("a sender ends"));
            let wrong = served.iter().position(|times| times.load(Ordering::Relaxed) != 1);
            assert_eq!(wrong, None, "round {round}: this connection was not served once");
            assert!(handover.next(2).is_none(), "round {round}: a connection lies on a closed lane");
        }
    }
}
