//! What COMMAND tells of the commands.

use alloc::vec::Vec;

use super::encode::{Version, array, map, null, number, text};
use super::table::{self, COMMANDS, NAME_BYTES_MAX, Spec};
use crate::places::Keys;

/// What is to be told.
#[derive(Clone, Copy, Debug)]
pub enum Described<'a> {
    /// How many there are.
    Count,
    /// Their names.
    List,
    /// What clients have to know of these; `None`: of all.
    Info(Option<Keys<'a>>),
    /// What these are for; `None`: all.
    Docs(Option<Keys<'a>>),
}

/// Appends it.
pub(super) fn describe(out: &mut Vec<u8>, version: Version, described: &Described<'_>) {
    match described {
        Described::Count => number(out, b':', COMMANDS.len() as i64),
        Described::List => {
            array(out, COMMANDS.len());
            COMMANDS.iter().for_each(|spec| text(out, spec.name));
        }
        Described::Info(None) => {
            array(out, COMMANDS.len());
            COMMANDS.iter().for_each(|spec| info(out, spec));
        }
        Described::Info(Some(names)) => {
            array(out, names.len());
            for name in names.iter() {
                match find(name) {
                    Some(spec) => info(out, spec),
                    None => null(out, version),
                }
            }
        }
        Described::Docs(names) => {
            let named: Option<Vec<&Spec>> = names.map(|names| names.iter().filter_map(find).collect());
            let len = named.as_ref().map_or(COMMANDS.len(), Vec::len);
            map(out, version, len);
            match named {
                None => COMMANDS.iter().for_each(|spec| docs(out, version, spec)),
                Some(named) => named.into_iter().for_each(|spec| docs(out, version, spec)),
            }
        }
    }
}

fn find(name: &[u8]) -> Option<&'static Spec> {
    let mut buffer = [0; NAME_BYTES_MAX];
    table::find(super::decode::lower(name, &mut buffer))
}

/// Ten things about a command, of which the last three are for other kinds of commands.
fn info(out: &mut Vec<u8>, spec: &Spec) {
    array(out, 10);
    text(out, spec.name);
    number(out, b':', spec.arity);
    let flags = spec.flags.split(' ');
    array(out, flags.clone().count());
    flags.for_each(|flag| simple(out, flag));
    let (first, last, step) = spec.keys;
    [first, last, step].into_iter().for_each(|place| number(out, b':', place));
    // Its categories for access lists, of which there are none.
    (0..4).for_each(|_| array(out, 0));
}

fn docs(out: &mut Vec<u8>, version: Version, spec: &Spec) {
    text(out, spec.name);
    map(out, version, 3);
    for (name, value) in [("summary", spec.summary), ("since", "1.0.0"), ("group", spec.group)] {
        text(out, name);
        text(out, value);
    }
}

fn simple(out: &mut Vec<u8>, word: &str) {
    out.push(b'+');
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(b"\r\n");
}
