//! An io_uring behind an interface that needs no care: every byte that the kernel may read or write belongs to the
//! ring until the kernel is done with it, and descriptors that the kernel opens are owned at once.
//!
//! A receive puts what comes into one of a fixed number of provided buffers, which is [`Lent`] to the caller until it
//! is given back. A send takes its buffer over and hands it back when it is over. So no byte is copied on the way, and
//! nothing that is in flight can be moved or freed.
//!
//! An index tells the sockets of one ring apart. At most one receive and one send of an index are in flight, and its
//! descriptor stays open until both are over.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use glommio::io::BufferedFile;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use rustix::io::Errno;

use super::provided::{Buffers, GROUP, Lent};

/// Sends up to this length are expected to fit into the socket. One that does not may delay what comes next by the
/// time of one wait.
const PROMPT_BYTES_MAX: usize = 16 << 10;

const MSG_WAITALL: i32 = 0x100;
const MSG_NOSIGNAL: i32 = 0x4000;

const ACCEPT: u64 = 1;
const RECEIVE: u64 = 2;
const SEND: u64 = 3;
const WATCH: u64 = 4;
const CANCEL: u64 = 5;
/// Where the kind stands in a request's number; below is the index.
const KIND_SHIFT: u32 = 32;

/// How large a ring is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingSize {
    /// Requests that one system call passes on; a power of two.
    pub(crate) requests: u32,
    /// Completions that fit without help from the kernel; a power of two.
    pub(crate) completions: u32,
    /// Buffers that receives share; a power of two up to 32,768.
    pub(crate) buffers: u16,
    /// Length of each.
    pub(crate) buffer_bytes: u32,
}

/// An io_uring of one thread.
pub(super) struct Ring {
    // Closed first when the ring is dropped, and the memory is let go behind it.
    uring: IoUring,
    buffers: Buffers,
    /// By index.
    sending: Vec<Option<Sending>>,
    /// Requests that did not fit into the submission queue.
    waiting: VecDeque<squeue::Entry>,
    /// Requests whose last completion has not been taken.
    in_flight: usize,
    /// Sends since the last system call that most likely are complete at its end.
    prompt: usize,
    event: OwnedFd,
}

/// A send that the kernel is at.
struct Sending {
    descriptor: RawFd,
    buffer: Vec<u8>,
    sent: usize,
}

/// What has happened.
#[derive(Debug)]
pub(super) enum Completion {
    /// A connection came, or accepting failed.
    Accepted {
        /// The new socket.
        socket: Result<OwnedFd, Errno>,
        /// The accept goes on.
        more: bool,
    },
    /// Something came from a socket.
    Received {
        /// Which socket.
        index: u32,
        /// Its bytes; none at their end.
        bytes: Result<Option<Lent>, Errno>,
        /// The receive goes on.
        more: bool,
    },
    /// A send is over.
    Sent {
        /// Which socket.
        index: u32,
        /// What was to be sent.
        buffer: Vec<u8>,
        /// Whether all of it was.
        result: Result<(), Errno>,
    },
    /// The watched descriptor is readable.
    Seen {
        /// The watch goes on.
        more: bool,
    },
}

