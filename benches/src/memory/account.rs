//! What Larder itself says its memory is used for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use larder_protocol::limits::FRAME_BYTES_MAX;
use larder_protocol::native::generated::StatsResult;
use larder_protocol::native::{self, Body};
use larder_protocol::{Command, Request};
use serde::Serialize;

/// Longest wait for the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The memory of all shards, in bytes where nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// All of it.
    pub memory_bytes: u64,
    /// Number of entries.
    pub entries: u64,
    /// What entries are charged with: their keys, values and headers, and their places in the index.
    pub entry_bytes: u64,
    /// What the memory of evicted keys is charged with.
    pub ghost_bytes: u64,
    /// Bytes of entries in segments: as `entry_bytes`, without the places in the index.
    pub live_bytes: u64,
    /// Bytes of former entries in segments that are not free.
    pub dead_bytes: u64,
    /// Segments of the log, free ones, and those of the index and of ghosts.
    pub log_segment_bytes: u64,
    /// See `log_segment_bytes`.
    pub free_segment_bytes: u64,
    /// See `log_segment_bytes`.
    pub index_segment_bytes: u64,
    /// See `log_segment_bytes`.
    pub ghost_segment_bytes: u64,
    /// Appended since the start. A value that is written over one of its own size takes its place, and appends nothing.
    pub written_bytes: u64,
    /// Moved by cleaning since the start.
    pub moved_bytes: u64,
    /// The most that one write moved.
    pub moved_bytes_max: u64,
    /// Number of entries that were evicted.
    pub evictions: u64,
    /// Number of writes.
    pub sets: u64,
}

impl Account {
    /// Asks a server.
    ///
    /// # Errors
    /// It does not answer, or not with the statistics of its memory.
    pub fn ask(address: SocketAddr) -> Result<Account> {
        let stats = stats(address).with_context(|| format!("statistics of {address}"))?;
        let mut account = Account::default();
        for group in &stats.groups {
            account.entries += group.entries;
            account.entry_bytes += group.bytes;
            account.ghost_bytes += group.ghost_bytes;
            account.evictions += group.evictions;
            account.sets += group.sets;
        }
        for shard in &stats.shards {
            let memory = shard.memory.as_ref().context("this server does not tell what its memory is used for")?;
            account.memory_bytes += memory.memory_bytes;
            account.live_bytes += memory.live_bytes;
            account.dead_bytes += memory.dead_bytes;
            account.log_segment_bytes += memory.segments_log * memory.segment_bytes;
            account.free_segment_bytes += memory.segments_free * memory.segment_bytes;
            account.index_segment_bytes += memory.segments_index * memory.segment_bytes;
            account.ghost_segment_bytes += memory.segments_ghost * memory.segment_bytes;
            account.written_bytes += memory.written_bytes;
            account.moved_bytes += memory.moved_bytes;
            account.moved_bytes_max = account.moved_bytes_max.max(memory.moved_bytes_max);
        }
        Ok(account)
    }

    /// The share of the memory that is entries with all that belongs to them.
    pub fn entry_share(&self) -> f64 {
        self.entry_bytes as f64 / self.memory_bytes as f64
    }

    /// The share of the memory that is in use for ghosts, which the policy chooses to have instead of entries.
    pub fn ghost_share(&self) -> f64 {
        self.ghost_segment_bytes as f64 / self.memory_bytes as f64
    }

    /// Bytes appended and moved for each byte appended since `before`.
    pub fn write_amplification(&self, before: &Account) -> f64 {
        let (written, moved) = (self.written_bytes - before.written_bytes, self.moved_bytes - before.moved_bytes);
        (written + moved) as f64 / written as f64
    }
}

fn stats(address: SocketAddr) -> Result<StatsResult> {
    let mut socket = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut bytes = Vec::new();
    let request = Request { id: 1, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command: Command::Stats };
    native::encode_request(&mut bytes, &request);
    socket.write_all(&bytes)?;
    bytes.clear();
    let mut piece = [0; 4096];
    loop {
        if let Some(frame) = native::frame(&bytes, FRAME_BYTES_MAX)? {
            let response = native::decode_response(frame.message)?;
            match response.body {
                Body::Stats(stats) => return Ok(*stats),
                _ => bail!("answered with {:?} {}", response.status, response.message),
            }
        }
        let read = socket.read(&mut piece)?;
        ensure!(read > 0, "the connection was closed");
        bytes.extend_from_slice(&piece[..read]);
    }
}
