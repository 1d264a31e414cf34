//! What can be wrong with a configuration, and what is merely odd.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::given::Source;
use super::value::{Cores, Size};

/// Why there is no [`super::Config`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value that cannot be used.
    #[error("{name} = \"{}\" (from {given_by}): {fault}", value.escape_debug())]
    Refused {
        /// The setting, by its key in the file.
        name: String,
        /// The value as it was written.
        value: String,
        /// Where it was written.
        given_by: Source,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A key that does not exist.
    #[error("{}:{line}: there is no setting \"{}\"{}", path.display(), key.escape_debug(), meant(nearest.as_deref()))]
    UnknownKey {
        /// The file it is in.
        path: PathBuf,
        /// The line it is on, from 1.
        line: usize,
        /// The key, with the tables it is in.
        key: String,
        /// The known key that is nearest to it.
        nearest: Option<String>,
    },
    /// A key that has the wrong type, or lacks something.
    #[error("{}:{line}: {key}: {fault}", path.display())]
    Shape {
        /// The file it is in.
        path: PathBuf,
        /// The line it is on, from 1.
        line: usize,
        /// The key, with the tables it is in.
        key: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A file that is not TOML.
    #[error("{}:{line}: {message}: correct the TOML there", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A file that cannot be read.
    #[error("{} (from {given_by}): {problem}: name a readable larder.toml, or leave it out", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Where the file was named.
        given_by: Source,
        /// Why it cannot be read.
        problem: String,
    },
}

/// What is wrong with a value, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    problem: Box<str>,
    remedy: Box<str>,
}

/// Something allowed, but worth a line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// Several shards have to share a core.
    ShardsAboveCores {
        /// The number of shards.
        shards: u16,
        /// The number of cores.
        cores: usize,
    },
    /// There are fewer shards than cores.
    CoresUnused {
        /// The cores without a shard.
        cores: Cores,
    },
    /// No group has this memory.
    MemoryUnused {
        /// How much it is, in bytes.
        bytes: u64,
    },
    /// Other machines can reach this address, and it asks for no credentials.
    Insecure {
        /// The address.
        listen: SocketAddr,
    },
    /// An environment variable that looks much like one of ours.
    EnvironmentUnknown {
        /// Its name.
        name: String,
        /// The name that may have been meant.
        nearest: String,
    },
}

impl Fault {
    pub(super) fn new(problem: impl Into<Box<str>>, remedy: impl Into<Box<str>>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.problem, self.remedy)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::ShardsAboveCores { shards, cores } => {
                write!(formatter, "{shards} shards share {cores} core(s): for speed, have one shard per core")
            }
            Warning::CoresUnused { cores } => {
                write!(formatter, "core(s) {cores} have no shard: name fewer cores, or have one shard per core")
            }
            Warning::MemoryUnused { bytes } => write!(
                formatter,
                "{} of the memory belong to no group: give the group \"default\" no memory of its own, and it has them",
                Size(*bytes)
            ),
            Warning::Insecure { listen } => write!(
                formatter,
                "whoever can reach {listen} can read and change every entry, for there are neither TLS nor credentials"
            ),
            Warning::EnvironmentUnknown { name, nearest } => {
                write!(formatter, "the environment variable {name} means nothing; did you mean {nearest}?")
            }
        }
    }
}

fn meant(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean \"{nearest}\"?"),
        None => ": see `larder serve --print-config` for all of them".to_owned(),
    }
}
