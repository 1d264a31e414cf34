//! `larder.toml` as it is written: which keys there are, and on which lines. What values mean is not known here.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Fault};
use super::given::{Source, Text};
use super::nearest::nearest;
use super::setting::Setting;
use crate::limits::{CONFIG_FILE_BYTES_MAX, GROUPS_MAX};

pub(super) const GROUP_KEYS: [&str; 8] =
    ["name", "memory", "policy", "ttl", "ttl_jitter", "stale_while_revalidate", "stale_if_error", "origin"];
pub(super) const ORIGIN_KEYS: [&str; 7] =
    ["url", "timeout", "max_concurrent", "queue", "negative_ttl", "early_refresh", "headers"];
/// Keys that hold further keys.
const TABLES: [&str; 5] = ["listen", "cluster", "limits", "group", "resp"];

/// What a file says.
#[derive(Debug)]
pub(super) struct GivenFile {
    pub(super) settings: Vec<(Setting, Text)>,
    pub(super) groups: Vec<GivenGroup>,
}

/// One `[[group]]`.
#[derive(Debug)]
pub(super) struct GivenGroup {
    pub(super) name: Text,
    pub(super) memory: Option<Text>,
    pub(super) policy: Option<Text>,
    pub(super) ttl: Option<Text>,
    pub(super) ttl_jitter: Option<Text>,
    pub(super) stale_while_revalidate: Option<Text>,
    pub(super) stale_if_error: Option<Text>,
    pub(super) origin: Option<GivenOrigin>,
}

/// A `[group.origin]`.
#[derive(Debug)]
pub(super) struct GivenOrigin {
    pub(super) source: Source,
    pub(super) url: Option<Text>,
    pub(super) timeout: Option<Text>,
    pub(super) max_concurrent: Option<Text>,
    pub(super) queue: Option<Text>,
    pub(super) negative_ttl: Option<Text>,
    pub(super) early_refresh: Option<Text>,
    pub(super) headers: Vec<Text>,
}

