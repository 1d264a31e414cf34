//! What a run is to do. A plan that passed [`Plan::check`] makes sense in itself; [`Plan::check_server`] holds it
//! against what the server accepts.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::error::LoadError;
use crate::limits::{
    CONNECTIONS_MAX, IN_FLIGHT_BYTES_MAX, MEMCACHE_TTL_MAX, MULTI_GET_MAX, PIPELINE_MAX, RATE_MAX, REOPENS_MAX,
    REQUESTS_MAX, RUN_TIME_MAX, THREADS_MAX, VERIFY_KEYS_MAX,
};
use crate::protocol::{ProtocolName, ServerFacts};
use crate::verify::{HEADER_BYTES, Writers};
use crate::workload::{Distribution, KeySpace, Mix, Operation, ValueSizes};

/// When requests start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Closed loop: each slot sends the next request when the one before was answered.
    Closed,
    /// Open loop: at times of their own, whatever the server does.
    Open {
        /// Requests per second, over all threads.
        per_second: f64,
        /// How the times lie.
        arrivals: Arrivals,
    },
}

/// How the times of an open loop lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// Independent of each other: exponential gaps.
    Poisson,
    /// Equal gaps.
    Fixed,
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arrivals::Poisson => "poisson",
            Arrivals::Fixed => "fixed",
        })
    }
}

/// When the measurement ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// After this time.
    Time(Duration),
    /// After so many requests.
    Requests(u64),
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub address: SocketAddr,
    /// What is spoken there.
    pub protocol: ProtocolName,
    /// Name of the group.
    pub group: String,
    /// Threads that make load.
    pub threads: usize,
    /// The cores that they are pinned to, in turn; none: not pinned.
    pub cores: Vec<usize>,
    /// Connections, over all threads.
    pub connections: usize,
    /// Requests of one connection that wait for an answer, at most.
    pub pipeline: usize,
    /// When requests start.
    pub pace: Pace,
    /// Which keys there are.
    pub keys: KeySpace,
    /// How often which is asked for.
    pub distribution: Distribution,
    /// How large values are.
    pub values: ValueSizes,
    /// Which operations.
    pub mix: Mix,
    /// Keys of each get; 1: a plain get.
    pub multi_get: usize,
    /// Expiry of what is set or touched; `None`: the group's.
    pub ttl: Option<Duration>,
    /// Whether all keys are set first.
    pub preload: bool,
    /// Time under load before the measurement.
    pub warm_up: Duration,
    /// When the measurement ends.
    pub length: Length,
    /// Whether values are checked, and who writes a key then.
    pub verify: Option<Writers>,
    /// Whether a missed key is set.
    pub fill: bool,
    /// Everything random follows from it.
    pub seed: u64,
    /// Attempts in a row to open a lost connection again.
    pub reconnects: u32,
    /// A connection that owes an answer and is silent for so long counts as lost.
    pub timeout: Duration,
    /// Whether a line each second tells how it goes.
    pub progress: bool,
    /// Whether each connection names a shard, and asks for the keys of that shard alone.
    pub shard_aware: bool,
}

