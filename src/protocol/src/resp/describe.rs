//! COMMAND: what it tells of the commands.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::connection::Session;
use super::decode::{Arguments, Asked, Decoded, Own, SYNTAX, lower};
use super::encode::{Version, array, bulk, map, null, number, set, simple, text};
use super::table::{self, COMMANDS, NAME_BYTES_MAX, PARTS, Spec, Which};
use crate::places::Keys;

/// What is to be told.
#[derive(Clone, Copy, Debug)]
pub enum Described<'a> {
    /// How many there are.
    Count,
    /// The names of all, and of their parts.
    List,
    /// The same of this category.
    OfCategory(&'a [u8]),
    /// What clients have to know of these; `None`: of all.
    Info(Option<Keys<'a>>),
    /// What these are for; `None`: all.
    Docs(Option<Keys<'a>>),
    /// The keys among these arguments of a command.
    Keys {
        /// The command, and what it is said with.
        spec: &'static Spec,
        /// Its name among them.
        arguments: Keys<'a>,
        /// And what happens to them.
        with_access: bool,
    },
}

/// The categories that Valkey's access lists have and commands here belong to, in its order.
const CATEGORIES: [&str; 11] = [
    "keyspace",
    "read",
    "write",
    "string",
    "admin",
    "fast",
    "slow",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// What COMMAND, or a part of it of this name, asks for.
pub(super) fn decode<'a>(name: &str, all: Arguments<'a>) -> Decoded<'a> {
    let behind = || Keys::new(all.0.frame(), &all.0.spans()[2..]);
    let named = || (all.len() > 2).then(behind);
    let described = match name {
        // Who asks for one more than once does so with a big answer.
        "command|info" | "command|docs" if all.len() - 2 > Which::COUNT => {
            return Err("ERR too many names of commands".into());
        }
        "command" => Described::Info(None),
        "command|count" => Described::Count,
        "command|info" => Described::Info(named()),
        "command|docs" => Described::Docs(named()),
        "command|list" => return list(all),
        "command|getkeys" | "command|getkeysandflags" => keys(behind(), name.ends_with("flags"))?,
        _ => unreachable!("{name} is in the table"),
    };
    Ok(Asked::Own(Own::Described(described)))
}

/// COMMAND LIST [FILTERBY (MODULE name | ACLCAT category | PATTERN pattern)].
fn list<'a>(all: Arguments<'a>) -> Decoded<'a> {
    if all.len() == 2 {
        return Ok(Asked::Own(Own::Described(Described::List)));
    }
    let (mut buffer, mut other) = ([0; NAME_BYTES_MAX], [0; NAME_BYTES_MAX]);
    if all.len() != 5 || lower(all.at(2), &mut buffer) != b"filterby" {
        return Err(SYNTAX.into());
    }
    match lower(all.at(3), &mut other) {
        // There are no modules.
        b"module" => Ok(Asked::Own(Own::Nothing)),
        b"aclcat" => Ok(Asked::Own(Own::Described(Described::OfCategory(all.at(4))))),
        b"pattern" => Ok(Asked::Session(Session::Commands(all.at(4)))),
        _ => Err(SYNTAX.into()),
    }
}

fn keys<'a>(arguments: Keys<'a>, with_access: bool) -> Result<Described<'a>, Cow<'static, str>> {
    let all = Arguments(arguments);
    let which = table::look_up(all).ok_or("ERR Invalid command specified")?;
    let spec = which.spec();
    if spec.keys.0 == 0 {
        return Err("ERR The command has no key arguments".into());
    }
    if !spec.takes(all.len()) {
        return Err("ERR Invalid number of arguments specified for command".into());
    }
    Ok(Described::Keys { spec, arguments, with_access })
}

/// Every command, and every part.
pub fn commands() -> impl Iterator<Item = &'static Spec> {
    COMMANDS.iter().chain(&PARTS)
}

