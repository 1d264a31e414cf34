//! The second stage: from texts to a [`Config`] that is right.

use std::net::SocketAddr;
use std::time::Duration;

use larder_protocol::limits::{VALUE_BYTES_DEFAULT, VALUE_BYTES_MAX};
use larder_ring::{Node, SHARDS_MAX, StaticListError, StaticNode};

use super::error::{ConfigError, Fault, Warning};
use super::given::{Given, Source, Text};
use super::group::{self, Groups, Room};
use super::setting::Setting;
use super::value::{Cores, Milliseconds, Size, boolean, number, number_of_any_base};
use super::{Config, Loaded, Sources};
use crate::limits::{
    CLUSTER_NAME_BYTES_MAX, CONNECTIONS_DEFAULT, CONNECTIONS_MAX, MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MAX,
    MEMORY_PER_SHARD_BYTES_MIN, REQUEST_TIMEOUT_MS_DEFAULT, REQUEST_TIMEOUT_MS_MAX, STOP_TIMEOUT_MS_DEFAULT,
    STOP_TIMEOUT_MS_MAX,
};

/// Where the native protocol is spoken unless configured.
const LISTEN_DEFAULT: &str = "127.0.0.1:7400";
const CLUSTER_DEFAULT: &str = "larder";

pub(super) fn resolve(given: &Given, cores_allowed: &[usize]) -> Result<Loaded, ConfigError> {
    for setting in Setting::all().filter(|setting| !setting.is_available()) {
        refuse_unavailable(given, setting)?;
    }
    let mut warnings = Vec::new();

    let cores = cores(given, cores_allowed)?;
    let shards = shards(given, &cores, &mut warnings)?;
    let memory_bytes = memory(given, shards)?;
    let memory_source = source(given, Setting::Memory);
    let Groups { configs: groups, sources: group_sources, unused_bytes } =
        group::resolve(&given.groups, &Room { memory_bytes, memory_source: &memory_source, shards })?;
    if unused_bytes > 0 {
        warnings.push(Warning::MemoryUnused { bytes: unused_bytes });
    }

    let insecure = given.parse(Setting::Insecure, boolean)?.unwrap_or(false);
    let listen = listen(given, insecure, &mut warnings)?;
    let advertise = given.parse(Setting::Advertise, advertise)?;
    let address = || advertise.clone().unwrap_or_else(|| listen.to_string());
    let node_id = given.parse(Setting::NodeId, node_id)?.unwrap_or_else(address);
    let cluster = given.parse(Setting::Cluster, cluster)?.unwrap_or_else(|| CLUSTER_DEFAULT.to_owned());
    let cluster_seed = given.parse(Setting::Seed, number_of_any_base)?.unwrap_or(0);

    let share_bytes = groups.iter().map(|group| group.budget_bytes / u64::from(shards)).min();
    let share_bytes = share_bytes.expect("the default group exists always");
    let value_bytes_max = value_max(given, share_bytes)?;
    let connections_max = connections_max(given)?;
    let request_timeout_ms =
        timeout(given, Setting::RequestTimeout, REQUEST_TIMEOUT_MS_DEFAULT, 1..=REQUEST_TIMEOUT_MS_MAX)?;
    let stop_timeout_ms = timeout(given, Setting::StopTimeout, STOP_TIMEOUT_MS_DEFAULT, 0..=STOP_TIMEOUT_MS_MAX)?;

    let config = Config {
        node_id,
        cluster,
        cluster_seed,
        cores,
        shards,
        memory_bytes,
        listen,
        advertise,
        groups,
        insecure,
        stop_timeout: Duration::from_millis(stop_timeout_ms),
        request_timeout_ms: u32::try_from(request_timeout_ms).expect("its maximum has 32 bits"),
        value_bytes_max,
        connections_max,
    };
    let settings = Setting::all().map(|setting| (setting, source(given, setting))).collect();
    Ok(Loaded { config, warnings, sources: Sources { settings, groups: group_sources } })
}

impl Given {
    /// The value of a setting that was given.
    fn parse<T>(
        &self,
        setting: Setting,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text(setting) else { return Ok(None) };
        parse(&text.text).map(Some).map_err(|fault| refused(setting, text, fault))
    }

    /// Refuses the value that a setting has, whether it was given or not.
    fn refuse(&self, setting: Setting, value: impl ToString, fault: Fault) -> ConfigError {
        let default = || Text { text: value.to_string(), source: source(self, setting) };
        refused(setting, &self.text(setting).cloned().unwrap_or_else(default), fault)
    }
}

