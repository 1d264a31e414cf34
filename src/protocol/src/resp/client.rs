//! CLIENT.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use super::arguments::integer;
use super::connection::Session;
use super::decode::{Arguments, Asked, Decoded, Own, SYNTAX, lower, quoted};
use super::table::NAME_BYTES_MAX;

/// CLIENT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client<'a> {
    /// The connection's number.
    Id,
    /// Its name.
    Name,
    /// Another name.
    SetName(&'a [u8]),
    /// Name and version of the client's library.
    SetInfo {
        /// Whether it is the version.
        is_version: bool,
        /// The text.
        text: &'a [u8],
    },
    /// All that is known of this connection.
    Info,
    /// All that is known of these.
    List(Box<Filter<'a>>),
    /// Close these.
    Kill {
        /// Which.
        filter: Box<Filter<'a>>,
        /// The old form: there has to be one, and OK says that it is closed.
        is_one: bool,
    },
    /// Whether commands are answered.
    Reply(ReplyMode),
}

/// Which connections are meant: those of which all of it is so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter<'a> {
    /// One with one of these numbers, which are sorted.
    pub ids: Option<Vec<u64>>,
    /// From this address.
    pub address: Option<&'a [u8]>,
    /// To this address.
    pub local: Option<&'a [u8]>,
    /// Not the one that asks.
    pub skips_self: bool,
    /// There for so many seconds at least; 0: however short.
    pub age_s_min: u64,
    /// Of a kind that there is none of here.
    pub is_of_other_kind: bool,
}

impl Filter<'_> {
    /// Whether a number may be meant.
    pub fn has_id(&self, id: u64) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.binary_search(&id).is_ok())
    }
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// Every command is answered.
    #[default]
    On,
    /// None is.
    Off,
    /// The next one is not.
    Skip,
}

/// What a part of CLIENT of this name asks for.
pub(super) fn decode<'a>(name: &str, all: Arguments<'a>) -> Decoded<'a> {
    let mut buffer = [0; NAME_BYTES_MAX];
    let client = match name {
        "client|id" => Client::Id,
        "client|getname" => Client::Name,
        "client|setname" => {
            check_name(all.at(2), "Client names")?;
            Client::SetName(all.at(2))
        }
        "client|setinfo" => {
            let is_version = match lower(all.at(2), &mut buffer) {
                b"lib-name" => false,
                b"lib-ver" => true,
                _ => return Err(Cow::Owned(format!("ERR Unrecognized option '{}'", quoted(all.at(2))))),
            };
            check_name(all.at(3), if is_version { "lib-ver" } else { "lib-name" })?;
            Client::SetInfo { is_version, text: all.at(3) }
        }
        "client|info" => Client::Info,
        "client|list" if all.len() == 2 => Client::List(Box::default()),
        "client|list" if all.len() == 3 => return Err(SYNTAX.into()),
        "client|list" => Client::List(filter(all, false)?),
        "client|kill" if all.len() == 3 => {
            Client::Kill { filter: Box::new(Filter { address: Some(all.at(2)), ..Filter::default() }), is_one: true }
        }
        "client|kill" => Client::Kill { filter: filter(all, true)?, is_one: false },
        "client|no-evict" | "client|no-touch" => match lower(all.at(2), &mut buffer) {
            b"on" | b"off" => return Ok(Asked::Own(Own::Ok)),
            _ => return Err(SYNTAX.into()),
        },
        "client|reply" => Client::Reply(match lower(all.at(2), &mut buffer) {
            b"on" => ReplyMode::On,
            b"off" => ReplyMode::Off,
            b"skip" => ReplyMode::Skip,
            _ => return Err(SYNTAX.into()),
        }),
        _ => unreachable!("{name} is in the table"),
    };
    Ok(Asked::Session(Session::Client(client)))
}

/// Options from the third argument on, in Valkey's order of checks.
fn filter<'a>(all: Arguments<'a>, skips_self: bool) -> Result<Box<Filter<'a>>, Cow<'static, str>> {
    let mut filter = Filter { skips_self, ..Filter::default() };
    let (mut buffer, mut other) = ([0; NAME_BYTES_MAX], [0; NAME_BYTES_MAX]);
    let mut at = 2;
    while at < all.len() {
        let option = lower(all.at(at), &mut buffer);
        at += 1;
        if option == b"id" {
            at = ids(all, at, filter.ids.get_or_insert_default())?;
            continue;
        }
        if at == all.len() {
            return Err(SYNTAX.into());
        }
        let value = all.at(at);
        at += 1;
        match option {
            b"maxage" => {
                let age_s = integer(value).ok_or("ERR maxage is not an integer or out of range")?;
                let age_s = u64::try_from(age_s).ok().filter(|age_s| *age_s > 0);
                filter.age_s_min = age_s.ok_or("ERR maxage should be greater than 0")?;
            }
            b"type" => match lower(value, &mut other) {
                b"normal" => filter.is_of_other_kind = false,
                b"replica" | b"slave" | b"primary" | b"master" | b"pubsub" => filter.is_of_other_kind = true,
                _ => return Err(Cow::Owned(format!("ERR Unknown client type '{}'", quoted(value)))),
            },
            b"addr" => filter.address = Some(value),
            b"laddr" => filter.local = Some(value),
            b"user" if value == b"default" => {}
            b"user" => return Err(Cow::Owned(format!("ERR No such user '{}'", quoted(value)))),
            b"skipme" => {
                filter.skips_self = match lower(value, &mut other) {
                    b"yes" => true,
                    b"no" => false,
                    _ => return Err(SYNTAX.into()),
                }
            }
            _ => return Err(SYNTAX.into()),
        }
    }
    filter.ids.iter_mut().for_each(|ids| ids.sort_unstable());
    Ok(Box::new(filter))
}

/// Numbers from an argument on, as many as there are; returns where they end.
fn ids(all: Arguments<'_>, from: usize, ids: &mut Vec<u64>) -> Result<usize, Cow<'static, str>> {
    let mut at = from;
    while let Some(id) = integer(all.at(at)) {
        let id = u64::try_from(id).ok().filter(|id| *id > 0);
        ids.push(id.ok_or("ERR client-id should be greater than 0")?);
        at += 1;
    }
    Ok(at)
}

pub(super) fn check_name(name: &[u8], what: &str) -> Result<(), Cow<'static, str>> {
    match name.iter().all(|byte| (b'!'..=b'~').contains(byte)) && name.len() <= crate::limits::CLIENT_NAME_BYTES_MAX {
        true => Ok(()),
        false => Err(Cow::Owned(format!("ERR {what} cannot contain spaces, newlines or special characters."))),
    }
}
