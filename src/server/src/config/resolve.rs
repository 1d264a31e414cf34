//! The second stage: from texts to a [`Config`] that is right.

use std::net::SocketAddr;
use std::time::Duration;

use larder_protocol::limits::{VALUE_BYTES_DEFAULT, VALUE_BYTES_MAX};
use larder_ring::{Node, SHARDS_MAX, StaticListError, StaticNode, parse_static_list, weight_points};

use super::definition;
use super::error::{ConfigError, Fault, Warning};
use super::etcd;
use super::given::{Given, Source, Text};
use super::group::{self, Groups, Room};
use super::setting::Setting;
use super::value::{Cores, Microseconds, Milliseconds, Size, boolean, number, number_of_any_base, size};
use super::{Config, GroupConfig, Loaded, Sources};
use crate::limits::{
    CLUSTER_NAME_BYTES_MAX, CONNECTIONS_DEFAULT, CONNECTIONS_MAX, HALF_SENT_TIMEOUT_MS_DEFAULT, MEMORY_BYTES_DEFAULT,
    MEMORY_PER_SHARD_BYTES_MAX, MEMORY_PER_SHARD_BYTES_MIN, REQUEST_TIMEOUT_MS_DEFAULT, REQUEST_TIMEOUT_MS_MAX,
    RESP_DATABASES_MAX, SILENCE_MS_MAX, SPIN_US_MAX, STOP_TIMEOUT_MS_DEFAULT, STOP_TIMEOUT_MS_MAX,
};

/// Where the native protocol is spoken unless configured.
const LISTEN_DEFAULT: &str = "127.0.0.1:7400";
/// Where other protocols are spoken unless configured, and where they can be.
const LISTEN_DEFAULTS: [(Setting, &str); 3] =
    [(Setting::Resp, "127.0.0.1:7479"), (Setting::Memcache, "127.0.0.1:7411"), (Setting::Http, "127.0.0.1:7480")];
const CLUSTER_DEFAULT: &str = "larder";

