//! Messages with numbers, over real threads that really sleep, or are busy, or are not of the mesh: none is lost, none
//! overtakes another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use larder_engine::Lane;

use super::{Door, Port, mesh};

/// Messages of a test; whole with `LARDER_TEST_FULL=1`, a twentieth otherwise.
const MESSAGES: u64 = 10_000_000;
/// Batches that a lane of this test holds.
const BATCHES_MAX: usize = 8;
/// Longest batch, in messages.
const BATCH_MESSAGES_MAX: usize = 64;
/// How long no message may come before the test calls it lost.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// One thread: sends a sequence to each peer and sees that the peers' sequences come whole. What it has received it
/// confirms on the lane of replies, which is its only knowledge of how much the lanes hold: credits, in short.
struct Peer {
    port: Port,
    peers: Vec<u16>,
    random: fastrand::Rng,
    messages: u64,
    /// Per shard: the next number to send, batches sent and confirmed, the next number to come, batches to confirm.
    states: Vec<State>,
    /// What threads outside of the mesh send.
    foreign: Option<Foreign>,
}

/// The end of a control lane, on which two foreign threads send a sequence each.
struct Foreign {
    queue: Arc<ArrayQueue<(usize, u64)>>,
    next_in: [u64; 2],
    messages: u64,
}

impl Foreign {
    fn receive(&mut self) -> bool {
        let mut received = false;
        while let Some((from, number)) = self.queue.pop() {
            assert_eq!(number, self.next_in[from], "from foreign thread {from}");
            self.next_in[from] += 1;
            received = true;
        }
        received
    }

    fn is_over(&self) -> bool {
        self.next_in.iter().all(|next| *next == self.messages)
    }
}

#[derive(Clone, Copy, Default)]
struct State {
    next_out: u64,
    unconfirmed: usize,
    next_in: u64,
    owed: u64,
}

impl Peer {
    fn is_over(&self) -> bool {
        self.peers.iter().map(|peer| &self.states[usize::from(*peer)]).all(|state| {
            state.next_out == self.messages
                && state.next_in == self.messages
                && state.unconfirmed == 0
                && state.owed == 0
        }) && self.foreign.as_ref().is_none_or(Foreign::is_over)
    }

    /// Whether something will come: from a peer that owes a confirmation, or that has not sent everything.
    fn may_sleep(&self) -> bool {
        let states = self.peers.iter().map(|peer| &self.states[usize::from(*peer)]);
        states.clone().all(|state| state.unconfirmed > 0 || state.next_out == self.messages)
    }

    /// Sends a random part of what may go.
    fn send(&mut self) -> bool {
        let mut sent = false;
        for peer in self.peers.clone() {
            let state = &mut self.states[usize::from(peer)];
            // One batch of replies is enough for all that is owed, and the other side never owes more.
            if state.owed > 0 {
                self.port.push(peer, Lane::Replies, core::mem::take(&mut state.owed).to_le_bytes().to_vec());
                sent = true;
            }
            let batches = self.random.usize(0..=BATCHES_MAX - state.unconfirmed);
            for _ in 0..batches {
                let left = usize::try_from(self.messages - state.next_out).expect("64 bits");
                let count = self.random.usize(1..=BATCH_MESSAGES_MAX).min(left);
                if count == 0 {
                    break;
                }
                let numbers = state.next_out..state.next_out + count as u64;
                self.port.push(peer, Lane::Requests, numbers.flat_map(u64::to_le_bytes).collect());
                state.next_out += count as u64;
                state.unconfirmed += 1;
                sent = true;
            }
        }
        self.port.flush();
        sent
    }

    fn receive(&mut self) -> bool {
        let mut received = false;
        let Self { port, states, foreign, .. } = self;
        let control = port.take(|incoming| {
            received = true;
            let state = &mut states[usize::from(incoming.from)];
            let numbers =
                incoming.batch.chunks_exact(8).map(|number| u64::from_le_bytes(number.try_into().expect("8")));
            match incoming.lane {
                Lane::Requests => {
                    for number in numbers {
                        assert_eq!(number, state.next_in, "from shard {}", incoming.from);
                        state.next_in += 1;
                    }
                    state.owed += 1;
                }
                Lane::Replies => numbers.for_each(|batches| state.unconfirmed -= batches as usize),
            }
        });
        match foreign {
            Some(foreign) => received | (control && foreign.receive()),
            None if control => panic!("nobody rings the control lane here"),
            None => received,
        }
    }

    fn run(mut self, seed: u64) {
        let mut heard = Instant::now();
        let mut is_busy = false;
        while !self.is_over() {
            let worked = self.send() | self.receive();
            self.port.validate();
            if worked {
                heard = Instant::now();
            } else if !is_busy && self.may_sleep() && self.port.door().may_sleep() {
                let woken = wait(self.port.door(), SILENCE_MAX);
                self.port.door().awake();
                assert!(woken || self.port.door().is_marked(), "seed {seed}: a sleeper was never woken");
            }
            assert!(heard.elapsed() < 2 * SILENCE_MAX, "seed {seed}: nothing comes any more");
            if self.random.u32(0..256) == 0 {
                // Also to be found busy, looking again and again, or away.
                is_busy = self.random.bool();
                std::thread::sleep(Duration::from_micros(self.random.u64(0..200)));
            }
        }
    }
}

