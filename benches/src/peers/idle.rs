//! Connections that ask for nothing: what they cost in memory, and what the server does meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use larder_protocol::Command;
use larder_ring::DEFAULT_GROUP;
use loadgen::protocol::{LoadProtocol, ProtocolName, connect_memcache, connect_native, connect_resp};
use serde::Serialize;

use super::server::Server;

/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after its start, and after the last request of a connection, the server is left alone before it is measured:
/// it has memory backed by pages ahead.
const SETTLE_TIME: Duration = Duration::from_millis(500);
const ANSWER_BYTES: usize = 4096;

/// One server with idle connections.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct IdleReport {
    /// Which one.
    pub server: &'static str,
    /// How many connections.
    pub connections: usize,
    /// Length of the measurement, in seconds.
    pub seconds: f64,
    /// CPU time of the server meanwhile, in percent of a core.
    pub cpu_percent: f64,
    /// Memory that is resident more than before the connections, for each of them, in bytes.
    pub resident_bytes_per_connection: f64,
}

/// Opens so many connections, asks one question on each, and looks for `time` at what the server does.
///
/// # Errors
/// A connection that the server does not take or answer.
pub fn measure(server: &Server, connections: usize, time: Duration) -> Result<IdleReport> {
    let (name, address) = (server.kind.name(), server.address);
    std::thread::sleep(SETTLE_TIME);
    let resident_bytes = server.resident_bytes()?;
    let sockets = match server.kind.protocol() {
        ProtocolName::Native => open(address, connections, &connect_native(address, DEFAULT_GROUP)?.0),
        ProtocolName::Resp => open(address, connections, &connect_resp(address, DEFAULT_GROUP)?.0),
        ProtocolName::Memcache => open(address, connections, &connect_memcache(address, DEFAULT_GROUP)?.0),
    };
    let sockets = sockets.with_context(|| format!("{connections} idle connections to {name}"))?;
    std::thread::sleep(SETTLE_TIME);
    let grown_bytes = server.resident_bytes()?.saturating_sub(resident_bytes);
    let (begun, cpu) = (Instant::now(), server.cpu()?);
    std::thread::sleep(time);
    let (cpu, seconds) = (server.cpu()? - cpu, begun.elapsed().as_secs_f64());
    drop(sockets);
    Ok(IdleReport {
        server: name,
        connections,
        seconds,
        cpu_percent: cpu.as_secs_f64() / seconds * 100.0,
        resident_bytes_per_connection: grown_bytes as f64 / connections as f64,
    })
}

fn open<P: LoadProtocol>(address: SocketAddr, connections: usize, protocol: &P) -> Result<Vec<TcpStream>> {
    let mut sockets = Vec::with_capacity(connections);
    for number in 0..connections {
        let socket = asked(address, &mut protocol.clone()).with_context(|| format!("connection {number}"))?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// A connection that was answered once, as those are that have become idle.
fn asked(address: SocketAddr, protocol: &mut impl LoadProtocol) -> Result<TcpStream> {
    let mut socket = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut bytes = Vec::new();
    protocol.encode(&mut bytes, 0, &Command::Get { key: b"idle" });
    socket.write_all(&bytes)?;
    let mut answer = [0; ANSWER_BYTES];
    let mut read = 0;
    while protocol.decode(&answer[..read]).map_err(anyhow::Error::msg)?.is_none() {
        let more = socket.read(&mut answer[read..])?;
        ensure!(more > 0, "it was closed");
        read += more;
    }
    Ok(socket)
}