impl Plan {
    /// # Errors
    /// What contradicts itself or is above a limit.
    pub fn check(&self) -> Result<(), LoadError> {
        self.check_threads()?;
        self.check_protocol()?;
        self.check_verify()?;
        if let Pace::Open { per_second, .. } = self.pace
            && !(per_second > 0.0 && per_second <= RATE_MAX)
        {
            return Err(LoadError::option(
                "--rate",
                per_second,
                format!("expected above 0 and up to {RATE_MAX:e} per second"),
            ));
        }
        if !(1..=MULTI_GET_MAX).contains(&self.multi_get) {
            return Err(LoadError::option(
                "--multi-get",
                self.multi_get,
                format!("expected 1 to {MULTI_GET_MAX} keys"),
            ));
        }
        if self.distribution == Distribution::InTurn && self.threads as u64 > self.keys.count() {
            let remedy =
                format!("there are only {} keys; each thread needs one for --distribution in_turn", self.keys.count());
            return Err(LoadError::option("--threads", self.threads, remedy));
        }
        if self.fill && self.multi_get > 1 {
            return Err(LoadError::option("--fill", "", "fills the misses of single gets; leave out --multi-get"));
        }
        match self.length {
            Length::Time(time) if time.is_zero() || time > RUN_TIME_MAX => {
                return Err(LoadError::option(
                    "--duration",
                    format!("{time:?}"),
                    format!("expected above 0 and up to {RUN_TIME_MAX:?}"),
                ));
            }
            Length::Requests(count) if !(1..=REQUESTS_MAX).contains(&count) => {
                return Err(LoadError::option("--requests", count, format!("expected 1 to {REQUESTS_MAX}")));
            }
            _ => {}
        }
        if self.warm_up > RUN_TIME_MAX {
            return Err(LoadError::option(
                "--warm-up",
                format!("{:?}", self.warm_up),
                format!("at most {RUN_TIME_MAX:?}"),
            ));
        }
        if self.reconnects > REOPENS_MAX {
            return Err(LoadError::option("--reconnects", self.reconnects, format!("at most {REOPENS_MAX}")));
        }
        let in_flight = (self.connections * self.pipeline) as u64 * u64::from(self.values.most());
        if in_flight > IN_FLIGHT_BYTES_MAX {
            let remedy = format!(
                "{} connections with {} requests each could have {in_flight} bytes of values on their way; at most \
                 {IN_FLIGHT_BYTES_MAX} may be",
                self.connections, self.pipeline
            );
            return Err(LoadError::option("--values", &self.values, remedy));
        }
        Ok(())
    }

    fn check_threads(&self) -> Result<(), LoadError> {
        for (name, value, most) in [
            ("--threads", self.threads, THREADS_MAX),
            ("--connections", self.connections, CONNECTIONS_MAX),
            ("--pipeline", self.pipeline, PIPELINE_MAX),
        ] {
            if !(1..=most).contains(&value) {
                return Err(LoadError::option(name, value, format!("expected 1 to {most}")));
            }
        }
        if self.threads > self.connections {
            let remedy = format!("there are only {} connections; each thread needs one", self.connections);
            return Err(LoadError::option("--threads", self.threads, remedy));
        }
        Ok(())
    }