pub(super) fn resolve(given: &Given, cores_allowed: &[usize]) -> Result<Loaded, ConfigError> {
    let mut warnings = Vec::new();

    let cores = cores(given, cores_allowed)?;
    let shards = shards(given, &cores, &mut warnings)?;
    let memory_bytes = memory(given, shards)?;
    let memory_source = source(given, Setting::Memory);
    let Groups { configs: groups, sources: group_sources, default_follows, unused_bytes } =
        group::resolve(&given.groups, &Room { memory_bytes, memory_source: &memory_source, shards })?;
    if unused_bytes > 0 {
        warnings.push(Warning::MemoryUnused { bytes: unused_bytes });
    }

    let insecure = given.parse(Setting::Insecure, boolean)?.unwrap_or(false);
    let by_default = LISTEN_DEFAULTS.into_iter().filter(|(setting, _)| given.text(*setting).is_none());
    let by_default: Vec<Setting> = by_default.map(|(setting, _)| setting).collect();
    let mut dialect = |(setting, default): (Setting, &str)| match by_default.contains(&setting) {
        true => Ok(Some(default.parse().expect("it is an address"))),
        false => listen(given, setting, insecure, &mut warnings),
    };
    let [resp, memcache, http] = LISTEN_DEFAULTS;
    let (resp, memcache, http) = (dialect(resp)?, dialect(memcache)?, dialect(http)?);
    let resp_databases = given.parse(Setting::RespDatabases, databases)?.unwrap_or_default();
    let resp_prefixes = given.parse(Setting::RespPrefixes, boolean)?.unwrap_or(false);
    let http_cors = given.parse(Setting::HttpCors, http_cors)?.unwrap_or_default();
    let listen = listen(given, Setting::Listen, insecure, &mut warnings)?;
    let listen = listen.unwrap_or_else(|| LISTEN_DEFAULT.parse().expect("it is an address"));
    let advertise = given.parse(Setting::Advertise, advertise)?;
    let address = || advertise.clone().unwrap_or_else(|| listen.to_string());
    let peers = given.parse(Setting::Peers, peers)?.unwrap_or_default();
    let node_id = given.parse(Setting::NodeId, node_id)?;
    let node_id = node_id.or_else(|| id_in(&peers, &address())).unwrap_or_else(address);
    check_is_in(given, &peers, &node_id, &address())?;
    let cluster = given.parse(Setting::Cluster, cluster)?.unwrap_or_else(|| CLUSTER_DEFAULT.to_owned());
    let cluster_seed = given.parse(Setting::Seed, number_of_any_base)?.unwrap_or(0);
    let points = given.parse(Setting::Weight, weight)?;
    let etcd = etcd::resolve(given)?;

    let smallest = groups.iter().min_by_key(|group| group.budget_bytes).expect("the default group exists always");
    let value_bytes_max = value_max(given, smallest, memory_bytes, shards)?;
    let connections_max = connections_max(given)?;
    let request_timeout_ms =
        timeout(given, Setting::RequestTimeout, REQUEST_TIMEOUT_MS_DEFAULT, 1..=REQUEST_TIMEOUT_MS_MAX)?;
    let stop_timeout_ms = timeout(given, Setting::StopTimeout, STOP_TIMEOUT_MS_DEFAULT, 0..=STOP_TIMEOUT_MS_MAX)?;
    let idle_timeout = silence(given, Setting::IdleTimeout, 0)?;
    let half_sent_timeout = silence(given, Setting::HalfSentTimeout, HALF_SENT_TIMEOUT_MS_DEFAULT)?;

    let config = Config {
        node_id,
        cluster,
        peers,
        cluster_seed,
        points,
        etcd,
        cores,
        shards,
        memory_bytes,
        listen,
        resp,
        memcache,
        resp_databases,
        resp_prefixes,
        http,
        by_default,
        http_cors,
        advertise,
        groups,
        default_follows,
        definitions: given.groups.iter().map(definition::of_given).collect(),
        insecure,
        stop_timeout: Duration::from_millis(stop_timeout_ms),
        request_timeout_ms: u32::try_from(request_timeout_ms).expect("its maximum has 32 bits"),
        value_bytes_max,
        connections_max,
        idle_timeout,
        half_sent_timeout,
        spin: spin(given)?,
    };
    let settings = Setting::all().map(|setting| (setting, source(given, setting))).collect();
    Ok(Loaded { config, warnings, sources: Sources { settings, groups: group_sources } })
}

impl Given {
    /// The value of a setting that was given.
    pub(super) fn parse<T>(
        &self,
        setting: Setting,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text(setting) else { return Ok(None) };
        parse(&text.text).map(Some).map_err(|fault| refused(setting, text, fault))
    }

    /// Refuses the value that a setting has, whether it was given or not.
    pub(super) fn refuse(&self, setting: Setting, value: impl ToString, fault: Fault) -> ConfigError {
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
            let fault = Fault::new("a node cannot have this many shards", format!("write 1 to {SHARDS_MAX}"));
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
    let size = given.parse(Setting::Memory, size)?.unwrap_or(Size(MEMORY_BYTES_DEFAULT));
    let least = Size(MEMORY_PER_SHARD_BYTES_MIN * u64::from(shards));
    if size < least {
        let problem = format!("it is too little for {shards} shard(s)");
        let remedy = format!("have at least {least} ({} per shard)", Size(MEMORY_PER_SHARD_BYTES_MIN));
        return Err(given.refuse(Setting::Memory, size, Fault::new(problem, remedy)));
    }
    let most = Size(MEMORY_PER_SHARD_BYTES_MAX * u64::from(shards));
    if size > most {
        let problem = format!("it is too much for {shards} shard(s)");
        let remedy = format!("have at most {most} ({} per shard), or more shards", Size(MEMORY_PER_SHARD_BYTES_MAX));
        return Err(given.refuse(Setting::Memory, size, Fault::new(problem, remedy)));
    }
    Ok(size.0)
}

/// The address of a listener, where others may reach it only if that is allowed.
fn listen(
    given: &Given,
    setting: Setting,
    insecure: bool,
    warnings: &mut Vec<Warning>,
) -> Result<Option<SocketAddr>, ConfigError> {
    let address = |text: &str| match text {
        "off" if setting.can_be_off() => Ok(None),
        text => socket_address(text).map(Some),
    };
    let Some(listen) = given.parse(setting, address)?.flatten() else { return Ok(None) };
    if listen.ip().to_canonical().is_loopback() {
        return Ok(Some(listen));
    }
    if !insecure {
        let problem =
            "other machines can reach this address, and there are neither TLS nor credentials in this version";
        let remedy = format!(
            "listen on 127.0.0.1:{}, or allow it with --insecure (insecure = true) in a network that you trust",
            listen.port()
        );
        return Err(given.refuse(setting, listen, Fault::new(problem, remedy)));
    }
    warnings.push(Warning::Insecure { listen });
    Ok(Some(listen))
}

/// Names of groups, which may come to be later, each once.
fn databases(text: &str) -> Result<Vec<String>, Fault> {
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    let remedy = "write the names of groups with commas, such as default,scores";
    if names.iter().any(String::is_empty) || names.len() > RESP_DATABASES_MAX {
        return Err(Fault::new(
            format!("there are 1 to {RESP_DATABASES_MAX} databases, each of which is a group"),
            remedy,
        ));
    }
    let twice = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name));
    match twice {
        Some((_, name)) => Err(Fault::new(format!("group {name:?} is named twice"), remedy)),
        None => Ok(names),
    }
}

