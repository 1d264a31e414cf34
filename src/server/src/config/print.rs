//! A configuration as a file that gives the same configuration.

use std::fmt::{self, Write};
use std::path::Path;
use std::time::Duration;

use larder_ring::{DEFAULT_GROUP, weight_text};

use super::given::Source;
use super::setting::Setting;
use super::value::{Cores, Milliseconds, Size};
use super::{Config, Loaded, OriginConfig};

/// Where comments begin, if the value leaves the room.
const COMMENT_COLUMN: usize = 36;

pub(super) fn to_toml(loaded: &Loaded) -> String {
    let mut text = String::new();
    write(loaded, &mut text).expect("writing to a string does not fail");
    text
}

fn write(loaded: &Loaded, out: &mut String) -> fmt::Result {
    writeln!(out, "# The configuration of larder {}, with the source of every value.", env!("CARGO_PKG_VERSION"))?;
    let mut table = "";
    for setting in Setting::all() {
        let (table_of_key, name) = setting.names().key.split_once('.').unwrap_or(("", setting.names().key));
        if table_of_key != table {
            table = table_of_key;
            writeln!(out, "\n[{table}]")?;
        }
        let source = loaded.source(setting);
        match value(&loaded.config, setting) {
            Some(value) => line(out, name, &value, source)?,
            None => writeln!(out, "# {name} is not set: {}", setting.names().default)?,
        }
    }
    for (group, sources) in loaded.config.groups.iter().zip(&loaded.sources.groups) {
        writeln!(out, "\n[[group]]")?;
        line(out, "name", &quoted(&group.name), &sources.name)?;
        // A figure would have the default group follow no more when others are given more or less.
        let follows = group.name == DEFAULT_GROUP && loaded.config.default_follows;
        let memory = if follows { "# memory" } else { "memory" };
        line(out, memory, &quoted(&Size(group.budget_bytes).to_string()), &sources.memory)?;
        line(out, "policy", &quoted(&group.policy.to_string()), &sources.policy)?;
        line(out, "ttl", &quoted(&ms_or_off(group.ttl_ms)), &sources.ttl)?;
        let jitter = if group.ttl_jitter == 0 { "off".to_owned() } else { format!("{}%", group.ttl_jitter) };
        line(out, "ttl_jitter", &quoted(&jitter), &sources.ttl_jitter)?;
        let stale = quoted(&ms_or_off(group.stale_while_revalidate_ms));
        line(out, "stale_while_revalidate", &stale, &sources.stale_while_revalidate)?;
        line(out, "stale_if_error", &quoted(&ms_or_off(group.stale_if_error_ms)), &sources.stale_if_error)?;
        if let (Some(origin), Some(source)) = (&group.origin, &sources.origin) {
            print_origin(out, origin, source)?;
        }
    }
    Ok(())
}

fn print_origin(out: &mut String, origin: &OriginConfig, source: &Source) -> fmt::Result {
    let OriginConfig { settings, negative_ttl_ms, early_refresh_percent } = origin;
    writeln!(out, "\n[group.origin]")?;
    line(out, "url", &quoted(&settings.url), source)?;
    let timeout = Milliseconds(settings.timeout.as_millis() as u64).to_string();
    line(out, "timeout", &quoted(&timeout), source)?;
    line(out, "max_concurrent", &settings.concurrent_max.to_string(), source)?;
    line(out, "queue", &settings.queue_max.to_string(), source)?;
    line(out, "negative_ttl", &quoted(&ms_or_off(*negative_ttl_ms)), source)?;
    let early_refresh = match early_refresh_percent {
        0 => "off".to_owned(),
        percent => format!("{}.{:02}", percent / 100, percent % 100),
    };
    line(out, "early_refresh", &quoted(&early_refresh), source)?;
    if !settings.headers.is_empty() {
        writeln!(out, "# headers = {} that are not shown, since they may be secret", settings.headers.len())?;
    }
    Ok(())
}

fn ms_or_off(ms: u64) -> String {
    if ms == 0 { "off".to_owned() } else { Milliseconds(ms).to_string() }
}

