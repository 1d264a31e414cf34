//! One connection: its socket, its buffers and its slots.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use larder_protocol::Command;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::{FleetSettings, Flight, Place, Workload};
use crate::clock::ns;
use crate::error::LoadError;
use crate::limits::{CONNECT_TIMEOUT, IDLE_BUFFER_BYTES_MAX, PIPELINE_MAX};
use crate::protocol::LoadProtocol;
use crate::workload::Operation;

/// Bits of a request's id that name the slot; above them is the slot's generation, so that an answer which comes twice
/// is noticed. Ids stay short on the wire, where they are varints.
const SLOT_BITS: u32 = PIPELINE_MAX.ilog2();
const GENERATIONS: u32 = 16;

const _: () = assert!(PIPELINE_MAX == 1 << SLOT_BITS, "every slot has a number in SLOT_BITS bits");

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It works.
    Open,
    /// The operating system is connecting.
    Opening,
    /// It pauses before it is opened again.
    Waiting,
}

/// What a read gave.
pub(super) enum Received {
    Bytes(usize),
    Nothing,
    /// The connection is gone, and why.
    End(String),
}

/// Why received bytes end the run.
pub(super) enum Fault {
    /// The workload says so.
    Load(LoadError),
    /// The server breaks the protocol.
    Protocol(String),
}

#[derive(Debug)]
pub(super) struct Link<P> {
    state: State,
    socket: Option<TcpStream>,
    /// Its number among the connections of the run.
    number: usize,
    /// As it was before the first request; a reopened connection starts with a copy.
    fresh: P,
    protocol: P,
    /// The beginning of an answer whose rest has not come.
    partial: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    /// Whether the server has closed its side. There may be answers to read before that end.
    closing: bool,
    /// Whether it is in the fleet's list of connections to write.
    listed: bool,
    slots: Vec<Slot>,
    free: Vec<u16>,
    attempts: u32,
    /// When the last answer came, or the first request behind it was sent.
    heard_ns: u64,
    deadline_ns: u64,
    /// Shift that separates slot and generation in ids.
    slot_bits: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    flight: Flight,
    generation: u32,
    busy: bool,
}