/// Origins as browsers send them (RFC 6454, section 6.2), or `*`.
fn http_cors(text: &str) -> Result<Vec<String>, Fault> {
    if text == "off" {
        return Ok(Vec::new());
    }
    let origins: Vec<String> = text.split(',').map(|origin| origin.trim().to_owned()).collect();
    for origin in &origins {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let is_origin = host.is_some_and(|host| {
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#*@,".contains(&byte))
        });
        if !(is_origin || (origin == "*" && origins.len() == 1)) {
            let remedy = "write origins with commas, such as https://app.example,http://localhost:3000, or * alone";
            return Err(Fault::new(format!("{origin:?} is no origin of web pages"), remedy));
        }
    }
    Ok(origins)
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

fn peers(text: &str) -> Result<Vec<String>, Fault> {
    let entries: Vec<String> = text.split(',').map(|entry| entry.trim().to_owned()).collect();
    match parse_static_list(&entries) {
        Ok(_) => Ok(entries),
        Err(error) => Err(Fault::new(error.to_string(), "write [id=]host:port[*weight] for each node, with commas")),
    }
}

/// Whether a node is in a list, by id and address.
fn check_is_in(given: &Given, peers: &[String], node_id: &str, address: &str) -> Result<(), ConfigError> {
    let refuse = |problem: &str| {
        let entry = if node_id == address { address.to_owned() } else { format!("{node_id}={address}") };
        let remedy = format!("add {entry:?}, or set --node-id and --advertise to what one of them says");
        Err(given.refuse(Setting::Peers, peers.join(","), Fault::new(problem, remedy)))
    };
    let mut nodes = peers.iter().filter_map(|entry| StaticNode::parse(entry).ok());
    match nodes.find(|node| node.id == node_id || node.address.eq_ignore_ascii_case(address)) {
        None if !peers.is_empty() => refuse("this node is not among them"),
        Some(node) if node.id != node_id => refuse("this node has another id there"),
        Some(node) if !node.address.eq_ignore_ascii_case(address) => refuse("this node has another address there"),
        _ => Ok(()),
    }
}

/// The id that a list has for the node with this address.
fn id_in(peers: &[String], address: &str) -> Option<String> {
    let nodes = peers.iter().filter_map(|entry| StaticNode::parse(entry).ok());
    nodes.into_iter().find(|node| node.address.eq_ignore_ascii_case(address)).map(|node| node.id)
}

fn weight(text: &str) -> Result<u32, Fault> {
    weight_points(text).map_err(|error| Fault::new(error.to_string(), "write a number such as 2 or 0.5"))
}

fn cluster(text: &str) -> Result<String, Fault> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !(1..=CLUSTER_NAME_BYTES_MAX).contains(&text.len()) || !text.bytes().all(allowed) {
        let remedy = format!("use 1 to {CLUSTER_NAME_BYTES_MAX} ASCII letters, digits, '-', '.' and '_'");
        return Err(Fault::new("it cannot be the name of a cluster", remedy));
    }
    Ok(text.to_owned())
}