fn refused(setting: Setting, text: &Text, fault: Fault) -> ConfigError {
    let name = setting.names().key.to_owned();
    ConfigError::Refused { name, value: text.text.clone(), given_by: text.source.clone(), fault }
}

fn source(given: &Given, setting: Setting) -> Source {
    given.text(setting).map_or(Source::Default(setting.names().default), |text| text.source.clone())
}

fn refuse_unavailable(given: &Given, setting: Setting) -> Result<(), ConfigError> {
    match given.text(setting) {
        Some(text) if !(setting.can_be_off() && text.text == "off") => {
            let problem = concat!("this is not available in this version, ", env!("CARGO_PKG_VERSION"));
            let remedy = if setting.can_be_off() { "leave it out, or write off" } else { "leave it out" };
            Err(refused(setting, text, Fault::new(problem, remedy)))
        }
        _ => Ok(()),
    }
}

fn cores(given: &Given, allowed: &[usize]) -> Result<Vec<usize>, ConfigError> {
    assert!(!allowed.is_empty(), "this process runs on a core");
    let Some(cores) = given.parse(Setting::Cores, |text| text.parse::<Cores>())? else {
        return Ok(allowed.to_vec());
    };
    let allowed = Cores::new(allowed.to_vec());
    let cores = cores.into_numbers();
    match cores.iter().find(|core| !allowed.numbers().contains(core)) {
        None => Ok(cores),
        Some(core) => {
            let problem = format!("this process may not run on core {core}");
            let remedy = format!("name cores by their numbers, out of {allowed} (see `taskset -cp $$`)");
            Err(given.refuse(Setting::Cores, "", Fault::new(problem, remedy)))
        }
    }
}

fn shards(given: &Given, cores: &[usize], warnings: &mut Vec<Warning>) -> Result<u16, ConfigError> {
    let range = 1..=u64::from(SHARDS_MAX);
    let shards = match given.parse(Setting::Shards, number)? {
        None => cores.len().min(usize::from(SHARDS_MAX)) as u64,
        Some(shards) if range.contains(&shards) => shards,
        Some(shards) => {
            let fault =
                Fault::new("a node has at least one shard, and not as many", format!("write 1 to {SHARDS_MAX}"));
            return Err(given.refuse(Setting::Shards, shards, fault));
        }
    };
    let shards = u16::try_from(shards).expect("its maximum has 16 bits");
    if usize::from(shards) > cores.len() {
        warnings.push(Warning::ShardsAboveCores { shards, cores: cores.len() });
    }
    if usize::from(shards) < cores.len() {
        warnings.push(Warning::CoresUnused { cores: Cores::new(cores[usize::from(shards)..].to_vec()) });
    }
    Ok(shards)
}

fn memory(given: &Given, shards: u16) -> Result<u64, ConfigError> {
    let size = given.parse(Setting::Memory, |text| text.parse::<Size>())?.unwrap_or(Size(MEMORY_BYTES_DEFAULT));
    let least = Size(MEMORY_PER_SHARD_BYTES_MIN * u64::from(shards));
    if size < least {
        let problem = format!("it is too little for {shards} shard(s)");
        let remedy = format!("have at least {least} ({} per shard)", Size(MEMORY_PER_SHARD_BYTES_MIN));
        return Err(given.refuse(Setting::Memory, size, Fault::new(problem, remedy)));
    }
    if size > Size(MEMORY_BYTES_MAX) {
        let fault = Fault::new("it is too large", format!("have at most {}", Size(MEMORY_BYTES_MAX)));
        return Err(given.refuse(Setting::Memory, size, fault));
    }
    Ok(size.0)
}

fn listen(given: &Given, insecure: bool, warnings: &mut Vec<Warning>) -> Result<SocketAddr, ConfigError> {
    let listen = given.parse(Setting::Listen, socket_address)?;
    let listen = listen.unwrap_or_else(|| LISTEN_DEFAULT.parse().expect("it is an address"));
    if listen.ip().to_canonical().is_loopback() {
        return Ok(listen);
    }
    if !insecure {
        let problem =
            "other machines can reach this address, and there are neither TLS nor credentials in this version";
        let remedy = format!(
            "listen on 127.0.0.1:{}, or allow it with --insecure (insecure = true) in a network that you trust",
            listen.port()
        );
        return Err(given.refuse(Setting::Listen, listen, Fault::new(problem, remedy)));
    }
    warnings.push(Warning::Insecure { listen });
    Ok(listen)
}