impl Ring {
    /// A ring for this thread, which alone may use it.
    ///
    /// # Errors
    /// The kernel refuses one: locked memory or descriptors are short.
    pub(super) fn new(size: RingSize) -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(size.completions)
            .build(size.requests)?;
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
        uring.submitter().register_eventfd(event.as_raw_fd())?;
        let buffers = Buffers::new(size.buffers, size.buffer_bytes);
        buffers.register(&uring)?;
        let mut ring =
            Self { uring, buffers, sending: Vec::new(), waiting: VecDeque::new(), in_flight: 0, prompt: 0, event };
        ring.ring_event(false);
        Ok(ring)
    }

    /// Accepts from a listener, which must block, until cancelled.
    pub(super) fn accept(&mut self, listener: BorrowedFd<'_>) {
        self.push(opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).flags(SOCK_CLOEXEC).build(), ACCEPT, 0);
    }

    /// Receives from a socket until its end, an error, or want of buffers.
    pub(super) fn receive(&mut self, index: u32, socket: BorrowedFd<'_>) {
        self.push(opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build(), RECEIVE, index);
    }

    /// Sends all of a buffer but its first `sent` bytes.
    ///
    /// # Panics
    /// If a send of this index is in flight, or there is nothing to send.
    pub(super) fn send(&mut self, index: u32, socket: BorrowedFd<'_>, buffer: Vec<u8>, sent: usize) {
        assert!(sent < buffer.len(), "there is nothing to send");
        let slot = index as usize;
        if self.sending.len() <= slot {
            self.sending.resize_with(slot + 1, || None);
        }
        assert!(self.sending[slot].is_none(), "socket {index} sends already");
        let sending = Sending { descriptor: socket.as_raw_fd(), buffer, sent };
        self.prompt += usize::from(sending.buffer.len() <= PROMPT_BYTES_MAX);
        let request = sending.request();
        self.sending[slot] = Some(sending);
        self.push(request, SEND, index);
    }

    /// Tells whenever a descriptor becomes readable, until it cannot.
    pub(super) fn watch(&mut self, descriptor: BorrowedFd<'_>) {
        const POLLIN: u32 = 1;
        self.push(opcode::PollAdd::new(Fd(descriptor.as_raw_fd()), POLLIN).multi(true).build(), WATCH, 0);
    }

    /// Ends a receive.
    pub(super) fn cancel_receive(&mut self, index: u32) {
        self.cancel(RECEIVE, index);
    }

    /// Ends accepting.
    pub(super) fn cancel_accept(&mut self) {
        self.cancel(ACCEPT, 0);
    }

    /// Ends watching.
    pub(super) fn cancel_watch(&mut self) {
        self.cancel(WATCH, 0);
    }

    /// Whether requests wait for [`Ring::enter`].
    pub(super) fn has_requests(&mut self) -> bool {
        !self.waiting.is_empty() || !self.uring.submission().is_empty()
    }

    /// Whether [`Ring::next`] has something.
    pub(super) fn has_completions(&mut self) -> bool {
        !self.uring.completion().is_empty()
    }

    /// Requests whose last completion has not been taken.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Passes on all requests, and has the kernel do what is to be done for those in flight. With a time: waits so long
    /// for a completion if there is none, but for those of short sends that have just been asked for: they come at
    /// once, and would end every wait that begins with a send.
    ///
    /// # Panics
    /// If the kernel refuses, which it does for no reason that could pass.
    pub(super) fn enter(&mut self, wait: Option<Duration>) {
        while let Some(request) = self.waiting.pop_front() {
            if !self.try_push(&request) {
                self.waiting.push_front(request);
                break;
            }
        }
        let prompt = std::mem::take(&mut self.prompt);
        let entered = match wait {
            None => self.poke(),
            Some(wait) => {
                let time = Timespec::new().sec(wait.as_secs()).nsec(wait.subsec_nanos());
                self.uring.submitter().submit_with_args(1 + prompt, &SubmitArgs::new().timespec(&time))
            }
        };
        match entered.map_err(|error| error.raw_os_error().map(Errno::from_raw_os_error)) {
            Ok(_) => {}
            // Interrupted, the time is up, or completions have to be taken first. What was not passed on waits.
            Err(Some(Errno::INTR | Errno::TIME | Errno::BUSY | Errno::AGAIN | Errno::OVERFLOW | Errno::NOMEM)) => {}
            Err(error) => panic!("the kernel refuses to enter an io_uring: {error:?}"),
        }
    }

    /// The next completion.
    pub(super) fn next(&mut self) -> Option<Completion> {
        loop {
            let entry = self.uring.completion().next()?;
            let more = cqueue::more(entry.flags());
            if !more {
                self.in_flight -= 1;
            }
            let index = entry.user_data() as u32;
            let result = match entry.result() {
                result @ 0.. => Ok(result as u32),
                error => Err(Errno::from_raw_os_error(-error)),
            };
            match entry.user_data() >> KIND_SHIFT {
                ACCEPT => {
                    // SAFETY: the kernel opened this descriptor for this request and named it nowhere else, so the
                    // result alone owns it.
                    let socket = result.map(|number| unsafe { OwnedFd::from_raw_fd(number as RawFd) });
                    return Some(Completion::Accepted { socket, more });
                }
                RECEIVE => {
                    let lent = cqueue::buffer_select(entry.flags())
                        .map(|number| self.buffers.lend(number, result.unwrap_or(0)));
                    let bytes = match (result, lent) {
                        (Ok(1..), lent) => Ok(Some(lent.expect("received bytes lie in a provided buffer"))),
                        (result, lent) => {
                            lent.into_iter().for_each(|lent| self.buffers.give_back(lent));
                            result.map(|_| None)
                        }
                    };
                    return Some(Completion::Received { index, bytes, more });
                }
                SEND => match self.sent(index, result) {
                    Some(completion) => return Some(completion),
                    None => continue,
                },
                WATCH => return Some(Completion::Seen { more }),
                kind => assert_eq!(kind, CANCEL, "no such request was made"),
            }
        }
    }

    /// What was received.
    pub(super) fn bytes(&self, lent: &Lent) -> &[u8] {
        self.buffers.bytes(lent)
    }

    /// Lets the kernel receive into these bytes again.
    pub(super) fn give_back(&mut self, lent: Lent) {
        self.buffers.give_back(lent);
    }

    /// Whether a completion rings [`Ring::event`].
    pub(super) fn ring_event(&mut self, is_wanted: bool) {
        let completions = self.uring.completion();
        if is_wanted {
            completions.enable_eventfd();
        } else {
            completions.disable_eventfd();
        }
    }

    /// Readable (8 bytes) after a completion, if [`Ring::ring_event`] says so.
    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Checks every invariant.
    pub(super) fn validate(&self) {
        self.buffers.validate();
        let sending = self.sending.iter().flatten().inspect(|sending| assert!(sending.sent < sending.buffer.len()));
        assert!(sending.count() <= self.in_flight, "every send is in flight");
    }

    fn sent(&mut self, index: u32, result: Result<u32, Errno>) -> Option<Completion> {
        let mut sending = self.sending[index as usize].take().expect("this send is in flight");
        let result = match result {
            // The socket is at its end in a way that has no error number.
            Ok(0) => Err(Errno::PIPE),
            Ok(bytes) => {
                sending.sent += bytes as usize;
                Ok(())
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(()),
            Err(error) => Err(error),
        };
        if result.is_ok() && sending.sent < sending.buffer.len() {
            let request = sending.request();
            self.sending[index as usize] = Some(sending);
            self.push(request, SEND, index);
            return None;
        }
        Some(Completion::Sent { index, buffer: sending.buffer, result })
    }

    fn cancel(&mut self, kind: u64, index: u32) {
        self.push(opcode::AsyncCancel::new(kind << KIND_SHIFT | u64::from(index)).build(), CANCEL, index);
    }

    fn push(&mut self, request: squeue::Entry, kind: u64, index: u32) {
        let request = request.user_data(kind << KIND_SHIFT | u64::from(index));
        self.in_flight += 1;
        if !self.waiting.is_empty() || !self.try_push(&request) {
            self.waiting.push_back(request);
            self.enter(None);
        }
    }

    fn try_push(&mut self, request: &squeue::Entry) -> bool {
        // SAFETY: requests are made in this module only. The memory that one names is a buffer in `sending`, which is
        // neither touched nor let go before the completion of the send has been taken (and leaked by `drop` if that
        // has not happened), or the provided buffers, which live as long as the kernel has the ring. Moving the `Vec`
        // that holds a buffer does not move its bytes.
        unsafe { self.uring.submission().push(request) }.is_ok()
    }

    fn poke(&mut self) -> io::Result<usize> {
        let requests = self.uring.submission().len();
        // SAFETY: no argument is passed, and the number of requests is that of those in the submission queue, each of
        // which `try_push` vouches for.
        unsafe { self.uring.submitter().enter::<u64>(requests as u32, 0, EnterFlags::GETEVENTS.bits(), None) }
    }
}

