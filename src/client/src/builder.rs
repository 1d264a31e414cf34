//! What a client is set to, and the check of it.

use std::time::Duration;

use larder_protocol::limits::{CLIENT_NAME_BYTES_MAX, GROUP_NAME_BYTES_MAX, PIPELINE_MAX};
use larder_ring::DEFAULT_GROUP;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::limits::{
    ADDRESSES_MAX, ATTEMPT_TIMEOUT_DEFAULT, ATTEMPTS_MAX, CONNECT_TIMEOUT_DEFAULT, CONNECTIONS_PER_NODE_DEFAULT,
    CONNECTIONS_PER_NODE_MAX, DEADLINE_DEFAULT, IN_FLIGHT_DEFAULT, RECONNECT_PAUSE_MAX_DEFAULT,
    RECONNECT_PAUSE_MIN_DEFAULT, RETRY_BURST_MAX, STALL_ATTEMPTS, TIMEOUT_MAX, WRITE_QUEUE_BYTES_DEFAULT,
    WRITE_QUEUE_BYTES_MAX,
};
use crate::network::ConnectSettings;
use crate::policies::{Backoff, RetryPolicy};

/// Sets up a [`Client`]. Every setting has a default but the addresses.
///
/// ```
/// # mod fake { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake/mod.rs")); }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), larder_client::Error> {
/// # let server = fake::Server::start().await;
/// # let address = server.address();
/// use std::time::Duration;
/// use larder_client::{Client, RetryPolicy};
///
/// let client = Client::builder()
///     .address(address)
///     .group("scores")
///     .attempt_timeout(Duration::from_millis(100))
///     .deadline(Duration::from_millis(250))
///     .retry(RetryPolicy { attempts_max: 2, ..RetryPolicy::default() })
///     .connect()
///     .await?;
/// assert_eq!(client.group_name(), "scores");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `connect`"]
pub struct Builder {
    addresses: Vec<String>,
    group: String,
    client_name: String,
    credentials: Vec<u8>,
    cluster_seed: Option<u64>,
    connections_per_node_max: usize,
    in_flight_max: usize,
    write_queue_bytes: usize,
    connect_timeout: Duration,
    attempt_timeout: Duration,
    deadline: Duration,
    retry: RetryPolicy,
    reconnect: Backoff,
    seed: Option<u64>,
}

/// A builder's settings, checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) addresses: Vec<String>,
    pub(crate) connect: ConnectSettings,
    pub(crate) cluster_seed: Option<u64>,
    pub(crate) connections_per_node_max: usize,
    pub(crate) attempt_timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) reconnect: Backoff,
    pub(crate) seed: u64,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            group: DEFAULT_GROUP.to_owned(),
            client_name: concat!("larder-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            credentials: Vec::new(),
            cluster_seed: None,
            connections_per_node_max: CONNECTIONS_PER_NODE_DEFAULT,
            in_flight_max: IN_FLIGHT_DEFAULT,
            write_queue_bytes: WRITE_QUEUE_BYTES_DEFAULT,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            attempt_timeout: ATTEMPT_TIMEOUT_DEFAULT,
            deadline: DEADLINE_DEFAULT,
            retry: RetryPolicy::default(),
            reconnect: Backoff { min: RECONNECT_PAUSE_MIN_DEFAULT, max: RECONNECT_PAUSE_MAX_DEFAULT },
            seed: None,
        }
    }
}

impl Builder {
    /// All defaults, and no address.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the `host:port` of a node. One that answers is enough: it names the others.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Adds the addresses of several nodes, which are tried in this order.
    pub fn addresses<A: Into<String>>(mut self, addresses: impl IntoIterator<Item = A>) -> Self {
        self.addresses.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// The group that the client works on until [`Client::group`] names another. Default: "default".
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = name.into();
        self
    }

