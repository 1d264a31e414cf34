//! What can go wrong with a run, and what the program exits with.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::verify::Mismatch;

/// Why a run was refused or broken off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// An option that cannot be, alone or beside another one or at this server.
    #[error("{name} {value}: {remedy}")]
    Option {
        /// The option.
        name: &'static str,
        /// Its value, as far as it helps.
        value: String,
        /// What is wrong and what to do.
        remedy: String,
    },
    /// The name of the server says nothing.
    #[error("--addr {addr}: {source}; give HOST:PORT of a server's native protocol")]
    Address {
        /// As it was given.
        addr: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// No connection at the start.
    #[error("cannot connect to {address}: {source}; is the server running there? (larder serve --listen {address})")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// Something answers that is no server of this protocol, or breaks its rules.
    #[error("{address} breaks the protocol: {reason}")]
    Protocol {
        /// Who.
        address: SocketAddr,
        /// How.
        reason: String,
    },
    /// The server does not want us.
    #[error("{address} refuses: {reason}")]
    Refused {
        /// Who.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// A connection broke and could not be opened again within the bound.
    #[error(
        "connection {connection} to {address} was lost ({reason}) after {attempts} attempts to open it again (--reconnects)"
    )]
    Lost {
        /// Number of the connection within its thread.
        connection: usize,
        /// Where to.
        address: SocketAddr,
        /// What happened last.
        reason: String,
        /// Attempts without success.
        attempts: u32,
    },
    /// A value is not what was stored.
    #[error(transparent)]
    Verify(#[from] Box<Mismatch>),
    /// A trace cannot be read.
    #[error("{}: {reason}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what is expected.
        reason: String,
    },
    /// Loading the keys before the run did not work.
    #[error("preload of key {key} failed: {reason}")]
    Preload {
        /// The key.
        key: String,
        /// What the server says.
        reason: String,
    },
    /// More open files than the process may have.
    #[error(
        "{connections} connections, those that load keys among them, need {needed} open files and the limit is {limit}; \
         raise it with `ulimit -Hn {needed}`, or use fewer connections"
    )]
    Files {
        /// Connections that are wanted.
        connections: usize,
        /// Files that they need.
        needed: u64,
        /// What the limit could be raised to.
        limit: u64,
    },
    /// The operating system refuses something.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// What it says.
        source: io::Error,
    },
    /// Another thread of the run has failed; its error is the one that counts.
    #[error("the run was broken off")]
    BrokenOff,
}

impl LoadError {
    /// An option with its value and what to do about it.
    pub fn option(name: &'static str, value: impl ToString, remedy: impl Into<String>) -> LoadError {
        LoadError::Option { name, value: value.to_string(), remedy: remedy.into() }
    }

    /// What the program exits with: 2 for a wrong option or input, 3 if there is no server, 4 for a wrong value, else
    /// 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            LoadError::Option { .. }
            | LoadError::Address { .. }
            | LoadError::Trace { .. }
            | LoadError::Files { .. } => 2,
            LoadError::Connect { .. } => 3,
            LoadError::Verify(_) => 4,
            _ => 1,
        }
    }
}
