//! The first stage: settings as texts, each with its source, the strongest source taken.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{ConfigError, Fault, Warning};
use super::file::{self, GivenGroup};
use super::flags::ServeFlags;
use super::nearest::nearest;
use super::setting::Setting;

/// The environment variable that names the configuration file.
pub(super) const CONFIG_VARIABLE: &str = "LARDER_CONFIG";
const PREFIX: &str = "LARDER_";

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// On the command line, by this flag without its dashes.
    Flag(&'static str),
    /// In this environment variable.
    Environment(&'static str),
    /// In the configuration file.
    File {
        /// Its path as it was named.
        path: Arc<Path>,
        /// The line, from 1.
        line: usize,
    },
    /// Nowhere: it is the default, which is described.
    Default(&'static str),
    /// By somebody while the server runs: where or how is described.
    Running(&'static str),
}

/// A text that somebody wrote somewhere.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) source: Source,
}

/// All that was given, before anything is understood.
#[derive(Debug, Default)]
pub(super) struct Given {
    settings: Vec<(Setting, Text)>,
    pub(super) groups: Vec<GivenGroup>,
}

impl Given {
    /// Takes every setting from the strongest source that names it.
    pub(super) fn collect(
        flags: &ServeFlags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(Self, Vec<Warning>), ConfigError> {
        let mut given = Given::default();
        for (setting, text) in &flags.settings {
            given.add(*setting, Text { text: text.clone(), source: Source::Flag(setting.names().flag) });
        }
        let (config_variable, warnings) = given.add_environment(environment)?;

        let config = match &flags.config {
            Some(path) => Some((path.clone(), Source::Flag("config"))),
            None => config_variable.map(|path| (path, Source::Environment(CONFIG_VARIABLE))),
        };
        if let Some((path, source)) = config {
            let file = file::read(&path, source)?;
            for (setting, text) in file.settings {
                given.add(setting, text);
            }
            given.groups = file.groups;
        }
        Ok((given, warnings))
    }

    /// What was given for a setting.
    pub(super) fn text(&self, setting: Setting) -> Option<&Text> {
        self.settings.iter().find(|(known, _)| *known == setting).map(|(_, text)| text)
    }

    /// Adds a setting unless a stronger source had it.
    fn add(&mut self, setting: Setting, text: Text) {
        if self.text(setting).is_none() {
            self.settings.push((setting, text));
        }
    }

    /// Variables with our prefix that are not ours are no error: orchestrators make such for a service of our name.
    fn add_environment(
        &mut self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(Option<PathBuf>, Vec<Warning>), ConfigError> {
        let mut config = None;
        let mut warnings = Vec::new();
        for (name, value) in environment {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            if name == CONFIG_VARIABLE {
                config = Some(PathBuf::from(value));
            } else if let Some(setting) = Setting::all().find(|setting| setting.names().environment == name) {
                let source = Source::Environment(setting.names().environment);
                let text = value.into_string().map_err(|value| ConfigError::Refused {
                    name: setting.names().key.to_owned(),
                    value: value.to_string_lossy().into_owned(),
                    given_by: source.clone(),
                    fault: Fault::new("it is not UTF-8", "write it in UTF-8"),
                })?;
                self.add(setting, Text { text, source });
            } else {
                let known = Setting::all().map(|it| it.names().environment);
                let known = known.chain([CONFIG_VARIABLE]).map(|known| &known[PREFIX.len()..]);
                warnings.extend(nearest(&name[PREFIX.len()..], known).map(|nearest| Warning::EnvironmentUnknown {
                    name: name.to_owned(),
                    nearest: format!("{PREFIX}{nearest}"),
                }));
            }
        }
        Ok((config, warnings))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(flag) => write!(formatter, "--{flag}"),
            Source::Environment(name) => write!(formatter, "the environment variable {name}"),
            Source::File { path, line } => write!(formatter, "{}:{line}", path.display()),
            Source::Default(description) => write!(formatter, "the default, {description}"),
            Source::Running(description) => formatter.write_str(description),
        }
    }
}