    /// What operators see as the name of this client. Default: the name and version of this library.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = name.into();
        self
    }

    /// What the client proves itself with. Default: nothing.
    pub fn credentials(mut self, credentials: impl Into<Vec<u8>>) -> Self {
        self.credentials = credentials.into();
        self
    }

    /// Refuses nodes of a cluster with another seed. Default: any cluster.
    pub fn cluster_seed(mut self, seed: u64) -> Self {
        self.cluster_seed = Some(seed);
        self
    }

    /// Most connections to each node. A node gets one for each of its shards, made when the shard is first needed, and
    /// each key goes straight to the core that owns it. With fewer than shards the server passes the rest of the
    /// requests on, which costs it more. Default: [`CONNECTIONS_PER_NODE_DEFAULT`].
    pub fn connections_per_node_max(mut self, connections: usize) -> Self {
        self.connections_per_node_max = connections;
        self
    }

    /// Requests of one connection that wait for an answer; further calls wait for a place within their time. The
    /// server's own limit holds besides. Default: [`IN_FLIGHT_DEFAULT`].
    pub fn in_flight_max(mut self, requests: usize) -> Self {
        self.in_flight_max = requests;
        self
    }

    /// Bytes of one connection that wait to be written; further calls wait for room within their time. A longer frame
    /// goes when nothing else waits. Default: [`WRITE_QUEUE_BYTES_DEFAULT`].
    pub fn write_queue_bytes(mut self, bytes: usize) -> Self {
        self.write_queue_bytes = bytes;
        self
    }

    /// From the start of a connect to the answer of Hello, for each address. Default: [`CONNECT_TIMEOUT_DEFAULT`].
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// One attempt of a call. Default: [`ATTEMPT_TIMEOUT_DEFAULT`].
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// A whole call with all its attempts and pauses. Default: [`DEADLINE_DEFAULT`]; see [`Client::with_deadline`].
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How calls are tried again. Default: [`RetryPolicy::default`].
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// The first and the longest pause before a lost connection is made anew. Default:
    /// [`RECONNECT_PAUSE_MIN_DEFAULT`] and [`RECONNECT_PAUSE_MAX_DEFAULT`].
    pub fn reconnect_pause(mut self, min: Duration, max: Duration) -> Self {
        self.reconnect = Backoff { min, max };
        self
    }

    /// Seed of all jitter, so that a test can repeat it. Default: drawn at random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Checks the settings and connects to the first address that answers. Needs a tokio runtime with I/O and time,
    /// which has to live as long as the client: its connections are tasks there.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the setting; [`Error::Unreachable`], [`Error::Refused`] or [`Error::Protocol`] when no
    /// address gives a usable answer within the connect time-out.
    pub async fn connect(self) -> Result<Client, Error> {
        let (group, deadline) = (self.group.clone(), self.deadline);
        check_group(&group)?;
        check_time("deadline", deadline)?;
        let cluster = Cluster::connect(self.settings()?).await?;
        Ok(Client::new(cluster, &group, deadline))
    }

    fn settings(self) -> Result<Settings, Error> {
        check_addresses(&self.addresses)?;
        check_range("client_name (bytes)", self.client_name.len(), 0, CLIENT_NAME_BYTES_MAX)?;
        check_range("credentials (bytes)", self.credentials.len(), 0, CLIENT_NAME_BYTES_MAX)?;
        check_range("connections_per_node_max", self.connections_per_node_max, 1, CONNECTIONS_PER_NODE_MAX)?;
        check_range("in_flight_max", self.in_flight_max, 1, PIPELINE_MAX)?;
        check_range("write_queue_bytes", self.write_queue_bytes, 1, WRITE_QUEUE_BYTES_MAX)?;
        check_time("connect_timeout", self.connect_timeout)?;
        check_time("attempt_timeout", self.attempt_timeout)?;
        check_retry(&self.retry)?;
        check_pauses("reconnect_pause", self.reconnect.min, self.reconnect.max)?;
        Ok(Settings {
            addresses: self.addresses,
            connect: ConnectSettings {
                client_name: self.client_name,
                credentials: self.credentials,
                timeout: self.connect_timeout,
                in_flight_max: self.in_flight_max,
                write_queue_bytes: self.write_queue_bytes,
            },
            cluster_seed: self.cluster_seed,
            connections_per_node_max: self.connections_per_node_max,
            attempt_timeout: self.attempt_timeout,
            retry: self.retry,
            reconnect: self.reconnect,
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..)),
        })
    }
}

impl Settings {
    /// How long requests may wait while nothing is received before the connection is given up.
    pub(crate) fn stall(&self) -> Duration {
        self.attempt_timeout * STALL_ATTEMPTS
    }
}

