//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::duration::parse_duration;
use crate::size::parse_memory;

const EXIT_CODES: &str = "\
Exit codes:
  0  done; every key that was asked for is there
  1  a miss, or a condition that was not met (nothing went wrong)
  2  the command line, or a file it names, is not usable
  3  the server cannot be reached, or refused

Examples:
  larder-cli set user:17 Ada --ttl 10m
  larder-cli get user:17
  larder-cli set logo --file logo.png --if-absent
  printf '%s' \"$BODY\" | larder-cli set page -
  larder-cli --json mget user:17 user:18 | jq '.entries[] | select(.found) | .value'
  larder-cli incr hits 5 --initial 0
  larder-cli scan --pattern 'user:*'
  larder-cli group create scores --memory 64MiB --ttl 10m --origin 'http://10.0.0.9:9000/students/{key}'
  larder-cli watch scores

Output:
  `get` writes the bytes of the value and nothing else; only a terminal gets a line end behind them. Lists are one
  line per key: key, tab, value, with control and non-UTF-8 bytes written as \\n, \\t, \\\\ or \\xHH.
  With --json there is one JSON object on one line of standard output (of `watch` one for each entry), for errors too
  (but not for a command line that is not understood). A key or value that is not UTF-8 is in base64, and key_encoding or value_encoding says \"base64\"
  instead of \"utf-8\". Versions, digests and seeds are strings, because many JSON readers round 64-bit numbers.

Keys and values that begin with a hyphen go behind `--`: larder-cli set -- -key -value";

/// Talks to a Larder server: get, set and the rest from a shell.
#[derive(Debug, Parser)]
#[command(name = "larder-cli", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// host:port of the native protocol; several with commas, of which the first that answers is used
    #[arg(long, global = true, default_value = "127.0.0.1:7400", value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) addr: Vec<String>,

    /// The group to work on
    #[arg(long, global = true, default_value = "default", value_name = "GROUP")]
    pub(crate) group: String,

    /// One JSON object instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// How long to wait for the connection, and then for the answer
    #[arg(long, global = true, default_value = "5s", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Duration,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write the value of a key to standard output
    Get {
        /// The key
        key: OsString,
    },
    /// Store a value
    Set(SetArguments),
    /// Remove keys
    #[command(alias = "delete")]
    Del {
        /// The keys
        #[arg(required = true)]
        keys: Vec<OsString>,
        /// Only if the (single) key has this version
        #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..))]
        if_version: Option<u64>,
    },
    /// Show the values of several keys
    Mget {
        /// The keys
        #[arg(required = true)]
        keys: Vec<OsString>,
    },
    /// Store several values
    Mset {
        /// Key, value, key, value and so on
        #[arg(required = true, value_names = ["KEY", "VALUE"], num_args = 2.., allow_negative_numbers = true)]
        pairs: Vec<OsString>,
        #[command(flatten)]
        options: WriteOptions,
    },
    /// Set when a key expires
    Touch {
        /// The key
        key: OsString,
        #[command(flatten)]
        expiry: TouchExpiry,
    },
    /// Add to a decimal number and show the sum
    Incr {
        /// The key
        key: OsString,
        /// What to add; may be negative
        #[arg(default_value_t = 1, allow_negative_numbers = true)]
        delta: i64,
        /// Create an absent key with this number (nothing is added to it then)
        #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
        initial: Option<i64>,
        /// Time to live of a key that is created
        #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "initial")]
        ttl: Option<Duration>,
    },
    /// List the keys of the group, one on each line, as they are found
    ///
    /// Every key that is there throughout is listed at least once. Values are not read, and eviction does not notice.
    Scan {
        /// Only keys that match: `*` for any bytes, `?` for one, `[abc]`, `[a-z]` or `[^a]`, and `\` before a byte that
        /// is meant as it is
        #[arg(long, value_name = "GLOB")]
        pattern: Option<OsString>,
        /// About how many keys a server looks at for one answer, up to 1000
        #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
    },
    /// Show what leaves a group, one line for each entry, as it leaves: the reason, the bytes of key and value, the key
    ///
    /// Reasons are evicted, expired, deleted, replaced, invalidated and voided. The servers wait for nobody: what this
    /// program does not read in time is counted on a line of its own, behind `missed`. It goes on until a server ends.
    Watch {
        /// The group
        #[arg(value_name = "GROUP")]
        name: String,
    },
    /// Show groups, or create, change or drop one while the servers run
    #[command(subcommand)]
    Group(GroupCommand),
    /// Show the counters of the servers
    Stats,
    /// Show the nodes and the share of the keys that each owns
    Topology,
    /// Make every entry of the group absent, on all nodes
    Invalidate,
    /// Have a node of a cluster with etcd own nothing, until this is taken back; it passes on what it is asked
    Drain {
        /// The id of the node, as topology shows it
        node: String,
        /// Take it back
        #[arg(long)]
        undo: bool,
    },
    /// Set the share of the keys that a node of a cluster with etcd has in relation to others
    Weight {
        /// The id of the node, as topology shows it
        node: String,
        /// Such as 2 or 0.5, or "default" for the one that it was configured with
        weight: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Show every group: its policy, its memory, the bytes that it uses, its entries, and other settings that it was given
    List,
    /// Create a group on all nodes: where etcd keeps the members of the cluster, it lasts; else until each node ends
    Create {
        /// The group
        name: String,
        #[command(flatten)]
        settings: Box<GroupSettings>,
    },
    /// Change settings of a group on all nodes; those that are not named stay, and "default" takes one back
    Alter {
        /// The group
        name: String,
        #[command(flatten)]
        settings: Box<GroupSettings>,
    },
    /// Drop a group with all its entries, on all nodes
    Drop {
        /// The group
        name: String,
    },
}