/// Waits for a door's event; false if it does not come in time.
fn wait(door: &Door, longest: Duration) -> bool {
    let event = door.event();
    let mut polled = [rustix::event::PollFd::new(&event, rustix::event::PollFlags::IN)];
    let longest = rustix::event::Timespec { tv_sec: longest.as_secs() as i64, tv_nsec: 0 };
    if rustix::event::poll(&mut polled, Some(&longest)).expect("poll") == 0 {
        return false;
    }
    let mut counter = [0; 8];
    rustix::io::read(event, &mut counter).expect("a readable event");
    true
}

/// A mesh whose shards send `messages` to each of the others. `foreign`: also two other threads send so many to shard 0.
fn stress(shards: u16, messages: u64, foreign: Option<u64>, seed: u64) {
    let ports = mesh(shards, BATCHES_MAX).expect("descriptors for the doors");
    let doors = ports[0].doors().clone();
    let queue = Arc::new(ArrayQueue::new(BATCHES_MAX * BATCH_MESSAGES_MAX));
    let mut threads: Vec<_> = ports
        .into_iter()
        .map(|port| {
            let peers = (0..shards).filter(|peer| *peer != port.shard()).collect();
            let random = fastrand::Rng::with_seed(seed ^ u64::from(port.shard()));
            let states = vec![State::default(); usize::from(shards)];
            let foreign = foreign.filter(|_| port.shard() == 0);
            let foreign = foreign.map(|messages| Foreign { queue: queue.clone(), next_in: [0; 2], messages });
            let peer = Peer { port, peers, random, messages, states, foreign };
            std::thread::spawn(move || peer.run(seed))
        })
        .collect();
    if let Some(messages) = foreign {
        let [plain, tokio] = [0, 1].map(|from| Sender {
            from,
            next: 0,
            messages,
            queue: queue.clone(),
            doors: doors.clone(),
            random: fastrand::Rng::with_seed(seed ^ (1000 + from as u64)),
            // With nobody else to wake the shard, often enough that it is mostly asleep.
            paused_in: if shards == 1 { 4 } else { 4096 },
        });
        threads.push(std::thread::spawn(move || plain.run()));
        threads.push(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
            runtime.block_on(tokio.run_async());
        }));
    }
    for thread in threads {
        thread.join().unwrap_or_else(|_| panic!("seed {seed}: a shard has failed, see above"));
    }
}

/// A thread outside of the mesh.
struct Sender {
    from: usize,
    next: u64,
    messages: u64,
    queue: Arc<ArrayQueue<(usize, u64)>>,
    doors: Arc<[Door]>,
    random: fastrand::Rng,
    /// It pauses after one in so many.
    paused_in: u32,
}

/// What a sender does next.
enum Next {
    Send,
    /// The lane is full.
    MakeWay,
    Pause,
    End,
}

impl Sender {
    /// Sends a message if there is room, and rings whether there is or not: as whoever gives orders does.
    fn step(&mut self) -> Next {
        if self.next == self.messages {
            return Next::End;
        }
        let is_sent = self.queue.push((self.from, self.next)).is_ok();
        self.doors[0].ring_control();
        if !is_sent {
            return Next::MakeWay;
        }
        self.next += 1;
        if self.random.u32(0..self.paused_in) == 0 { Next::Pause } else { Next::Send }
    }

    fn run(mut self) {
        loop {
            match self.step() {
                Next::Send => {}
                Next::MakeWay => std::thread::yield_now(),
                Next::Pause => std::thread::sleep(Duration::from_micros(self.random.u64(0..500))),
                Next::End => return,
            }
        }
    }

    async fn run_async(mut self) {
        loop {
            match self.step() {
                Next::Send => {}
                Next::MakeWay => {
                    // A task of this runtime gives way to none: the thread has to.
                    std::thread::yield_now();
                    tokio::task::yield_now().await;
                }
                Next::Pause => tokio::time::sleep(Duration::from_micros(self.random.u64(0..500))).await,
                Next::End => return,
            }
        }
    }
}

fn messages() -> u64 {
    let is_full = std::env::var_os("LARDER_TEST_FULL").is_some();
    if is_full { MESSAGES } else { MESSAGES / 20 }
}

#[test]
fn two_shards_lose_nothing() {
    stress(2, messages() / 2, None, 0x1a2d);
}

#[test]
fn five_shards_lose_nothing() {
    stress(5, messages() / 20, None, 0x51f3);
}

#[test]
fn foreign_threads_lose_nothing() {
    stress(2, messages() / 4, Some(messages() / 4), 0x77c1);
}

#[test]
fn foreign_threads_alone_wake_a_shard_every_time() {
    stress(1, 0, Some(messages() / 400), 0x2b0e);
}

#[test]
fn a_lane_to_nowhere_or_above_its_bound_is_a_bug() {
    let mut ports = mesh(2, 1).expect("descriptors for the doors");
    ports[0].push(1, Lane::Requests, Vec::new());
    ports[0].validate();
    let full = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ports[0].push(1, Lane::Requests, Vec::new())));
    assert!(full.is_err(), "a second batch has no place");
    let own = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ports[1].push(1, Lane::Replies, Vec::new())));
    assert!(own.is_err(), "no lane leads from a shard to itself");
}