/// Reads a file. `named_by` is where its path was named.
pub(super) fn read(path: &Path, named_by: Source) -> Result<GivenFile, ConfigError> {
    let unreadable =
        |problem: String| ConfigError::Unreadable { path: path.to_owned(), given_by: named_by.clone(), problem };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(CONFIG_FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > CONFIG_FILE_BYTES_MAX {
        return Err(unreadable(format!("it is longer than {CONFIG_FILE_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| unreadable(format!("it is not UTF-8: {error}")))?;
    parse(path, &text)
}

/// Understands the text of a file.
fn parse(path: &Path, text: &str) -> Result<GivenFile, ConfigError> {
    let place = Place { path: path.into(), text };
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| place.line(span)),
        message: error.message().to_owned(),
    })?;
    let mut file = GivenFile { settings: Vec::new(), groups: Vec::new() };
    place.read_table("", table.get_ref(), &mut file)?;
    Ok(file)
}

/// A file, to say where in it something stands.
struct Place<'a> {
    path: Arc<Path>,
    text: &'a str,
}

impl Place<'_> {
    /// `prefix` is the table's own key with a dot behind it, or nothing.
    fn read_table(&self, prefix: &str, table: &DeTable<'_>, file: &mut GivenFile) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            if let Some(setting) = Setting::all().find(|setting| setting.names().key == key) {
                file.settings.push((setting, self.text(&key, value)?));
                continue;
            }
            match value.get_ref() {
                DeValue::Array(groups) if key == "group" => self.read_groups(groups, file)?,
                DeValue::Table(table) if TABLES.contains(&key.as_str()) && key != "group" => {
                    self.read_table(&format!("{key}."), table, file)?;
                }
                _ if key == "group" => {
                    let fault =
                        Fault::new("it is not a list of tables", "write [[group]] above each group, in two brackets");
                    return Err(self.shape(&key, value.span(), fault));
                }
                _ if TABLES.contains(&key.as_str()) => {
                    return Err(self.shape(
                        &key,
                        value.span(),
                        Fault::new("it is not a table", format!("write [{key}]")),
                    ));
                }
                _ => return Err(self.unknown(&key, name.span())),
            }
        }
        Ok(())
    }

    fn read_groups(&self, groups: &[Spanned<DeValue<'_>>], file: &mut GivenFile) -> Result<(), ConfigError> {
        for (index, value) in groups.iter().enumerate() {
            if index == GROUPS_MAX {
                let problem = format!("there are {} groups", groups.len());
                let fault = Fault::new(problem, format!("have at most {GROUPS_MAX}"));
                return Err(self.shape("group", value.span(), fault));
            }
            let DeValue::Table(table) = value.get_ref() else {
                let fault = Fault::new("it is not a list of tables", "write [[group]] above each group");
                return Err(self.shape("group", value.span(), fault));
            };
            file.groups.push(self.read_group(value.span(), table)?);
        }
        Ok(())
    }

    fn read_group(&self, span: Range<usize>, table: &DeTable<'_>) -> Result<GivenGroup, ConfigError> {
        for name in table.keys() {
            match name.get_ref().as_ref() {
                name if GROUP_KEYS.contains(&name) => {}
                unknown => return Err(self.unknown(&format!("group.{unknown}"), name.span())),
            }
        }
        let text = |name: &str| table.get(name).map(|value| self.text(&format!("group.{name}"), value)).transpose();
        let name = text("name")?.ok_or_else(|| {
            self.shape("group", span, Fault::new("it has no name", "write name = \"…\" below its [[group]]"))
        })?;
        let (memory, policy) = (text("memory")?, text("policy")?);
        let origin = table.get("origin").map(|value| self.read_origin(value)).transpose()?;
        Ok(GivenGroup {
            name,
            memory,
            policy,
            ttl: text("ttl")?,
            ttl_jitter: text("ttl_jitter")?,
            stale_while_revalidate: text("stale_while_revalidate")?,
            stale_if_error: text("stale_if_error")?,
            origin,
        })
    }

    fn read_origin(&self, value: &Spanned<DeValue<'_>>) -> Result<GivenOrigin, ConfigError> {
        let DeValue::Table(table) = value.get_ref() else {
            let fault = Fault::new("it is not a table", "write [group.origin] below the group's own settings");
            return Err(self.shape("group.origin", value.span(), fault));
        };
        if let Some(unknown) = table.keys().find(|name| !ORIGIN_KEYS.contains(&name.get_ref().as_ref())) {
            return Err(self.unknown(&format!("group.origin.{}", unknown.get_ref()), unknown.span()));
        }
        let text =
            |name: &str| table.get(name).map(|value| self.text(&format!("group.origin.{name}"), value)).transpose();
        let headers = match table.get("headers") {
            None => Vec::new(),
            Some(list) => {
                let DeValue::Array(items) = list.get_ref() else {
                    let fault = Fault::new("it is not a list", "write headers = [\"Name: value\"]");
                    return Err(self.shape("group.origin.headers", list.span(), fault));
                };
                items.iter().map(|item| self.text("group.origin.headers", item)).collect::<Result<_, _>>()?
            }
        };
        Ok(GivenOrigin {
            source: Source::File { path: Arc::clone(&self.path), line: self.line(value.span()) },
            url: text("url")?,
            timeout: text("timeout")?,
            max_concurrent: text("max_concurrent")?,
            queue: text("queue")?,
            negative_ttl: text("negative_ttl")?,
            early_refresh: text("early_refresh")?,
            headers,
        })
    }

    /// A value as it would be written on the command line.
    fn text(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Text, ConfigError> {
        let line = self.line(value.span());
        let text = match value.get_ref() {
            DeValue::Array(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.scalar(key, item)).collect();
                items?.join(",")
            }
            _ => self.scalar(key, value)?,
        };
        Ok(Text { text, source: Source::File { path: Arc::clone(&self.path), line } })
    }

    fn scalar(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<String, ConfigError> {
        let type_name = match value.get_ref() {
            DeValue::String(text) => return Ok(text.as_ref().to_owned()),
            DeValue::Integer(number) => return Ok(number.to_string()),
            DeValue::Boolean(truth) => return Ok(truth.to_string()),
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let fault =
            Fault::new(format!("{type_name} cannot be its value"), "write a text in double quotes, or a whole number");
        Err(self.shape(key, value.span(), fault))
    }

    fn unknown(&self, key: &str, span: Range<usize>) -> ConfigError {
        ConfigError::UnknownKey {
            path: self.path.to_path_buf(),
            line: self.line(span),
            key: key.to_owned(),
            nearest: known_key(key),
        }
    }

    fn shape(&self, key: &str, span: Range<usize>, fault: Fault) -> ConfigError {
        ConfigError::Shape { path: self.path.to_path_buf(), line: self.line(span), key: key.to_owned(), fault }
    }

    /// The line that something begins on, from 1.
    fn line(&self, span: Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// The known key that may have been meant: one like it as a whole, or one in another table whose last part is like its
/// last part.
fn known_key(unknown: &str) -> Option<String> {
    let settings = Setting::all().map(|it| it.names().key.to_owned());
    let groups = GROUP_KEYS.iter().map(|key| format!("group.{key}"));
    let origins = ORIGIN_KEYS.iter().map(|key| format!("group.origin.{key}"));
    let known: Vec<String> = settings.chain(groups).chain(origins).chain(TABLES.map(str::to_owned)).collect();
    if let Some(whole) = nearest(unknown, known.iter().map(String::as_str)) {
        return Some(whole.to_owned());
    }
    let last = nearest(last_part(unknown), known.iter().map(|key| last_part(key)))?;
    known.iter().find(|key| last_part(key) == last).cloned()
}

fn last_part(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(Path::new("larder.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn every_setting_has_its_key() {
        for setting in Setting::all() {
            let key = setting.names().key;
            let file = parse(Path::new("larder.toml"), &format!("\n{key} = \"x\"")).unwrap();
            let [(found, text)] = file.settings.as_slice() else { panic!("{key}") };
            assert_eq!((*found, text.text.as_str()), (setting, "x"));
            assert_eq!(text.source.to_string(), "larder.toml:2");
        }
    }

    #[test]
    fn every_type_that_can_be_a_value_is_one() {
        let text = "memory = 1024\ncores = [0, 1, \"3-4\"]\ninsecure = true\ncluster = { seed = 0xff, name = 'a' }\n";
        let file = parse(Path::new("larder.toml"), text).unwrap();
        let mut texts: Vec<_> = file.settings.iter().map(|(setting, text)| (*setting, text.text.as_str())).collect();
        texts.sort_unstable();
        let expected = [
            (Setting::Memory, "1024"),
            (Setting::Cores, "0,1,3-4"),
            (Setting::Insecure, "true"),
            (Setting::Cluster, "a"),
            (Setting::Seed, "0xff"),
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn unknown_keys_name_the_line_and_the_nearest_known_one() {
        for (text, message) in [
            ("\n\nmemroy = 1", "larder.toml:3: there is no setting \"memroy\"; did you mean \"memory\"?"),
            ("[listne]\nnative = 1", "larder.toml:1: there is no setting \"listne\"; did you mean \"listen\"?"),
            (
                "[listen]\nnatvie = 1",
                "larder.toml:2: there is no setting \"listen.natvie\"; did you mean \"listen.native\"?",
            ),
            ("native = 1", "larder.toml:1: there is no setting \"native\"; did you mean \"listen.native\"?"),
            ("node_id = 1", "larder.toml:1: there is no setting \"node_id\"; did you mean \"cluster.node_id\"?"),
            (
                "[[group]]\nname = \"a\"\ntlt = 1",
                "larder.toml:3: there is no setting \"group.tlt\"; did you mean \"group.ttl\"?",
            ),
            ("[memory]\nx = 1", "larder.toml:1: memory: a table cannot be its value"),
            ("colour = 1", "larder.toml:1: there is no setting \"colour\": see `larder serve --print-config`"),
        ] {
            assert!(error(text).starts_with(message), "{text}\n{}\n{message}", error(text));
        }
    }

    #[test]
    fn wrong_shapes_are_refused_with_their_line() {
        for (text, message) in [
            ("memory = 1.5", "larder.toml:1: memory: a number with a fraction cannot be its value"),
            ("memory = 2020-01-01", "larder.toml:1: memory: a date or time cannot be its value"),
            ("cores = [[0]]", "larder.toml:1: cores: a list cannot be its value"),
            ("listen = 7400", "larder.toml:1: listen: it is not a table: write [listen]"),
            ("[group]\nname = 'a'", "larder.toml:1: group: it is not a list of tables"),
            ("group = [1]", "larder.toml:1: group: it is not a list of tables"),
            ("\n[[group]]\nmemory = 1", "larder.toml:2: group: it has no name"),
            (
                "[[group]]\nname = 'a'\n[group.origin]\nurls = 'http://a/{key}'",
                "larder.toml:4: there is no setting \"group.origin.urls\"; did you mean \"group.origin.url\"?",
            ),
            (
                "[[group]]\nname = 'a'\norigin = 'b'",
                "larder.toml:3: group.origin: it is not a table: write [group.origin]",
            ),
            (
                "[[group]]\nname = 'a'\n[group.origin]\nheaders = 'X: y'",
                "larder.toml:4: group.origin.headers: it is not a list: write headers = [",
            ),
            ("memory = 1\nmemory = 2", "larder.toml:2: duplicate key"),
            ("memory = \n", "larder.toml:1: "),
            ("[listen", "larder.toml:1: "),
        ] {
            assert!(error(text).starts_with(message), "{text}\n{}\n{message}", error(text));
        }
        let deep = format!("memory = {}", "[".repeat(100_000));
        assert!(error(&deep).starts_with("larder.toml:1: "), "{}", error(&deep));
        let groups: String = (0..=GROUPS_MAX).map(|index| format!("[[group]]\nname = \"{index}\"\n")).collect();
        assert!(error(&groups).contains(&format!("there are {} groups: have at most", GROUPS_MAX + 1)));
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let read = |path: &Path| read(path, Source::Flag("config")).unwrap_err().to_string();
        let path = folder.path().join("none.toml");
        assert!(read(&path).contains("none.toml (from --config): No such file"), "{}", read(&path));
        assert!(read(folder.path()).contains("directory"), "{}", read(folder.path()));
        std::fs::write(&path, b"memory = \"\xff\"").unwrap();
        assert!(read(&path).contains("not UTF-8"), "{}", read(&path));
        std::fs::write(&path, vec![b'\n'; CONFIG_FILE_BYTES_MAX as usize + 1]).unwrap();
        assert!(read(&path).contains("longer than"), "{}", read(&path));
    }
}
