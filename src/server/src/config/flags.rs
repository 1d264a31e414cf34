//! The command line. Flags are made from the table of settings, so that a setting cannot lack its flag.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::styling::Styles;
use clap::{Arg, ArgAction, ArgMatches};

use super::given::CONFIG_VARIABLE;
use super::setting::Setting;

/// The command line of `larder`, understood as far as its words go. Values are still texts.
#[derive(Debug)]
pub struct Arguments {
    /// What to do.
    pub command: Command,
}

/// What `larder` can be asked to do.
#[derive(Debug)]
pub enum Command {
    /// Serve, or look at the configuration by which it would.
    Serve(ServeFlags),
}

/// The flags of `larder serve`.
#[derive(Clone, Debug, Default)]
pub struct ServeFlags {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Check the configuration and stop there.
    pub check_config: bool,
    /// Print the configuration and stop there.
    pub print_config: bool,
    /// The settings that were given, with their values as written.
    pub settings: Vec<(Setting, String)>,
}

const SERVE_EXAMPLES: &str = "\
Every setting may be given by its flag, by its environment variable, or by its key in larder.toml; the first of these
that names it wins. Sizes are like 1GiB, 500MB or 65536; times are like 500ms, 1s or 10m.

Examples:
  larder serve
      All cores, 256 MiB, on 127.0.0.1:7400.
  larder serve --cores 0-3 --memory 4GiB --listen 0.0.0.0:7400 --insecure
      Four cores, and reachable from other machines.
  larder serve --config larder.toml --memory 8GiB
      As the file says, but with more memory.
  larder serve --config larder.toml --print-config
      Every value as it would be, where it came from, and in the form of the file.

A larder.toml:
  memory = \"1GiB\"
  cores = \"0-3\"
  [listen]
  native = \"127.0.0.1:7400\"
  [[group]]                 # the group \"default\" exists always, and has what the others leave
  name = \"scores\"
  memory = \"25%\"            # of the memory; or a size
  policy = \"two_q\"          # or lru
  ttl = \"10m\"
  ttl_jitter = \"10%\"        # longer or shorter by up to this for each entry, where its writer names no time
  [group.origin]            # where a get finds what is missing; one request for all who ask at a time
  url = \"http://127.0.0.1:9000/scores/{key}\"
  timeout = \"1s\"            # of one request, and of waiting to be sent
  max_concurrent = 64       # requests of this node at a time; queue = 1024 more wait
  negative_ttl = \"1s\"       # how long a 404 is believed, or off
  headers = [\"Authorization: Bearer …\"]

Exit status: 0 stopped as asked; 1 failed while running; 2 cannot start, for a reason that is named.";

impl Arguments {
    /// Reads the command line of this process. Prints and exits if it asks for help or the version (status 0), or is
    /// wrong (status 2).
    pub fn from_process() -> Self {
        Self::parse(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Reads a command line, whose first word is the name of the program.
    ///
    /// # Errors
    /// If it asks for help or the version, or is wrong.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut matches = command().try_get_matches_from(words)?;
        match matches.remove_subcommand() {
            Some((name, flags)) if name == "serve" => Ok(Self { command: Command::Serve(ServeFlags::new(flags)) }),
            other => unreachable!("clap accepts no other command: {other:?}"),
        }
    }
}

impl ServeFlags {
    fn new(mut matches: ArgMatches) -> Self {
        Self {
            config: matches.remove_one("config"),
            check_config: matches.get_flag("check-config"),
            print_config: matches.get_flag("print-config"),
            settings: Setting::all()
                .filter_map(|setting| Some((setting, matches.remove_one(setting.names().flag)?)))
                .collect(),
        }
    }
}

fn command() -> clap::Command {
    clap::Command::new("larder")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A cache server with a thread per core")
        .styles(Styles::plain())
        .max_term_width(120)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .after_help(
            "Example:\n  larder serve --memory 1GiB\n      Serve on all cores. `larder serve --help` tells the rest.",
        )
        .subcommand(serve())
}

fn serve() -> clap::Command {
    let config =
        Arg::new("config").long("config").value_name("FILE").value_parser(clap::value_parser!(PathBuf)).help(format!(
            "Read settings and groups from this larder.toml [env: {CONFIG_VARIABLE}] [default: no file]"
        ));
    let check = Arg::new("check-config")
        .long("check-config")
        .action(ArgAction::SetTrue)
        .help("Check the configuration, say so, and do not serve");
    let print = Arg::new("print-config")
        .long("print-config")
        .action(ArgAction::SetTrue)
        .conflicts_with("check-config")
        .help("Print every value with its source, as a larder.toml, and do not serve");
    clap::Command::new("serve")
        .about("Serve, on one pinned thread per shard, until SIGTERM or SIGINT")
        .after_help(SERVE_EXAMPLES)
        .next_line_help(true)
        .arg(config)
        .args(Setting::all().map(flag))
        .args([check, print])
}

fn flag(setting: Setting) -> Arg {
    let names = setting.names();
    let arg = Arg::new(names.flag)
        .long(names.flag)
        .value_name(names.value)
        .help(format!("{} [env: {}] [default: {}]", names.meaning, names.environment, names.default));
    match setting {
        Setting::Insecure => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        // So that `--seed -1` is understood as a value, and refused as one.
        _ => arg.allow_hyphen_values(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<ServeFlags, String> {
        let words = ["larder", "serve"].into_iter().chain(words.split_whitespace());
        match Arguments::parse(words.map(OsString::from)) {
            Ok(Arguments { command: Command::Serve(flags) }) => Ok(flags),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn clap_has_no_objection() {
        command().debug_assert();
    }

    #[test]
    fn every_setting_has_its_flag() {
        for setting in Setting::all() {
            let names = setting.names();
            let flags = parse(&format!("--{}=x", names.flag)).unwrap();
            assert_eq!(flags.settings, [(setting, "x".to_owned())]);
        }
    }

    #[test]
    fn insecure_needs_no_value() {
        assert_eq!(parse("--insecure").unwrap().settings, [(Setting::Insecure, "true".to_owned())]);
        assert_eq!(parse("--insecure=false").unwrap().settings, [(Setting::Insecure, "false".to_owned())]);
        assert!(parse("--insecure false").is_err(), "a word of its own is not its value");
    }

    #[test]
    fn wrong_words_are_refused_with_a_suggestion() {
        let error = parse("--memroy 1GiB").unwrap_err();
        assert!(error.contains("--memroy") && error.contains("--memory"), "{error}");
        assert!(parse("--memory").unwrap_err().contains("--memory <SIZE>"));
        assert!(parse("--memory 1 --memory 2").unwrap_err().contains("multiple times"));
        assert!(parse("--check-config --print-config").unwrap_err().contains("cannot be used with"));
        assert!(parse("more").unwrap_err().contains("more"));
    }

    #[test]
    fn help_offers_what_works() {
        let help = serve().render_long_help().to_string();
        for setting in Setting::all() {
            let flag = format!("--{} <", setting.names().flag);
            let flag = if setting == Setting::Insecure { "--insecure[=" } else { &flag };
            assert!(help.contains(flag), "{flag}\n{help}");
            assert!(help.contains(setting.names().environment), "{flag}\n{help}");
        }
        assert_eq!(help.lines().find(|line| line.len() > 120), None);
    }
}