    fn check_protocol(&self) -> Result<(), LoadError> {
        let protocol = self.protocol;
        if let Some(operation) = Operation::ALL.into_iter().find(|&one| self.mix.has(one) && !protocol.has(one)) {
            let remedy = format!("--protocol {} has no {}; leave it out", protocol.name(), operation.name());
            return Err(LoadError::option("--mix", self.mix, remedy));
        }
        if self.shard_aware && protocol != ProtocolName::Native {
            return Err(LoadError::option("--shard-aware", "", "is for --protocol native alone"));
        }
        if self.shard_aware && self.distribution == Distribution::InTurn {
            let remedy = "--shard-aware asks each connection for keys of one shard, which are not in turn";
            return Err(LoadError::option("--distribution", self.distribution, remedy));
        }
        if self.shard_aware && self.mix.has(Operation::Increment) {
            return Err(LoadError::option(
                "--mix",
                self.mix,
                "--shard-aware has no incr, whose counters have other keys",
            ));
        }
        if self.shard_aware && self.verify == Some(Writers::OnePerKey) {
            let remedy = "--verify deals keys to connections in its own way; add --shared-writes";
            return Err(LoadError::option("--shard-aware", "with --verify", remedy));
        }
        if protocol != ProtocolName::Memcache {
            return Ok(());
        }
        if let Some(ttl) = self.ttl
            && (ttl > MEMCACHE_TTL_MAX || ttl.subsec_nanos() > 0)
        {
            let remedy = format!("--protocol memcache takes whole seconds up to {MEMCACHE_TTL_MAX:?}");
            return Err(LoadError::option("--ttl", format!("{ttl:?}"), remedy));
        }
        if self.keys.prefix().bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            let remedy = "--protocol memcache has keys without spaces and control characters";
            return Err(LoadError::option("--key-prefix", format!("{:?}", self.keys.prefix()), remedy));
        }
        Ok(())
    }

    fn check_verify(&self) -> Result<(), LoadError> {
        let Some(writers) = self.verify else { return Ok(()) };
        let least = HEADER_BYTES + self.keys.key_bytes();
        if (self.values.least() as usize) < least {
            let remedy = format!("with --verify a value has at least {least} bytes, for its header and its key");
            return Err(LoadError::option("--values", &self.values, remedy));
        }
        if self.keys.count() > VERIFY_KEYS_MAX {
            return Err(LoadError::option(
                "--keys",
                self.keys.count(),
                format!("at most {VERIFY_KEYS_MAX} with --verify"),
            ));
        }
        if self.keys.key_bytes() > usize::from(u16::MAX) {
            return Err(LoadError::option("--key-bytes", self.keys.key_bytes(), "at most 65535 with --verify"));
        }
        if writers == Writers::OnePerKey && self.fill {
            let remedy = "a fill writes keys that belong to another connection; add --shared-writes";
            return Err(LoadError::option("--fill", "with --verify", remedy));
        }
        if writers == Writers::OnePerKey && self.connections as u64 > self.keys.count() {
            let remedy =
                "with --verify each connection writes keys of its own; use fewer connections or add --shared-writes";
            return Err(LoadError::option("--connections", self.connections, remedy));
        }
        Ok(())
    }

    /// # Errors
    /// What this server does not accept.
    pub fn check_server(&self, facts: &ServerFacts) -> Result<(), LoadError> {
        let above = |name, value: u64, most: u64| {
            if value <= most {
                Ok(())
            } else {
                Err(LoadError::option(name, value, format!("this server accepts at most {most}")))
            }
        };
        above("--key-bytes", self.keys.key_bytes() as u64, facts.key_bytes_max)?;
        above("--pipeline", self.pipeline as u64, facts.pipeline_max)?;
        above("--multi-get", self.multi_get as u64, facts.keys_max)?;
        if self.preload || self.fill || self.mix.has(Operation::Set) {
            above("--values", u64::from(self.values.most()), facts.value_bytes_max)?;
        }
        Ok(())
    }

    /// The connections of one thread: the number of its first one, and how many.
    pub fn share_of(&self, thread: usize) -> (usize, usize) {
        let share = share(self.connections as u64, self.threads, thread);
        (share.start as usize, (share.end - share.start) as usize)
    }
}