/// As in a `[[group]]` of larder.toml, where they are explained.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct GroupSettings {
    /// Its memory on each node, over all shards, such as 64MiB, or a share of the node's such as 25%. More is there at once,
    /// less is reached within seconds, and no request fails. The group "default" gives or takes the difference, unless it
    /// was given a budget of its own
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    pub(crate) memory: Option<String>,
    /// Its eviction policy, such as lru, or two_q:in=30% with parameters. Its entries stay, and go over in steps
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<String>,
    /// How long entries live whose writer does not say, such as 10m
    #[arg(long, value_name = "TIME")]
    pub(crate) ttl: Option<String>,
    /// By up to how much that is made longer or shorter for each entry, such as 10%
    #[arg(long, value_name = "PERCENT")]
    pub(crate) ttl_jitter: Option<String>,
    /// For how long after its time an entry is still shown, as stale, while it is loaded anew
    #[arg(long, value_name = "TIME")]
    pub(crate) stale_while_revalidate: Option<String>,
    /// For how long after its time an entry is still shown, as stale, if it cannot be loaded anew
    #[arg(long, value_name = "TIME")]
    pub(crate) stale_if_error: Option<String>,
    /// Where missing keys are loaded from, such as http://10.0.0.9:9000/students/{key}
    #[arg(long, value_name = "URL")]
    pub(crate) origin: Option<String>,
    /// How long the origin may take
    #[arg(long, value_name = "TIME")]
    pub(crate) origin_timeout: Option<String>,
    /// How many requests the origin is sent at the same time
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_concurrent: Option<String>,
    /// How many more wait for that
    #[arg(long, value_name = "NUMBER")]
    pub(crate) queue: Option<String>,
    /// How long a key that the origin does not have is not asked for again
    #[arg(long, value_name = "TIME")]
    pub(crate) negative_ttl: Option<String>,
    /// How much before their time hot keys are loaded anew: a factor such as 1, or off
    #[arg(long, value_name = "FACTOR")]
    pub(crate) early_refresh: Option<String>,
    /// A header for the origin; may be given several times
    #[arg(long, value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SetArguments {
    /// The key
    pub(crate) key: OsString,
    /// The value; `-` reads it from standard input
    #[arg(required_unless_present = "file", conflicts_with = "file", allow_negative_numbers = true)]
    pub(crate) value: Option<OsString>,
    /// Take the value from this file
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) options: WriteOptions,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct WriteOptions {
    /// Time to live, such as 500ms, 10s, 5m, 2h or 7d; without it the group's default
    #[arg(long, value_name = "TIME", value_parser = parse_duration, group = "expiry")]
    pub(crate) ttl: Option<Duration>,
    /// The entry never expires
    #[arg(long, group = "expiry")]
    pub(crate) no_expiry: bool,
    /// The entry expires when the one expires that it replaces
    #[arg(long, group = "expiry")]
    pub(crate) keep_ttl: bool,
    /// A number of 32 bits that is kept with the entry
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub(crate) flags: u32,
    /// Only if the key is absent
    #[arg(long, group = "condition")]
    pub(crate) if_absent: bool,
    /// Only if the key is present
    #[arg(long, group = "condition")]
    pub(crate) if_present: bool,
    /// Only if the key has this version
    #[arg(long, value_name = "VERSION", group = "condition", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) if_version: Option<u64>,
}

#[derive(Clone, Copy, Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TouchExpiry {
    /// This long from now, such as 500ms, 10s, 5m, 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) ttl: Option<Duration>,
    /// Never
    #[arg(long)]
    pub(crate) no_expiry: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("larder-cli").chain(line.split(' ')))
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn negative_numbers_are_no_flags_and_typing_mistakes_are_no_values() {
        assert!(matches!(parse("incr n -5").unwrap().command, Command::Incr { delta: -5, .. }));
        assert!(matches!(parse("set t -5").unwrap().command, Command::Set(SetArguments { value: Some(_), .. })));
        assert!(parse("set k --tll 5s").is_err());
        assert!(parse("set k v --if-absent --if-present").is_err());
        assert!(parse("set k v --ttl 5s --keep-ttl").is_err());
        assert!(parse("set k").is_err());
        assert!(parse("set k v --file f").is_err());
        assert!(parse("touch k").is_err());
        assert!(parse("del k --if-version 0").is_err());
        assert!(parse("mget").is_err());
        assert!(parse("scan --count 0").is_err());
        assert!(parse("watch").is_err());
        assert!(parse("group alter scores").is_err());
        assert!(parse("group alter scores --memory 64M").is_err());
        assert!(parse("group alter --memory 64MiB").is_err());
        assert!(parse("group create scores").is_err());
        assert!(parse("group create scores --memory 12.5% --header a --header b").is_ok());
        assert!(parse("group drop").is_err());
    }

    #[test]
    fn options_of_the_program_may_stand_behind_the_command() {
        let arguments = parse("get k --json --group scores --addr a:1,b:2").unwrap();
        assert!(arguments.json);
        assert_eq!((arguments.group, arguments.addr), ("scores".into(), vec!["a:1".into(), "b:2".into()]));
    }
}