/// A setting's value in TOML; none for what is not set.
fn value(config: &Config, setting: Setting) -> Option<String> {
    let value = match setting {
        Setting::Memory => quoted(&Size(config.memory_bytes).to_string()),
        Setting::Cores => quoted(&Cores::new(config.cores.clone()).to_string()),
        Setting::Shards => config.shards.to_string(),
        Setting::Insecure => config.insecure.to_string(),
        Setting::Listen => quoted(&config.listen.to_string()),
        Setting::Http => quoted(&config.http.map_or("off".to_owned(), |address| address.to_string())),
        Setting::HttpCors if config.http_cors.is_empty() => quoted("off"),
        Setting::HttpCors => quoted(&config.http_cors.join(",")),
        Setting::Resp => quoted(&config.resp.map_or("off".to_owned(), |address| address.to_string())),
        Setting::RespDatabases if config.resp_databases.is_empty() => return None,
        Setting::RespDatabases => toml::Value::from(config.resp_databases.clone()).to_string(),
        Setting::RespPrefixes => config.resp_prefixes.to_string(),
        Setting::Memcache => quoted(&config.memcache.map_or("off".to_owned(), |address| address.to_string())),
        Setting::Cluster => quoted(&config.cluster),
        Setting::NodeId => quoted(&config.node_id),
        Setting::Advertise => quoted(config.advertise.as_ref()?),
        // Integers of TOML have 63 bits.
        Setting::Seed if i64::try_from(config.cluster_seed).is_err() => quoted(&config.cluster_seed.to_string()),
        Setting::Seed => config.cluster_seed.to_string(),
        Setting::Weight => quoted(&weight_text(config.points?)),
        Setting::Etcd => toml::Value::from(config.etcd.as_ref()?.endpoints.clone()).to_string(),
        Setting::EtcdUser => quoted(config.etcd.as_ref()?.user.as_ref()?),
        Setting::EtcdPasswordFile => quoted_path(config.etcd.as_ref()?.password_file.as_ref()?),
        Setting::EtcdCa => quoted_path(config.etcd.as_ref()?.ca.as_ref()?),
        Setting::EtcdCert => quoted_path(&config.etcd.as_ref()?.identity.as_ref()?.0),
        Setting::EtcdKey => quoted_path(&config.etcd.as_ref()?.identity.as_ref()?.1),
        Setting::RegistrationTtl => {
            let ms = u64::try_from(config.etcd.as_ref()?.ttl.as_millis()).expect("its maximum has 64 bits");
            quoted(&Milliseconds(ms).to_string())
        }
        Setting::Peers if config.peers.is_empty() => return None,
        Setting::Peers => toml::Value::from(config.peers.clone()).to_string(),
        Setting::ValueMax => quoted(&Size(u64::from(config.value_bytes_max)).to_string()),
        Setting::ConnectionsMax => config.connections_max.to_string(),
        Setting::RequestTimeout => quoted(&Milliseconds(u64::from(config.request_timeout_ms)).to_string()),
        Setting::StopTimeout => {
            let ms = u64::try_from(config.stop_timeout.as_millis()).expect("its maximum has 64 bits");
            quoted(&Milliseconds(ms).to_string())
        }
        Setting::IdleTimeout => quoted(&time_or_off(config.idle_timeout)),
        Setting::HalfSentTimeout => quoted(&time_or_off(config.half_sent_timeout)),
        Setting::Spin => quoted(&time_or_off(config.spin)),
    };
    Some(value)
}

fn quoted_path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// A time of which zero means never.
fn time_or_off(time: Duration) -> String {
    let microseconds = u64::try_from(time.as_micros()).expect("all maxima have 64 bits");
    match microseconds {
        0 => "off".to_owned(),
        _ if microseconds.is_multiple_of(1000) => Milliseconds(microseconds / 1000).to_string(),
        _ => format!("{microseconds}us"),
    }
}

