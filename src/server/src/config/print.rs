//! A configuration as a file that gives the same configuration.

use std::fmt::{self, Write};

use super::given::Source;
use super::setting::Setting;
use super::value::{Cores, Milliseconds, Size};
use super::{Config, Loaded};

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
            None => writeln!(out, "# {name} is not set: {}", absence(setting))?,
        }
    }
    for (group, sources) in loaded.config.groups.iter().zip(&loaded.sources.groups) {
        writeln!(out, "\n[[group]]")?;
        line(out, "name", &quoted(&group.name), &sources.name)?;
        line(out, "memory", &quoted(&Size(group.budget_bytes).to_string()), &sources.memory)?;
        line(out, "policy", &quoted(group.policy.name()), &sources.policy)?;
        let ttl = if group.ttl_ms == 0 { "off".to_owned() } else { Milliseconds(group.ttl_ms).to_string() };
        line(out, "ttl", &quoted(&ttl), &sources.ttl)?;
    }
    Ok(())
}

/// A setting's value in TOML; none for what is not set.
fn value(config: &Config, setting: Setting) -> Option<String> {
    let value = match setting {
        Setting::Memory => quoted(&Size(config.memory_bytes).to_string()),
        Setting::Cores => quoted(&Cores::new(config.cores.clone()).to_string()),
        Setting::Shards => config.shards.to_string(),
        Setting::Insecure => config.insecure.to_string(),
        Setting::Listen => quoted(&config.listen.to_string()),
        Setting::Resp | Setting::Memcache | Setting::Http => quoted("off"),
        Setting::Cluster => quoted(&config.cluster),
        Setting::NodeId => quoted(&config.node_id),
        Setting::Advertise => quoted(config.advertise.as_ref()?),
        // Integers of TOML have 63 bits.
        Setting::Seed if i64::try_from(config.cluster_seed).is_err() => quoted(&config.cluster_seed.to_string()),
        Setting::Seed => config.cluster_seed.to_string(),
        Setting::Etcd | Setting::Peers => return None,
        Setting::ValueMax => quoted(&Size(u64::from(config.value_bytes_max)).to_string()),
        Setting::ConnectionsMax => config.connections_max.to_string(),
        Setting::RequestTimeout => quoted(&Milliseconds(u64::from(config.request_timeout_ms)).to_string()),
        Setting::StopTimeout => {
            let ms = u64::try_from(config.stop_timeout.as_millis()).expect("its maximum has 64 bits");
            quoted(&Milliseconds(ms).to_string())
        }
    };
    Some(value)
}

/// What holds where a setting is not set.
fn absence(setting: Setting) -> &'static str {
    if setting.is_available() { setting.names().default } else { "it is not available in this version" }
}

fn line(out: &mut String, name: &str, value: &str, source: &Source) -> fmt::Result {
    let assignment = format!("{name} = {value}");
    let source = match source {
        Source::Default(description) if value.trim_matches('"') == *description => "default".to_owned(),
        Source::Default(description) => format!("default: {description}"),
        Source::Flag(_) | Source::Environment(_) | Source::File { .. } => source.to_string(),
    };
    // A path may have line ends, which would end the comment.
    let source: String = source.chars().map(|it| if it.is_control() { '?' } else { it }).collect();
    writeln!(out, "{assignment:COMMENT_COLUMN$} # {source}")
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
