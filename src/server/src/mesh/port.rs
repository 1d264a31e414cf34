//! One shard's ends of all its lanes.

use std::io;
use std::sync::Arc;

use larder_engine::Lane;
use rtrb::{Consumer, Producer, RingBuffer};

use super::door::{Door, lane_of};

/// Lanes from one shard to another: requests and replies.
const LANES: [Lane; 2] = [Lane::Requests, Lane::Replies];

/// One batch of frames, in a buffer that the engine gave and that goes back to an engine.
type Batch = Vec<u8>;

/// One shard's ends of the mesh. The pair of a shard with itself does not exist.
#[derive(Debug)]
pub struct Port {
    shard: u16,
    outgoing: Vec<Option<[Producer<Batch>; LANES.len()]>>,
    incoming: Vec<Option<[Consumer<Batch>; LANES.len()]>>,
    doors: Arc<[Door]>,
    /// Per shard, the lanes that were pushed to since the last flush.
    unflushed: Vec<u64>,
    /// The shards whose `unflushed` is not 0.
    touched: Vec<u16>,
}

/// What lies on a lane.
#[derive(Debug)]
pub struct Incoming {
    /// The shard that sent it.
    pub from: u16,
    /// Requests or replies.
    pub lane: Lane,
    /// The frames.
    pub batch: Batch,
}

/// The ports of `shards` shards, in order, whose lanes hold `batches_max` batches each.
///
/// The rings are virtual memory that is touched when a lane first fills up that far: 24 bytes for each batch and lane.
///
/// # Errors
/// As [`Door::new`].
pub fn mesh(shards: u16, batches_max: usize) -> io::Result<Vec<Port>> {
    let doors: Arc<[Door]> = (0..shards).map(|_| Door::new(shards)).collect::<io::Result<_>>()?;
    let mut ports: Vec<Port> = (0..shards).map(|shard| Port::unconnected(shard, shards, doors.clone())).collect();
    for from in 0..usize::from(shards) {
        for to in (0..usize::from(shards)).filter(|to| *to != from) {
            let (requests, requests_end) = RingBuffer::new(batches_max);
            let (replies, replies_end) = RingBuffer::new(batches_max);
            ports[from].outgoing[to] = Some([requests, replies]);
            ports[to].incoming[from] = Some([requests_end, replies_end]);
        }
    }
    Ok(ports)
}

impl Port {
    fn unconnected(shard: u16, shards: u16, doors: Arc<[Door]>) -> Self {
        Self {
            shard,
            outgoing: (0..shards).map(|_| None).collect(),
            incoming: (0..shards).map(|_| None).collect(),
            doors,
            unflushed: vec![0; usize::from(shards)],
            touched: Vec::with_capacity(usize::from(shards)),
        }
    }

    /// The shard that this port is of.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// This shard's own door.
    pub fn door(&self) -> &Door {
        &self.doors[usize::from(self.shard)]
    }

    /// All doors, in the order of the shards: for whoever sends control messages.
    pub fn doors(&self) -> &Arc<[Door]> {
        &self.doors
    }

    /// Puts a batch on a lane. The other shard hears of it at [`Port::flush`].
    ///
    /// # Panics
    /// If the lane is full or leads to this shard: the engine's credits and routes exclude both.
    pub fn push(&mut self, to: u16, lane: Lane, batch: Batch) {
        let lane = lane_index(lane);
        let lanes = self.outgoing[usize::from(to)].as_mut().expect("no lane leads from a shard to itself");
        let pushed = lanes[lane].push(batch);
        assert!(pushed.is_ok(), "shard {}: the lane to shard {to} is full, in spite of the credits", self.shard);
        let unflushed = &mut self.unflushed[usize::from(to)];
        if *unflushed == 0 {
            self.touched.push(to);
        }
        *unflushed |= 1 << lane;
    }

    /// Tells the other shards of everything pushed since the last flush, and wakes those that sleep.
    pub fn flush(&mut self) {
        for to in self.touched.drain(..) {
            let door = &self.doors[usize::from(to)];
            door.mark_lanes(self.shard, core::mem::take(&mut self.unflushed[usize::from(to)]));
            door.knock();
        }
    }

    /// Takes every batch that has come, lane by lane, in order within each. Returns whether the control lane is
    /// marked too. One call takes at most what the lanes hold.
    pub fn take(&mut self, mut each: impl FnMut(Incoming)) -> bool {
        let mut control = false;
        let Self { shard, incoming, doors, .. } = self;
        doors[usize::from(*shard)].take_marks(|mark| {
            let Some((from, lane)) = lane_of(mark) else {
                control = true;
                return;
            };
            let lanes = incoming[usize::from(from)].as_mut().expect("only lanes that exist are marked");
            // What comes after this count was taken is marked again.
            for _ in 0..lanes[lane].slots() {
                let batch = lanes[lane].pop().expect("counted, and nobody else pops");
                each(Incoming { from, lane: LANES[lane], batch });
            }
        });
        control
    }

    /// Checks what must hold between calls.
    ///
    /// # Panics
    /// If it does not.
    pub fn validate(&self) {
        for (to, unflushed) in self.unflushed.iter().enumerate() {
            let touched = self.touched.iter().filter(|touched| usize::from(**touched) == to).count();
            assert_eq!(
                touched,
                usize::from(*unflushed != 0),
                "shard {to} is listed once if and only if it is unflushed"
            );
        }
        assert!(self.outgoing[usize::from(self.shard)].is_none(), "a lane to oneself");
    }
}

fn lane_index(lane: Lane) -> usize {
    match lane {
        Lane::Requests => 0,
        Lane::Replies => 1,
    }
}