fn line(out: &mut String, name: &str, value: &str, source: &Source) -> fmt::Result {
    let assignment = format!("{name} = {value}");
    let source = match source {
        Source::Default(description) if value.trim_matches('"') == *description => "default".to_owned(),
        Source::Default(description) => format!("default: {description}"),
        Source::Flag(_) | Source::Environment(_) | Source::File { .. } | Source::Running(_) => source.to_string(),
    };
    // A path may have line ends, which would end the comment.
    let source: String = source.chars().map(|it| if it.is_control() { '?' } else { it }).collect();
    writeln!(out, "{assignment:COMMENT_COLUMN$} # {source}")
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServeFlags;

    fn load(path: &Path, cores_allowed: &[usize]) -> Loaded {
        let flags = ServeFlags { config: Some(path.to_owned()), ..ServeFlags::default() };
        Loaded::load(&flags, [], cores_allowed).unwrap_or_else(|error| panic!("{error}"))
    }

    fn random_file(random: &mut fastrand::Rng, cores: &[usize]) -> String {
        let mut text = String::new();
        let mut maybe = |line: String| {
            if random.bool() {
                text += &line;
                text.push('\n');
            }
        };
        let mut values = fastrand::Rng::with_seed(cores.len() as u64);
        maybe(format!("memory = {}", values.u64(1 << 30..1 << 35)));
        maybe(format!("cores = [{}, {}]", cores[0], cores[cores.len() - 1]).replace("[0, 0]", "[0]"));
        maybe(format!("shards = {}", values.u16(1..=64)));
        maybe(format!("spin = \"{}us\"", values.u64(1..=1000)));
        maybe("insecure = true\nlisten.native = \"[2001:db8::1]:7400\"".to_owned());
        maybe("listen.http = \"127.0.0.1:7480\"".to_owned());
        maybe("cluster.name = \"prod-1\"".to_owned());
        maybe("cluster.node_id = 'a\"b\\c#d'".to_owned());
        maybe("cluster.advertise = \"larder-0.example:7400\"".to_owned());
        maybe(format!("cluster.seed = \"{}\"", values.u64(..)));
        maybe(format!("cluster.weight = \"{}.{}\"", values.u32(1..9), values.u32(..1000)));
        maybe("cluster.etcd = [\"https://etcd-0.example:2379\", \"10.0.0.2:2379\"]".to_owned());
        maybe(format!("limits.value_max = {}", values.u64(1..4096)));
        maybe(format!("limits.connections_max = {}", values.u64(1..=1 << 20)));
        maybe(format!("limits.request_timeout = \"{}ms\"", values.u64(1..=600_000)));
        maybe(format!("limits.stop_timeout = \"{}s\"", values.u64(..=3600)));
        maybe(format!("limits.idle_timeout = \"{}s\"", values.u64(1..=3600)));
        maybe("limits.half_sent_timeout = \"off\"".to_owned());
        maybe("[[group]]\nname = \"default\"\npolicy = \"lru\"\nttl = \"90s\"".to_owned());
        maybe(
            "[[group]]\nname = \"o\"\nmemory = \"1%\"\n[group.origin]\nurl = \"http://a:1/{key}?b=%25\"\nqueue = 0\n\
             timeout = \"7s\"\nmax_concurrent = 9\nnegative_ttl = \"off\""
                .to_owned(),
        );
        maybe("[[group]]\nname = \"größe \\\\ \\\" # %\"\nmemory = \"3.125%\"".to_owned());
        maybe(
            "[[group]]\nname = \"'\"\nmemory = \"99MB\"\npolicy = \"lru\"\nttl = \"1234567ms\"\nttl_jitter = \"7%\"\nstale_if_error = \"7s\""
                .to_owned(),
        );
        text
    }

    #[test]
    fn what_is_printed_gives_the_same_configuration() {
        let seed = 0x70a1;
        let mut random = fastrand::Rng::with_seed(seed);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("larder.toml");
        for round in 0..300 {
            let mut cores: Vec<usize> = (0..64).filter(|_| random.u8(..3) > 0).collect();
            cores.insert(0, 0);
            cores.dedup();
            let file = random_file(&mut random, &cores);
            std::fs::write(&path, &file).unwrap();
            let mut first = load(&path, &cores);
            let printed = first.to_toml();
            std::fs::write(&path, &printed).unwrap();
            let mut second = load(&path, &cores);
            // As they were written, and every default is printed.
            first.config.definitions.clear();
            second.config.definitions.clear();
            first.config.by_default.clear();
            assert_eq!(first.config, second.config, "seed {seed}, round {round}:\n{file}\n{printed}");
            for setting in Setting::all().filter(|setting| value(&second.config, *setting).is_some()) {
                assert!(matches!(second.source(setting), Source::File { .. }), "{setting:?}:\n{printed}");
            }
        }
    }

    #[test]
    fn no_file_is_too_broken_to_be_refused() {
        let seed = 0xb0b;
        let mut random = fastrand::Rng::with_seed(seed);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("larder.toml");
        let mut refused = 0;
        for _ in 0..2_000 {
            let mut bytes = random_file(&mut random, &[0, 1]).into_bytes();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..=bytes.len());
                match random.u8(..3) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, random.u8(..)),
                    _ => bytes.extend_from_within(at..),
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            let flags = ServeFlags { config: Some(path.clone()), ..ServeFlags::default() };
            if let Err(error) = Loaded::load(&flags, [], &[0, 1]) {
                refused += 1;
                assert!(!error.to_string().contains('\n'), "seed {seed}: {error}");
            }
        }
        assert!((500..2_000).contains(&refused), "seed {seed}: the files are broken, but not all: {refused}");
    }

    #[test]
    fn every_value_has_its_source_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("two\nlines.toml");
        std::fs::write(&path, "\nmemory = 33554432\n[[group]]\nname = 'a'\nmemory = '25%'\n").unwrap();
        let printed = load(&path, &[0]).to_toml();
        let has = |line: String| assert!(printed.lines().any(|it| it == line), "{line}\n{printed}");
        let shown = path.display().to_string().replace('\n', "?");
        has(format!("memory = \"32MiB\"                     # {shown}:2"));
        has("shards = 1                           # default: one per core".to_owned());
        has(format!("memory = \"8MiB\"                      # {shown}:5"));
        has("# memory = \"24MiB\"                   # default: what the other groups leave".to_owned());
    }
}