/// A name that a group can have.
pub(crate) fn check_group(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > GROUP_NAME_BYTES_MAX {
        return Err(refused("group", name, "the name of a group has 1 to 255 bytes"));
    }
    Ok(())
}

/// A time that can be waited for.
pub(crate) fn check_time(setting: &'static str, time: Duration) -> Result<(), Error> {
    if time < Duration::from_millis(1) || time > TIMEOUT_MAX {
        return Err(refused(setting, &format!("{time:?}"), "it must be from 1 ms to 24 h"));
    }
    Ok(())
}

fn check_addresses(addresses: &[String]) -> Result<(), Error> {
    if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
        let count = addresses.len().to_string();
        return Err(refused("addresses", &count, "name 1 to 1024 addresses, such as 127.0.0.1:7400"));
    }
    for address in addresses {
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            return Err(refused("address", address, "it must be host:port, such as 127.0.0.1:7400"));
        }
    }
    Ok(())
}

fn check_retry(retry: &RetryPolicy) -> Result<(), Error> {
    check_range("retry.attempts_max", retry.attempts_max as usize, 1, ATTEMPTS_MAX as usize)?;
    check_range("retry.budget_percent", retry.budget_percent as usize, 0, 100)?;
    check_range("retry.budget_burst", retry.budget_burst as usize, 0, RETRY_BURST_MAX as usize)?;
    check_pauses("retry.pause", retry.pause_min, retry.pause_max)
}

fn check_pauses(setting: &'static str, min: Duration, max: Duration) -> Result<(), Error> {
    if min > max || max > TIMEOUT_MAX {
        return Err(refused(
            setting,
            &format!("{min:?} to {max:?}"),
            "the longest pause is at most 24 h, and the first is not longer",
        ));
    }
    Ok(())
}

fn check_range(setting: &'static str, value: usize, min: usize, max: usize) -> Result<(), Error> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::Setting { setting, value: value.to_string(), remedy: format!("it must be from {min} to {max}") })
}

fn refused(setting: &'static str, value: &str, remedy: &str) -> Error {
    Error::Setting { setting, value: value.to_owned(), remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(builder: Builder) -> (&'static str, String) {
        match builder.settings() {
            Err(error @ Error::Setting { setting, .. }) => (setting, error.to_string()),
            other => panic!("{other:?}"),
        }
    }

    fn good() -> Builder {
        Builder::new().address("localhost:7400")
    }

    #[test]
    fn the_defaults_are_possible() {
        let settings = good().settings().unwrap();
        assert!(settings.stall() > settings.attempt_timeout);
    }

    #[test]
    fn impossible_settings_are_refused_by_name_and_value() {
        let zero = Duration::ZERO;
        let retry = |change: fn(&mut RetryPolicy)| {
            let mut policy = RetryPolicy::default();
            change(&mut policy);
            good().retry(policy)
        };
        let cases = [
            (Builder::new(), "addresses"),
            (good().address("nowhere"), "address"),
            (good().address(":7400"), "address"),
            (good().address("host:0"), "address"),
            (good().address("host:70000"), "address"),
            (good().client_name("n".repeat(2_000)), "client_name (bytes)"),
            (good().credentials(vec![0; 2_000]), "credentials (bytes)"),
            (good().connections_per_node_max(0), "connections_per_node_max"),
            (good().in_flight_max(0), "in_flight_max"),
            (good().in_flight_max(usize::MAX), "in_flight_max"),
            (good().write_queue_bytes(0), "write_queue_bytes"),
            (good().connect_timeout(zero), "connect_timeout"),
            (good().attempt_timeout(Duration::MAX), "attempt_timeout"),
            (good().reconnect_pause(Duration::from_secs(2), Duration::from_secs(1)), "reconnect_pause"),
            (retry(|policy| policy.attempts_max = 0), "retry.attempts_max"),
            (retry(|policy| policy.budget_percent = 101), "retry.budget_percent"),
            (retry(|policy| policy.budget_burst = u32::MAX), "retry.budget_burst"),
            (retry(|policy| policy.pause_max = Duration::ZERO), "retry.pause"),
        ];
        for (builder, expected) in cases {
            let (setting, message) = refusal(builder);
            assert_eq!(setting, expected, "{message}");
        }
        assert!(refusal(good().address("host:70000")).1.contains("host:70000"));
    }
}