/// The part of `0..total` that belongs to one of `parts`: as even as can be, the first ones larger by one.
pub(crate) fn share(total: u64, parts: usize, part: usize) -> std::ops::Range<u64> {
    let (parts, part) = (parts as u64, part as u64);
    let (each, more) = (total / parts, total % parts);
    let start = part * each + part.min(more);
    start..start + each + u64::from(part < more)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plan() -> Plan {
        Plan {
            address: "127.0.0.1:1".parse().unwrap(),
            protocol: ProtocolName::Native,
            group: "default".into(),
            threads: 1,
            cores: Vec::new(),
            connections: 4,
            pipeline: 1,
            pace: Pace::Closed,
            keys: KeySpace::new(1000, "key:", 16, true).unwrap(),
            distribution: Distribution::Uniform,
            values: ValueSizes::Fixed(64),
            mix: "10:1".parse().unwrap(),
            multi_get: 1,
            ttl: None,
            preload: false,
            warm_up: Duration::ZERO,
            length: Length::Requests(1000),
            verify: None,
            fill: false,
            seed: 1,
            reconnects: 0,
            timeout: Duration::from_secs(5),
            progress: false,
            shard_aware: false,
        }
    }

    type Change = fn(&mut Plan);

    #[test]
    fn plans_that_cannot_be_are_refused_by_name() {
        assert!(plan().check().is_ok());
        let cases: [(&str, Change); 23] = [
            ("--shard-aware : is for --protocol native", |plan| {
                (plan.shard_aware, plan.protocol) = (true, ProtocolName::Resp);
            }),
            ("--distribution in_turn: --shard-aware", |plan| {
                (plan.shard_aware, plan.distribution) = (true, Distribution::InTurn);
            }),
            ("--threads 2: there are only 1 keys", |plan| {
                (plan.threads, plan.distribution) = (2, Distribution::InTurn);
                plan.keys = KeySpace::new(1, "key:", 16, false).unwrap();
            }),
            ("--mix incr=1: --shard-aware", |plan| {
                (plan.shard_aware, plan.mix) = (true, "incr=1".parse().unwrap());
            }),
            ("--shard-aware with --verify", |plan| {
                (plan.shard_aware, plan.verify) = (true, Some(Writers::OnePerKey));
            }),
            ("--mix incr=1: --protocol resp has no incr", |plan| {
                (plan.protocol, plan.mix) = (ProtocolName::Resp, "incr=1".parse().unwrap());
            }),
            ("--ttl 1.5s: --protocol memcache", |plan| {
                (plan.protocol, plan.ttl) = (ProtocolName::Memcache, Some(Duration::from_millis(1500)));
            }),
            ("--ttl 2592001s", |plan| {
                (plan.protocol, plan.ttl) = (ProtocolName::Memcache, Some(Duration::from_secs(2_592_001)));
            }),
            ("--key-prefix \"a b\"", |plan| {
                plan.protocol = ProtocolName::Memcache;
                plan.keys = KeySpace::new(1000, "a b", 16, true).unwrap();
            }),
            ("--threads 0", |plan| plan.threads = 0),
            ("--threads 5", |plan| plan.threads = 5),
            ("--connections 0", |plan| plan.connections = 0),
            ("--pipeline 5000", |plan| plan.pipeline = 5000),
            ("--rate 0", |plan| plan.pace = Pace::Open { per_second: 0.0, arrivals: Arrivals::Fixed }),
            ("--rate NaN", |plan| plan.pace = Pace::Open { per_second: f64::NAN, arrivals: Arrivals::Fixed }),
            ("--multi-get 0", |plan| plan.multi_get = 0),
            ("--duration 0ns", |plan| plan.length = Length::Time(Duration::ZERO)),
            ("--requests 0", |plan| plan.length = Length::Requests(0)),
            ("--reconnects 99", |plan| plan.reconnects = 99),
            ("--values 67108864", |plan| (plan.values, plan.connections) = (ValueSizes::Fixed(64 << 20), 1000)),
            ("--values 49", |plan| (plan.values, plan.verify) = (ValueSizes::Fixed(49), Some(Writers::Many))),
            ("--fill with --verify", |plan| (plan.fill, plan.verify) = (true, Some(Writers::OnePerKey))),
            ("--connections 2000", |plan| (plan.connections, plan.verify) = (2000, Some(Writers::OnePerKey))),
        ];
        for (expected, change) in cases {
            let mut plan = plan();
            change(&mut plan);
            let error = plan.check().expect_err(expected);
            assert!(error.to_string().starts_with(expected), "{error} is not about {expected}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn what_the_server_does_not_accept_is_refused_before_the_run() {
        let facts = ServerFacts {
            server: "test".into(),
            key_bytes_max: 100,
            value_bytes_max: 64,
            keys_max: 10,
            pipeline_max: 8,
            placement: None,
        };
        assert!(plan().check_server(&facts).is_ok());
        let cases: [(&str, Change); 3] = [
            ("--pipeline 9", |plan| plan.pipeline = 9),
            ("--multi-get 11", |plan| plan.multi_get = 11),
            ("--values 65", |plan| plan.values = ValueSizes::Fixed(65)),
        ];
        for (expected, change) in cases {
            let mut plan = plan();
            change(&mut plan);
            assert!(plan.check_server(&facts).expect_err(expected).to_string().starts_with(expected));
        }
    }

    #[test]
    fn shares_are_even_and_leave_nothing() {
        for (total, parts) in [(10, 3), (3, 3), (1, 4), (1000, 7)] {
            let shares: Vec<_> = (0..parts).map(|part| share(total, parts, part)).collect();
            assert_eq!(shares.iter().map(|share| share.end - share.start).sum::<u64>(), total);
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert_eq!((shares[0].start, shares[parts - 1].end), (0, total));
        }
    }
}