const SOCK_CLOEXEC: i32 = 0o2_000_000;

impl Sending {
    fn request(&self) -> squeue::Entry {
        let rest = &self.buffer[self.sent..];
        let bytes = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        opcode::Send::new(Fd(self.descriptor), rest.as_ptr(), bytes).flags(MSG_WAITALL | MSG_NOSIGNAL).build()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel ends what is in flight some time after the ring is closed, and may use the memory until then.
        if self.in_flight > 0 {
            std::mem::forget(std::mem::take(&mut self.sending));
            self.buffers.leak();
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ring").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

/// A descriptor as a file of this thread's executor, which has no safe way to take one.
pub(super) fn file(descriptor: OwnedFd) -> BufferedFile {
    let descriptor = descriptor.into_raw_fd();
    // SAFETY: `into_raw_fd` gave up the ownership of an open descriptor, which is passed on here and nowhere else, so
    // the result alone owns and closes it.
    unsafe { BufferedFile::from_raw_fd(descriptor) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    const SMALL: RingSize = RingSize { requests: 4, completions: 8, buffers: 8, buffer_bytes: 64 };
    const PAIRS: usize = 20;

    /// Takes every completion that there is.
    fn take(ring: &mut Ring, mut each: impl FnMut(&mut Ring, Completion)) {
        ring.enter(None);
        while let Some(completion) = ring.next() {
            each(ring, completion);
        }
    }

    /// Bytes go both ways over many sockets, through queues and buffers that are too few, while some buffers are held
    /// on to: nothing is lost, changed or out of order.
    #[test]
    fn random_traffic_arrives_whole_through_too_few_buffers() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut ring = Ring::new(SMALL).expect("a ring");
        let pairs: Vec<_> = (0..PAIRS).map(|_| UnixStream::pair().expect("a pair of sockets")).collect();
        pairs.iter().for_each(|(_, far)| far.set_nonblocking(true).expect("a socket option"));
        let (mut receiving, mut sending) = (vec![false; PAIRS], vec![false; PAIRS]);
        // Counted up from 0 on each socket, modulo a prime.
        let (mut written, mut received) = (vec![0_u64; PAIRS], vec![0_u64; PAIRS]);
        let (mut sent, mut read) = (vec![0_u64; PAIRS], vec![0_u64; PAIRS]);
        let byte = |position: u64| (position % 251) as u8;
        let mut held: Vec<(u32, Lent, u64)> = Vec::new();
        let mut starved = 0;
        for round in 0..3_000 {
            let is_last = round >= 2_900;
            let pair = random.usize(..PAIRS);
            let (near, far) = &pairs[pair];
            let bytes = random.u64(1..400);
            if !is_last && random.bool() {
                let bytes: Vec<u8> = (written[pair]..written[pair] + bytes).map(byte).collect();
                written[pair] += (&mut &*far).write(&bytes).unwrap_or(0) as u64;
            }
            if !is_last && !std::mem::replace(&mut sending[pair], true) {
                ring.send(pair as u32, near.as_fd(), (sent[pair]..sent[pair] + bytes).map(byte).collect(), 0);
                sent[pair] += bytes;
            }
            let mut buffer = [0; 300];
            for pair in 0..PAIRS {
                if !std::mem::replace(&mut receiving[pair], true) {
                    ring.receive(pair as u32, pairs[pair].0.as_fd());
                }
                while let Ok(bytes @ 1..) = (&mut &pairs[pair].1).read(&mut buffer) {
                    let expected = (read[pair]..).map(byte);
                    assert!(expected.zip(&buffer[..bytes]).all(|(expected, got)| expected == *got), "seed {seed}");
                    read[pair] += bytes as u64;
                }
            }
            take(&mut ring, |ring, completion| match completion {
                Completion::Received { index, bytes: Ok(Some(lent)), more } => {
                    receiving[index as usize] = more;
                    let position = received[index as usize];
                    received[index as usize] += ring.bytes(&lent).len() as u64;
                    held.push((index, lent, position));
                }
                Completion::Received { index, bytes: Err(Errno::NOBUFS), more: false } => {
                    starved += 1;
                    receiving[index as usize] = false;
                }
                Completion::Sent { index, result: Ok(()), .. } => sending[index as usize] = false,
                other => panic!("seed {seed}: {other:?}"),
            });
            while !held.is_empty() && (is_last || random.u8(..4) > 0) {
                let (_, lent, position) = held.swap_remove(random.usize(..held.len()));
                let expected = (position..).map(byte);
                assert!(expected.zip(ring.bytes(&lent)).all(|(expected, got)| expected == *got), "seed {seed}");
                ring.give_back(lent);
            }
            ring.validate();
        }
        assert_eq!((received, read), (written, sent), "seed {seed}");
        assert!(starved > 0, "seed {seed}: buffers ran short");
    }

    #[test]
    fn more_completions_than_fit_are_kept() {
        let mut ring = Ring::new(SMALL).expect("a ring");
        let pairs: Vec<_> = (0..100).map(|_| UnixStream::pair().expect("a pair of sockets")).collect();
        for (index, (near, _)) in pairs.iter().enumerate() {
            ring.send(index as u32, near.as_fd(), vec![1; 10], 0);
        }
        let mut sent = 0;
        for _ in 0..100 {
            take(&mut ring, |_, completion| {
                assert!(matches!(completion, Completion::Sent { result: Ok(()), .. }), "{completion:?}");
                sent += 1;
            });
        }
        assert_eq!((sent, ring.in_flight()), (100, 0));
    }

    #[test]
    fn a_wait_that_begins_with_a_send_is_not_ended_by_it() {
        let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
        let mut ring = Ring::new(SMALL).expect("a ring");
        ring.receive(0, near.as_fd());
        ring.send(0, near.as_fd(), vec![7; 10], 0);
        let begun = std::time::Instant::now();
        ring.enter(Some(Duration::from_millis(50)));
        assert!(begun.elapsed() >= Duration::from_millis(50), "it has waited for what comes behind the send");
        assert!(matches!(ring.next(), Some(Completion::Sent { result: Ok(()), .. })));
        far.read_exact(&mut [0; 10]).expect("what was sent");
        far.write_all(b"x").expect("room for a byte");
        ring.send(0, near.as_fd(), vec![7; 10], 0);
        ring.enter(Some(Duration::from_secs(600)));
        let mut seen = 0;
        while ring.next().is_some() {
            seen += 1;
        }
        assert_eq!(seen, 2, "the send and what had come");
    }

    #[test]
    fn what_is_in_flight_survives_the_ring_and_ends_when_cancelled() {
        let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
        let mut ring = Ring::new(SMALL).expect("a ring");
        ring.send(0, near.as_fd(), vec![7; 4 << 20], 0);
        ring.receive(0, near.as_fd());
        take(&mut ring, |_, completion| panic!("{completion:?}"));
        ring.cancel_receive(0);
        let mut ended = false;
        take(&mut ring, |_, completion| {
            let Completion::Received { bytes: Err(Errno::CANCELED), more: false, .. } = completion else {
                panic!("{completion:?}")
            };
            ended = true;
        });
        assert!(ended && ring.in_flight() == 1, "the send goes on, for nobody reads");
        drop((ring, near));
        let mut all = Vec::new();
        far.read_to_end(&mut all).expect("what was sent");
        assert!(all.iter().all(|byte| *byte == 7), "the buffer was not used for anything else");
    }
}
