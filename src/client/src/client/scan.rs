//! All keys of a group, page by page.

use std::collections::VecDeque;

use bytes::Bytes;
use larder_protocol::limits::PATTERN_BYTES_MAX;
use larder_protocol::{Command, ScanStep, Status};

use crate::call::{Target, unexpected};
use crate::client::Client;
use crate::error::Error;
use crate::network::Payload;

/// Which keys a scan shows, and how fast it goes. The default: all keys, in steps of the server's choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanOptions {
    pattern: Vec<u8>,
    count: u32,
}

impl ScanOptions {
    /// All keys, in steps of the server's choice.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only keys that match this glob pattern, of at most 255 bytes: `*` stands for any bytes, `?` for one, `[abc]`,
    /// `[a-z]` and `[^a]` for one of these or none of these, and a backslash takes the meaning from the byte behind it.
    #[must_use]
    pub fn pattern(self, pattern: impl AsRef<[u8]>) -> Self {
        Self { pattern: pattern.as_ref().to_vec(), ..self }
    }

    /// About how many keys a step looks at, whether they match or not. The server bounds it; 0: it decides.
    #[must_use]
    pub fn count(self, count: u32) -> Self {
        Self { count, ..self }
    }
}

/// A scan that goes on with every [`Scan::next_page`]. Nothing at a server stands for it, so it may be dropped, or lie
/// for as long as the servers run.
#[derive(Clone, Debug)]
pub struct Scan {
    client: Client,
    options: ScanOptions,
    /// The nodes that are not through, by their ids; the first is where the scan is.
    nodes: VecDeque<String>,
    /// Where it goes on there; empty: at the beginning.
    cursor: Vec<u8>,
}

impl Client {
    /// Begins a scan of the group: of the nodes of the ring as it is now, one after the other.
    ///
    /// Every key that is there from the first page to the last is in at least one of them, whatever else is written
    /// meanwhile; others may be or not, and some keys may come more than once. It is no access to the entries.
    ///
    /// ```
    /// # mod fake { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake/mod.rs")); }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder_client::Error> {
    /// # let server = fake::Server::start().await;
    /// # let address = server.address();
    /// # use larder_client::{Client, ScanOptions};
    /// # let client = Client::connect(address).await?;
    /// client.set("user:17", "Ada").await?;
    /// let mut scan = client.scan(ScanOptions::new().pattern("user:*"))?;
    /// while let Some(keys) = scan.next_page().await? {
    ///     keys.iter().for_each(|key| println!("{}", key.escape_ascii()));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Setting`] if the pattern is too long.
    pub fn scan(&self, options: ScanOptions) -> Result<Scan, Error> {
        if options.pattern.len() > PATTERN_BYTES_MAX {
            let value = options.pattern.escape_ascii().to_string();
            let remedy = format!("a pattern has at most {PATTERN_BYTES_MAX} bytes, this one {}", options.pattern.len());
            return Err(Error::Setting { setting: "pattern", value, remedy });
        }
        let nodes = self.topology().nodes().iter().map(|node| node.id.clone()).collect();
        Ok(Scan { client: self.clone(), options, nodes, cursor: Vec::new() })
    }
}

impl Scan {
    /// The keys of the next step, `None` after the last. A step may have none, for it looks at a bounded number of
    /// entries. After an error the same step may be tried again. Tried again by itself after a lost or late answer.
    ///
    /// # Errors
    /// Any but [`Error::OutcomeUnknown`]; [`Error::Rejected`] if the node was started anew with less shards meanwhile,
    /// and [`Error::Unreachable`] if it has left the ring: then the scan is to be begun again.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        let Some(node) = self.nodes.front() else { return Ok(None) };
        let ScanOptions { pattern, count } = &self.options;
        let command = Command::Scan(ScanStep { cursor: &self.cursor, count: *count, pattern });
        let answer = self.client.call(Target::Node(node), command).await?;
        match answer.payload {
            Payload::Scan(page) if answer.status == Status::Ok => {
                self.cursor = page.cursor;
                if self.cursor.is_empty() {
                    self.nodes.pop_front();
                }
                Ok(Some(page.keys.into_iter().map(Bytes::from).collect()))
            }
            payload => Err(unexpected("scan", answer.status, &payload)),
        }
    }
}