fn socket_address(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| {
        let example = match text.rsplit_once(':') {
            Some(("", port)) if port.parse::<u16>().is_ok() => format!("127.0.0.1:{port} or 0.0.0.0:{port}"),
            Some(("localhost", port)) if port.parse::<u16>().is_ok() => format!("127.0.0.1:{port}"),
            None if text.parse::<u16>().is_ok() => format!("127.0.0.1:{text} or 0.0.0.0:{text}"),
            _ => "127.0.0.1:7400 or [::1]:7400".to_owned(),
        };
        Fault::new("it is not an IP address with a port", format!("write something like {example}"))
    })
}

/// By the rules of static lists, which others may have this node in.
fn advertise(text: &str) -> Result<String, Fault> {
    const REMEDY: &str = "write host:port as other machines reach this node";
    if text.contains(['=', '*']) {
        return Err(Fault::new("neither an id nor a weight belongs here", REMEDY));
    }
    match StaticNode::parse(text) {
        Ok(node) => Ok(node.address),
        Err(StaticListError::Address { reason, .. }) => Err(Fault::new(reason, REMEDY)),
        Err(error) => Err(Fault::new(error.to_string(), REMEDY)),
    }
}

fn node_id(text: &str) -> Result<String, Fault> {
    let points = larder_ring::limits::POINTS_PER_WEIGHT;
    let node = Node { id: text.to_owned(), address: LISTEN_DEFAULT.to_owned(), shards: 1, points, incarnation: 0 };
    match node.check() {
        Ok(()) => Ok(node.id),
        Err(_) => {
            let bytes_max = larder_ring::limits::NODE_ID_BYTES_MAX;
            let remedy = format!("use 1 to {bytes_max} visible ASCII characters other than / , = *");
            Err(Fault::new("it cannot be the name of a node", remedy))
        }
    }
}

fn cluster(text: &str) -> Result<String, Fault> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !(1..=CLUSTER_NAME_BYTES_MAX).contains(&text.len()) || !text.bytes().all(allowed) {
        let remedy = format!("use 1 to {CLUSTER_NAME_BYTES_MAX} ASCII letters, digits, '-', '.' and '_'");
        return Err(Fault::new("it cannot be the name of a cluster", remedy));
    }
    Ok(text.to_owned())
}

fn value_max(given: &Given, share_bytes: u64) -> Result<u32, ConfigError> {
    let size = match given.parse(Setting::ValueMax, |text| text.parse::<Size>())? {
        None => Size(share_bytes.min(VALUE_BYTES_DEFAULT as u64)),
        Some(size) if size.0 == 0 || size.0 > VALUE_BYTES_MAX as u64 => {
            let remedy = format!("write 1 to {}", Size(VALUE_BYTES_MAX as u64));
            return Err(given.refuse(Setting::ValueMax, size, Fault::new("no server can have this limit", remedy)));
        }
        Some(size) if size.0 > share_bytes => {
            let problem = format!("the smallest group has only {} on a shard", Size(share_bytes));
            let remedy = "write at most that, give the group more memory, or have fewer shards";
            return Err(given.refuse(Setting::ValueMax, size, Fault::new(problem, remedy)));
        }
        Some(size) => size,
    };
    Ok(u32::try_from(size.0).expect("its maximum has 32 bits"))
}

fn connections_max(given: &Given) -> Result<u32, ConfigError> {
    let connections = given.parse(Setting::ConnectionsMax, number)?.unwrap_or(u64::from(CONNECTIONS_DEFAULT));
    match u32::try_from(connections) {
        Ok(connections @ 1..=CONNECTIONS_MAX) => Ok(connections),
        _ => {
            let fault = Fault::new("no server can have this limit", format!("write 1 to {CONNECTIONS_MAX}"));
            Err(given.refuse(Setting::ConnectionsMax, connections, fault))
        }
    }
}

fn timeout(
    given: &Given,
    setting: Setting,
    default_ms: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64, ConfigError> {
    let time = given.parse(setting, |text| text.parse::<Milliseconds>())?.unwrap_or(Milliseconds(default_ms));
    if !range.contains(&time.0) {
        let (least, most) = (Milliseconds(*range.start()), Milliseconds(*range.end()));
        return Err(given.refuse(setting, time, Fault::new("it is out of range", format!("write {least} to {most}"))));
    }
    Ok(time.0)
}