/// Appends it.
pub(super) fn describe(out: &mut Vec<u8>, version: Version, described: &Described<'_>) {
    match *described {
        Described::Count => number(out, b':', COMMANDS.len() as i64),
        Described::List => names(out, |_| true),
        Described::OfCategory(category) => {
            let mut buffer = [0; NAME_BYTES_MAX];
            let category = lower(category, &mut buffer);
            names(out, |spec| CATEGORIES.iter().any(|known| known.as_bytes() == category && is_in(spec, known)));
        }
        Described::Info(None) => {
            array(out, COMMANDS.len());
            COMMANDS.iter().for_each(|spec| info(out, version, spec));
        }
        Described::Info(Some(names)) => {
            array(out, names.len());
            for name in names.iter() {
                match table::find_full(name) {
                    Some(spec) => info(out, version, spec),
                    None => null(out, version),
                }
            }
        }
        Described::Docs(None) => {
            map(out, version, COMMANDS.len());
            COMMANDS.iter().for_each(|spec| docs(out, version, spec));
        }
        Described::Docs(Some(names)) => {
            let named: Vec<&Spec> = names.iter().filter_map(table::find_full).collect();
            map(out, version, named.len());
            named.into_iter().for_each(|spec| docs(out, version, spec));
        }
        Described::Keys { spec, arguments, with_access } => {
            let all = Arguments(arguments);
            let (first, last, step) = spec.keys;
            let last = if last < 0 { all.len() as i64 + last } else { last };
            let places = (first..=last).step_by(step as usize);
            array(out, places.clone().count());
            for place in places {
                let key = all.at(place as usize);
                if with_access {
                    array(out, 2);
                }
                bulk(out, key.len(), |out| out.extend_from_slice(key));
                if with_access {
                    words(out, version, access(spec, all));
                }
            }
        }
    }
}

/// The names of those that are meant.
fn names(out: &mut Vec<u8>, is_meant: impl Fn(&Spec) -> bool) {
    array(out, commands().filter(|spec| is_meant(spec)).count());
    commands().filter(|spec| is_meant(spec)).for_each(|spec| text(out, spec.name));
}