/// `smallest`: the group with the least memory, which every value has to fit into.
fn value_max(given: &Given, smallest: &GroupConfig, memory_bytes: u64, shards: u16) -> Result<u32, ConfigError> {
    let share_bytes = smallest.budget_bytes / u64::from(shards);
    let longest = larder_store::value_bytes_max(memory_bytes / u64::from(shards), share_bytes);
    let size = match given.parse(Setting::ValueMax, size)? {
        None => Size(longest.min(VALUE_BYTES_DEFAULT as u64)),
        Some(size) if size.0 == 0 || size.0 > VALUE_BYTES_MAX as u64 => {
            let remedy = format!("write 1 to {}", Size(VALUE_BYTES_MAX as u64));
            return Err(given.refuse(Setting::ValueMax, size, Fault::new("no server can have this limit", remedy)));
        }
        Some(size) if size.0 > longest => {
            let (name, share) = (&smallest.name, Size(share_bytes));
            let problem =
                format!("the group {name:?} has {share} on a shard, where no value above {longest} bytes fits");
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

/// A time that `off` makes endless.
fn silence(given: &Given, setting: Setting, default_ms: u64) -> Result<Duration, ConfigError> {
    if given.text(setting).is_some_and(|text| text.text == "off") {
        return Ok(Duration::ZERO);
    }
    let least_ms = if default_ms == 0 && given.text(setting).is_none() { 0 } else { 1 };
    timeout(given, setting, default_ms, least_ms..=SILENCE_MS_MAX).map(Duration::from_millis)
}

fn spin(given: &Given) -> Result<Duration, ConfigError> {
    let parse = |text: &str| match text {
        "off" => Ok(Duration::ZERO),
        _ => {
            let Microseconds(us) = text.parse()?;
            if (1..=SPIN_US_MAX).contains(&us) {
                return Ok(Duration::from_micros(us));
            }
            Err(Fault::new("it is out of range", format!("write off, or 1us to {SPIN_US_MAX}us")))
        }
    };
    Ok(given.parse(Setting::Spin, parse)?.unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::super::ServeFlags;
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    fn load(flags: &[(Setting, &str)], cores_allowed: &[usize]) -> Result<Loaded, String> {
        let settings = flags.iter().map(|(setting, text)| (*setting, (*text).to_owned())).collect();
        let flags = ServeFlags { settings, ..ServeFlags::default() };
        Loaded::load(&flags, [], cores_allowed).map_err(|error| error.to_string())
    }

    fn config(flags: &[(Setting, &str)], cores_allowed: &[usize]) -> Config {
        load(flags, cores_allowed).unwrap().config
    }

    #[test]
    fn defaults() {
        let loaded = load(&[], &[0, 2, 3]).unwrap();
        assert_eq!(loaded.warnings, []);
        let config = loaded.config;
        assert_eq!((config.cores.as_slice(), config.shards), ([0, 2, 3].as_slice(), 3));
        assert_eq!(config.memory_bytes, 256 << 20);
        assert_eq!((config.listen.to_string(), config.address()), ("127.0.0.1:7400".into(), "127.0.0.1:7400".into()));
        assert_eq!((config.node_id.as_str(), config.cluster.as_str()), ("127.0.0.1:7400", "larder"));
        assert_eq!((config.cluster_seed, config.insecure, config.advertise), (0, false, None));
        assert_eq!((config.request_timeout_ms, config.stop_timeout), (1000, Duration::from_secs(5)));
        assert_eq!((config.value_bytes_max, config.connections_max), (8 << 20, 16_384));
        assert_eq!(config.groups.len(), 1);
        assert_eq!(config.groups[0].budget_bytes, 256 << 20);
    }

    #[test]
    fn shards_and_cores() {
        let many: Vec<usize> = (0..300).collect();
        let loaded = load(&[(Setting::Memory, "1GiB")], &many).unwrap();
        assert_eq!(loaded.config.shards, 256);
        assert_eq!(loaded.warnings, [Warning::CoresUnused { cores: Cores::new((256..300).collect()) }]);

        let loaded = load(&[(Setting::Shards, "5")], &[1, 3]).unwrap();
        assert_eq!(loaded.warnings, [Warning::ShardsAboveCores { shards: 5, cores: 2 }]);
        let placed: Vec<usize> = (0..5).map(|shard| loaded.config.core_of(shard)).collect();
        assert_eq!(placed, [1, 3, 1, 3, 1]);

        assert_eq!(config(&[(Setting::Cores, "3")], &[1, 3]).cores, [3]);
        let error = load(&[(Setting::Cores, "0-3")], &[1, 2, 3, 7]).unwrap_err();
        assert!(error.contains("may not run on core 0: name cores by their numbers, out of 1-3,7"), "{error}");
        for shards in ["0", "257", "18446744073709551615"] {
            let error = load(&[(Setting::Shards, shards)], &[0]).unwrap_err();
            assert!(error.starts_with(&format!("shards = \"{shards}\" (from --shards): ")), "{error}");
        }
    }

    #[test]
    fn memory_and_values() {
        let with = |memory: &str, value: &str| {
            load(&[(Setting::Memory, memory), (Setting::ValueMax, value), (Setting::Shards, "2")], &[0, 1])
        };
        let longest = larder_store::value_bytes_max(2 << 20, 2 << 20);
        assert!((500_000..700_000).contains(&longest), "an entry may take a third of a shard's memory: {longest}");
        assert_eq!(u64::from(config(&[(Setting::Memory, "4MiB")], &[0, 1]).value_bytes_max), longest);
        assert_eq!(u64::from(with("4MiB", &longest.to_string()).unwrap().config.value_bytes_max), longest);
        assert_eq!(with("1GiB", "64MiB").unwrap().config.value_bytes_max, 64 << 20);
        for (memory, value, part) in [
            (
                "4MiB",
                "2MiB",
                "limits.value_max = \"2MiB\" (from --value-max): the group \"default\" has 2MiB on a shard, where no value above",
            ),
            ("1GiB", "65MiB", "write 1 to 64MiB"),
            ("1GiB", "0", "write 1 to 64MiB"),
            (
                "2097151",
                "1",
                "memory = \"2097151\" (from --memory): it is too little for 2 shard(s): have at least 2MiB",
            ),
            ("65GiB", "1", "it is too much for 2 shard(s): have at most 64GiB (32GiB per shard), or more shards"),
        ] {
            let error = with(memory, value).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        // What is wrong may be a default, too.
        let error = load(&[(Setting::Shards, "256"), (Setting::Memory, "255MiB")], &[0]).unwrap_err();
        assert!(error.contains("have at least 256MiB (1MiB per shard)"), "{error}");
    }

    #[test]
    fn addresses() {
        for text in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:7400", "[::ffff:127.0.0.1]:7400"] {
            assert_eq!(load(&[(Setting::Listen, text)], &[0]).unwrap().warnings, [], "{text}");
        }
        for text in ["0.0.0.0:7400", "10.0.0.1:7400", "[::]:7400", "[::ffff:10.0.0.1]:7400"] {
            let error = load(&[(Setting::Listen, text)], &[0]).unwrap_err();
            assert!(error.contains("allow it with --insecure (insecure = true)"), "{error}");
            let loaded = load(&[(Setting::Listen, text), (Setting::Insecure, "true")], &[0]).unwrap();
            assert!(matches!(loaded.warnings.as_slice(), [Warning::Insecure { .. }]), "{text}");
        }
        for (text, example) in [
            ("7400", "127.0.0.1:7400 or 0.0.0.0:7400"),
            (":81", "127.0.0.1:81 or 0.0.0.0:81"),
            ("localhost:81", "like 127.0.0.1:81"),
            ("127.0.0.1", "like 127.0.0.1:7400 or [::1]:7400"),
            ("127.0.0.1:65536", "like 127.0.0.1:7400"),
            ("::1:7400", "like 127.0.0.1:7400"),
            ("", "like 127.0.0.1:7400"),
        ] {
            let error = load(&[(Setting::Listen, text)], &[0]).unwrap_err();
            assert!(error.contains(example), "{error}");
        }
    }

    #[test]
    fn http_has_an_address_of_its_own_or_is_off() {
        let unset = config(&[], &[0]);
        assert_eq!(unset.http, Some("127.0.0.1:7480".parse().unwrap()));
        let off = config(&[(Setting::Http, "off")], &[0]);
        assert_eq!(off.http, None);
        let cors = |text| config(&[(Setting::HttpCors, text)], &[0]).http_cors;
        assert_eq!(cors("https://a.example, http://b:3000"), ["https://a.example", "http://b:3000"]);
        assert_eq!((cors("*"), cors("off")), (vec!["*".to_owned()], Vec::new()));
        for wrong in ["a.example", "https://", "https://a/b", "*,https://a", "https://a,", "https://*.a"] {
            let refused = load(&[(Setting::HttpCors, wrong)], &[0]).unwrap_err();
            assert!(refused.contains("is no origin of web pages"), "{refused}");
        }
        let on = config(&[(Setting::Http, "127.0.0.1:7480")], &[0]);
        assert_eq!(on.http, Some("127.0.0.1:7480".parse().unwrap()));
        let open = load(&[(Setting::Http, "0.0.0.0:7480")], &[0]).unwrap_err();
        assert!(open.contains("listen.http") && open.contains("allow it with --insecure"), "{open}");
        let error = load(&[(Setting::Listen, "off")], &[0]).unwrap_err();
        assert!(error.contains("like 127.0.0.1:7400"), "{error}");
    }

    #[test]
    fn the_node_id_follows_the_address() {
        let mut found = config(&[(Setting::Listen, "127.0.0.1:0")], &[0]);
        found.bound_to("127.0.0.1:4711".parse().unwrap());
        assert_eq!((found.node_id.as_str(), found.address().as_str()), ("127.0.0.1:4711", "127.0.0.1:4711"));

        let mut advertised = config(&[(Setting::Listen, "127.0.0.1:0"), (Setting::Advertise, "larder-0.lan:74")], &[0]);
        advertised.bound_to("127.0.0.1:4711".parse().unwrap());
        assert_eq!(
            (advertised.node_id.as_str(), advertised.address().as_str()),
            ("larder-0.lan:74", "larder-0.lan:74")
        );

        let mut named = config(&[(Setting::Listen, "127.0.0.1:0"), (Setting::NodeId, "a")], &[0]);
        named.bound_to("127.0.0.1:4711".parse().unwrap());
        assert_eq!((named.node_id.as_str(), named.address().as_str()), ("a", "127.0.0.1:4711"));
    }

    #[test]
    fn names_and_numbers() {
        for (setting, texts) in [
            (Setting::NodeId, &["", "a b", "a/b", "a,b", "a=b", "a*b", "ä"][..]),
            (Setting::Cluster, &["", "a b", "a/b", "ä"]),
            (Setting::Advertise, &["", "a", "a:0", "a:65536", "0.0.0.0:1", "[::]:1", "b=a:1", "a:1*2", "a b:1"]),
            (Setting::Seed, &["", "-1", "1.5", "0xg", "18446744073709551616"]),
            (Setting::Insecure, &["", "yes", "1", "TRUE"]),
            (Setting::ConnectionsMax, &["", "0", "1048577", "4294967297", "1k"]),
            (Setting::RequestTimeout, &["", "0ms", "1", "11m", "1w"]),
            (Setting::StopTimeout, &["", "-1s", "5", "2h"]),
            (Setting::IdleTimeout, &["", "0ms", "5", "31d", "on"]),
            (Setting::HalfSentTimeout, &["", "0s", "OFF", "31d"]),
            (Setting::Spin, &["", "0us", "50", "1001us", "2ms", "1s", "on"]),
        ] {
            for text in texts {
                let error = load(&[(setting, text)], &[0]).unwrap_err();
                let names = setting.names();
                let start = format!("{} = \"{text}\" (from --{}): ", names.key, names.flag);
                assert!(error.starts_with(&start) && error.matches(": ").count() >= 2, "{error}");
            }
            let long = load(&[(setting, &"x".repeat(300))], &[0]);
            assert!(long.is_err(), "{setting:?}");
        }
        assert_eq!(config(&[(Setting::Seed, "0xffffffffffffffff")], &[0]).cluster_seed, u64::MAX);
        let config_of = |setting, text| config(&[(setting, text)], &[0]);
        assert_eq!(config_of(Setting::IdleTimeout, "off"), config(&[], &[0]));
        assert_eq!(config_of(Setting::IdleTimeout, "1m").idle_timeout, Duration::from_secs(60));
        assert_eq!(config_of(Setting::HalfSentTimeout, "30s"), config(&[], &[0]));
        assert_eq!(config_of(Setting::HalfSentTimeout, "off").half_sent_timeout, Duration::ZERO);
        assert_eq!(config_of(Setting::Spin, "off"), config(&[], &[0]));
        assert_eq!(config_of(Setting::Spin, "50us").spin, Duration::from_micros(50));
        assert_eq!(config_of(Setting::Spin, "1ms").spin, Duration::from_millis(1));
        assert_eq!(config(&[(Setting::StopTimeout, "0ms")], &[0]).stop_timeout, Duration::ZERO);
    }

    #[test]
    fn dialects_may_be_off() {
        let all = [Setting::Resp, Setting::Memcache, Setting::Http];
        let unset = config(&[], &[0]);
        assert_eq!(unset.by_default, all);
        assert_eq!([unset.resp, unset.memcache].map(|at| at.map(|at| at.port())), [Some(7479), Some(7411)]);
        let off = config(&all.map(|setting| (setting, "off")), &[0]);
        assert_eq!((off.resp, off.memcache, off.http, off.by_default.len()), (None, None, None, 0));
        let spoken = config(&[(Setting::Memcache, "127.0.0.1:0"), (Setting::RespDatabases, "default, scores")], &[0]);
        assert!(spoken.memcache.is_some_and(|at| at.port() == 0) && !spoken.by_default.contains(&Setting::Memcache));
        assert_eq!(spoken.resp_databases, ["default", "scores"]);
        for wrong in ["", "a,,b", "a,a"] {
            assert!(load(&[(Setting::RespDatabases, wrong)], &[0]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_environment() {
        let load = |pairs: &[(&str, &[u8])]| {
            let pairs = pairs.iter().map(|(name, value)| (name.into(), OsString::from_vec(value.to_vec())));
            Loaded::load(&ServeFlags::default(), pairs.collect::<Vec<_>>(), &[0]).map_err(|error| error.to_string())
        };
        for setting in Setting::all() {
            let error = load(&[(setting.names().environment, b" ")]).unwrap_err();
            let part = format!("(from the environment variable {})", setting.names().environment);
            assert!(error.contains(&part), "{error}");
        }
        let error = load(&[("LARDER_MEMORY", b"1\xff")]).unwrap_err();
        assert!(error.contains("LARDER_MEMORY") && error.contains("not UTF-8"), "{error}");
        let error = load(&[("LARDER_CONFIG", b"/none.toml")]).unwrap_err();
        assert!(error.starts_with("/none.toml (from the environment variable LARDER_CONFIG): "), "{error}");

        // Kubernetes makes these for a service named "larder".
        let foreign: [(&str, &[u8]); 4] = [
            ("LARDER_SERVICE_HOST", b"10.0.0.1"),
            ("LARDER_PORT", b"tcp://10.0.0.1:7400"),
            ("LARDER_PORT_7400_TCP", b"tcp://10.0.0.1:7400"),
            ("LARDER_TEST_FULL", b"1"),
        ];
        assert_eq!(load(&foreign).unwrap().warnings, []);
        let loaded = load(&[("LARDER_MEMROY", b"1GiB")]).unwrap();
        let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
        let expected = "the environment variable LARDER_MEMROY means nothing; did you mean LARDER_MEMORY?";
        assert_eq!(warning.to_string(), expected);
    }
}