impl<P: LoadProtocol> Link<P> {
    /// Connects, and waits until it is done.
    pub(super) fn open(
        settings: &FleetSettings,
        number: usize,
        protocol: &P,
        now_ns: u64,
    ) -> Result<Link<P>, LoadError> {
        let FleetSettings { address, depth, .. } = *settings;
        assert!((1..=PIPELINE_MAX).contains(&depth), "{depth} slots");
        let connected = std::net::TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).and_then(|socket| {
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        let socket = connected.map_err(|source| LoadError::Connect { address, source })?;
        let call = super::Call { operation: Operation::Get, key: 0, version: 0, value_bytes: 0, fill: false };
        let slot = Slot { flight: Flight { call, intended_ns: 0, sent_ns: 0 }, generation: 0, busy: false };
        let (mut greeted, mut out) = (protocol.clone(), Vec::new());
        greeted.greet(&mut out, number);
        Ok(Link {
            state: State::Open,
            number,
            socket: Some(TcpStream::from_std(socket)),
            fresh: protocol.clone(),
            protocol: greeted,
            partial: Vec::new(),
            out,
            written: 0,
            closing: false,
            listed: false,
            slots: vec![slot; depth],
            free: (0..depth as u16).rev().collect(),
            attempts: 0,
            heard_ns: now_ns,
            deadline_ns: 0,
            slot_bits: depth.next_power_of_two().ilog2(),
        })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let socket = self.socket.as_mut().expect("a link that is registered has a socket");
        registry.register(socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn is_opening(&self) -> bool {
        self.state == State::Opening
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(super) fn free_slots(&self) -> usize {
        if self.state == State::Open { self.free.len() } else { 0 }
    }

    pub(super) fn take_slot(&mut self) -> usize {
        assert_eq!(self.state, State::Open, "a call needs an open connection");
        usize::from(self.free.pop().expect("a call needs a free slot"))
    }

    pub(super) fn take_slot_at(&mut self, slot: usize) {
        assert_eq!(self.state, State::Open, "a call needs an open connection");
        let place = self.free.iter().position(|&free| usize::from(free) == slot).expect("a call needs a free slot");
        self.free.swap_remove(place);
    }

    /// Encodes a call. True: the fleet shall write this connection, and did not know.
    pub(super) fn send(&mut self, slot: usize, flight: Flight, command: &Command<'_>, now_ns: u64) -> bool {
        if self.free.len() + 1 == self.slots.len() {
            self.heard_ns = now_ns;
        }
        self.encode(slot, flight, command);
        !std::mem::replace(&mut self.listed, true)
    }

    fn encode(&mut self, slot: usize, flight: Flight, command: &Command<'_>) {
        let entry = &mut self.slots[slot];
        entry.flight = flight;
        entry.busy = true;
        entry.generation = (entry.generation + 1) % GENERATIONS;
        // Never 0, which is the id of answers to what cannot be read.
        let id = 1 + (slot as u32 | entry.generation << self.slot_bits);
        self.protocol.encode(&mut self.out, id, command);
    }

    /// Notes that the server has closed its side, which is told only once.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(super) fn read(&mut self, inbox: &mut [u8]) -> Received {
        let (State::Open, Some(socket)) = (self.state, &mut self.socket) else { return Received::Nothing };
        loop {
            return match socket.read(inbox) {
                Ok(0) => Received::End("the server closed it".into()),
                Ok(read) => Received::Bytes(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Received::End(error.to_string()),
            };
        }
    }

    /// Hands the answers in `bytes` to the workload, and encodes what it wants next in their slots.
    pub(super) fn receive<W: Workload<P>>(
        &mut self,
        bytes: &[u8],
        connection: usize,
        now_ns: u64,
        load: &mut W,
    ) -> Result<(), Fault> {
        if self.partial.is_empty() {
            let consumed = self.answers(bytes, connection, now_ns, load)?;
            self.partial.extend_from_slice(&bytes[consumed..]);
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(bytes);
        let consumed = self.answers(&partial, connection, now_ns, load)?;
        partial.drain(..consumed);
        if partial.is_empty() && partial.capacity() > IDLE_BUFFER_BYTES_MAX {
            partial = Vec::new();
        }
        self.partial = partial;
        Ok(())
    }

    fn answers<W: Workload<P>>(
        &mut self,
        bytes: &[u8],
        connection: usize,
        now_ns: u64,
        load: &mut W,
    ) -> Result<usize, Fault> {
        let mut consumed = 0;
        loop {
            let decoded = self.protocol.decode(&bytes[consumed..]).map_err(Fault::Protocol)?;
            let Some((answer, len)) = decoded else { return Ok(consumed) };
            consumed += len;
            let number = answer.id.wrapping_sub(1);
            let slot = (number & ((1 << self.slot_bits) - 1)) as usize;
            let Some(entry) = self.slots.get_mut(slot) else { return Err(unasked(answer.id, answer.message)) };
            if !entry.busy || entry.generation != number >> self.slot_bits {
                return Err(unasked(answer.id, answer.message));
            }
            entry.busy = false;
            let flight = entry.flight;
            let place = Place { connection, slot };
            match load.answered(place, &flight, &answer, now_ns).map_err(Fault::Load)? {
                Some(call) => {
                    let flight = Flight { call, intended_ns: now_ns, sent_ns: now_ns };
                    self.encode(slot, flight, &load.command(place, &call));
                }
                None => self.free.push(slot as u16),
            }
            self.attempts = 0;
            self.heard_ns = now_ns;
        }
    }

    /// Writes what is there, as far as the operating system takes it.
    pub(super) fn write(&mut self) -> Result<usize, String> {
        self.listed = false;
        let before = self.written;
        let (State::Open, Some(socket)) = (self.state, &mut self.socket) else { return Ok(0) };
        while self.written < self.out.len() {
            match socket.write(&self.out[self.written..]) {
                Ok(0) => return Err("the server takes no more bytes".into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(self.written - before),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        let written = self.written - before;
        self.out.clear();
        self.written = 0;
        if self.out.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.out.shrink_to(IDLE_BUFFER_BYTES_MAX);
        }
        Ok(written)
    }

    /// Frees every slot; returns how many were busy.
    pub(super) fn forget(&mut self, mut lost: impl FnMut(usize, &Flight)) -> usize {
        let mut count = 0;
        for (number, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| slot.busy) {
            slot.busy = false;
            lost(number, &slot.flight);
            self.free.push(number as u16);
            count += 1;
        }
        count
    }

    /// Closes the connection and pauses.
    pub(super) fn wait_until(&mut self, deadline_ns: u64) {
        self.state = State::Waiting;
        self.deadline_ns = deadline_ns;
        self.attempts += 1;
        self.socket = None;
        self.closing = false;
        self.protocol = self.fresh.clone();
        self.partial = Vec::new();
        self.out.clear();
        self.protocol.greet(&mut self.out, self.number);
        self.written = 0;
    }

    /// Starts to connect again.
    pub(super) fn reopen(
        &mut self,
        address: SocketAddr,
        now_ns: u64,
        registry: &Registry,
        token: Token,
    ) -> Result<(), String> {
        self.socket = Some(TcpStream::connect(address).map_err(|error| error.to_string())?);
        self.state = State::Opening;
        self.deadline_ns = now_ns + ns(CONNECT_TIMEOUT);
        self.register(registry, token).map_err(|error| error.to_string())
    }

    /// Whether the connection came about; why not, if it failed.
    pub(super) fn finish_opening(&mut self) -> Result<bool, String> {
        let socket = self.socket.as_mut().expect("an opening link has a socket");
        if let Some(error) = socket.take_error().map_err(|error| error.to_string())? {
            return Err(error.to_string());
        }
        match socket.peer_addr() {
            Ok(_) => {
                socket.set_nodelay(true).map_err(|error| error.to_string())?;
                self.state = State::Open;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(super) fn is_silent(&self, now_ns: u64, timeout_ns: u64) -> bool {
        self.free.len() < self.slots.len() && now_ns.saturating_sub(self.heard_ns) > timeout_ns
    }

    pub(super) fn is_late(&self, now_ns: u64) -> bool {
        now_ns >= self.deadline_ns
    }
}

fn unasked(id: u32, message: &str) -> Fault {
    let says = if message.is_empty() { String::new() } else { format!(": {message}") };
    Fault::Protocol(format!("an answer has the id {id}, which no waiting request has{says}"))
}