/// What a command does with its keys: SET reads the value only if it is to be told.
fn access(spec: &Spec, all: Arguments<'_>) -> &'static str {
    match spec.name {
        "set" if all.from(3).any(|word| word.eq_ignore_ascii_case(b"get")) => "RW access update",
        _ => spec.access,
    }
}

/// Ten things about a command.
fn info(out: &mut Vec<u8>, version: Version, spec: &Spec) {
    array(out, 10);
    text(out, spec.name);
    number(out, b':', spec.arity);
    words(out, version, spec.flags);
    let (first, last, step) = spec.keys;
    [first, last, step].into_iter().for_each(|place| number(out, b':', place));
    let categories = || CATEGORIES.iter().filter(|category| is_in(spec, category));
    set(out, version, categories().count());
    categories().for_each(|category| simple(out, &["@", category]));
    // Hints for clients of a cluster, and what is to be known of keys that are not where they are said to be above.
    (0..2).for_each(|_| array(out, 0));
    array(out, spec.parts().len());
    spec.parts().iter().for_each(|part| info(out, version, part));
}

/// Whether a command belongs to a category, most of which follow from what it does and is about.
fn is_in(spec: &Spec, category: &str) -> bool {
    let command = spec.name.split('|').next().unwrap_or_default();
    let is_about = |group: &str| spec.group == group && !spec.has_parts;
    match category {
        "keyspace" => is_about("generic") || matches!(command, "dbsize" | "flushall" | "flushdb"),
        "read" => spec.is("readonly"),
        "write" => spec.is("write"),
        "string" => is_about("string"),
        "admin" => spec.is("admin"),
        "fast" => spec.is("fast"),
        "slow" => !spec.is("fast"),
        "dangerous" => spec.is("admin") || matches!(command, "flushall" | "flushdb" | "info" | "keys"),
        "connection" => is_about("connection") || command == "command",
        "transaction" => is_about("transactions"),
        "scripting" => is_about("scripting"),
        _ => false,
    }
}

fn docs(out: &mut Vec<u8>, version: Version, spec: &Spec) {
    text(out, spec.name);
    let parts = spec.parts();
    map(out, version, 3 + usize::from(spec.has_parts));
    for (name, value) in [("summary", spec.summary), ("since", "1.0.0"), ("group", spec.group)] {
        text(out, name);
        text(out, value);
    }
    if spec.has_parts {
        text(out, "subcommands");
        map(out, version, parts.len());
        parts.iter().for_each(|part| docs(out, version, part));
    }
}

/// Words with blanks between them.
fn words(out: &mut Vec<u8>, version: Version, text: &str) {
    set(out, version, text.split_whitespace().count());
    text.split_whitespace().for_each(|word| simple(out, &[word]));
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use super::super::{Keyspace, Places, Reader, ReaderLimits, decode, encode_own};
    use super::*;

    /// What a connection answers by itself to this line.
    fn own(line: &str) -> String {
        let line = format!("{line}\n");
        let limits = ReaderLimits { argument_bytes_max: 99, command_bytes_max: 999, is_stranger: false };
        let (mut reader, mut places) = (Reader::default(), Places::default());
        reader.read(line.as_bytes(), limits).expect("it is a line").expect("it is whole");
        let asked = decode(reader.arguments(line.as_bytes()), &Keyspace::new(0, None), &mut places, 0);
        let Asked::Own(own) = asked else { panic!("{line} is {asked:?}") };
        let mut out = Vec::new();
        encode_own(&mut out, Version::Two, &own);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn commands_are_described() {
        let mut out = Vec::new();
        for (described, version) in [
            (Described::Count, Version::Two),
            (Described::Info(None), Version::Two),
            (Described::Docs(None), Version::Three),
            (Described::List, Version::Two),
        ] {
            out.clear();
            encode_own(&mut out, version, &Own::Described(described));
            assert!(out.len() > 3, "{described:?}");
        }
        assert!(String::from_utf8(out).expect("text").starts_with("*110\r\n$6\r\nappend\r\n"));
        let get = "*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n\
            *3\r\n+@read\r\n+@string\r\n+@fast\r\n*0\r\n*0\r\n*0\r\n";
        assert_eq!(own("command info get nothing get|key"), format!("*3\r\n{get}$-1\r\n$-1\r\n"));
        assert!(
            own("command info CONFIG|GET").starts_with("*1\r\n*10\r\n$10\r\nconfig|get\r\n:-3\r\n*4\r\n+admin\r\n")
        );
        assert!(own("command docs client").contains("$11\r\nsubcommands\r\n*22\r\n$14\r\nclient|getname\r\n"));
    }

    #[test]
    fn keys_are_told_of_commands() {
        for (line, keys) in [
            ("get a", "a"),
            ("mset a 1 b 2", "a b"),
            ("del a b c", "a b c"),
            ("memory usage a samples 3", "a"),
            ("object encoding a", "a"),
        ] {
            let words: Vec<String> = keys.split(' ').map(|key| format!("$1\r\n{key}\r\n")).collect();
            let wanted = format!("*{}\r\n{}", words.len(), words.concat());
            assert_eq!(own(&format!("command getkeys {line}")), wanted, "{line}");
        }
        let told = |access: &str| format!("*1\r\n*2\r\n$1\r\na\r\n{access}");
        assert_eq!(own("command getkeysandflags set a b"), told("*2\r\n+OW\r\n+update\r\n"));
        assert_eq!(own("command getkeysandflags set a b ex 1 GET"), told("*3\r\n+RW\r\n+access\r\n+update\r\n"));
    }

    #[test]
    fn commands_are_listed_by_category() {
        assert_eq!(own("command list filterby aclcat nothing"), "*0\r\n");
        let connection = own("command list filterby aclcat Connection");
        assert!(
            connection.contains("client|list")
                && connection.contains("$4\r\nping")
                && !connection.contains("$3\r\nget")
        );
        let strings = own("command list filterby aclcat string");
        assert!(strings.starts_with("*21\r\n$6\r\nappend\r\n"), "{strings}");
    }

    #[test]
    fn every_command_with_parts_has_help() {
        for spec in commands().filter(|spec| spec.has_parts) {
            let help = own(&format!("{} help", spec.name));
            let name = spec.name.to_ascii_uppercase();
            assert!(help.contains(&format!("+{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n")));
            assert!(help.ends_with("+HELP\r\n+    Print this help.\r\n"), "{help}");
            let lines: usize = help[1..].split('\r').next().and_then(|count| count.parse().ok()).expect("a number");
            assert_eq!(lines, help.matches("\r\n").count() - 1);
        }
    }
}
