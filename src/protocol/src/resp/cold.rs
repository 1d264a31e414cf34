//! Commands on keys that are more than one request, or are told in a way of their own.

use super::Shape;
use super::decode::{Arguments, Asked, Decoded, Own, check_count, lower, placed, write, wrong_number};
use super::keyspace::Keyspace;
use super::options::exchange;
use super::plan::{Plan, Told};
use super::table::NAME_BYTES_MAX;
use crate::command::{Command, Condition, Expiry, TouchCondition, Write};
use crate::limits::VALUE_BYTES_MAX;

const NO_FREQUENCY: &str = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
    when switching between policies at runtime LRU and LFU data will take some time to adjust.";

/// What a command of this name asks for; `None`: it is not about keys.
pub(super) fn decode<'a>(name: &str, all: Arguments<'a>, keyspace: &Keyspace<'_>, now_ms: u64) -> Option<Decoded<'a>> {
    let one = || placed(keyspace, all.at(1));
    let look = |told: Told, value: bool| {
        let at = one()?;
        Ok(Asked::Plan(Plan::new(told).with(at, Command::Look { key: at.1, value })))
    };
    Some(match name {
        "getset" => one().map(|at| exchange(at, Command::Set(write(at.1, all.at(2))))),
        "getdel" => one().map(|at| exchange(at, Command::Delete { key: at.1, version: 0 })),
        "append" => one().map(|at| append(at, all.at(2))),
        "strlen" => one().map(|at| get(at, Told::Length)),
        "getrange" | "substr" => get_range(all, keyspace),
        "setrange" => set_range(all, keyspace),
        "incrbyfloat" => one().map(|at| {
            let add = Command::AddDecimal { key: at.1, delta: all.at(2) };
            Asked::Plan(Plan::new(Told::Decimal).with(at, add))
        }),
        "msetnx" => set_all_absent(all, keyspace),
        "exists" => each(all, keyspace, Told::Sum, |key| Command::Look { key, value: false }),
        "touch" => each(all, keyspace, Told::Sum, |key| Command::Touch {
            key,
            expiry: Expiry::Keep,
            only: TouchCondition::Always,
        }),
        "persist" => one().map(|(group, key)| {
            let touch = Command::Touch { key, expiry: Expiry::Never, only: TouchCondition::Expiring };
            Asked::Command(group, touch, Shape::Flag)
        }),
        "ttl" => look(Told::Left(1_000), false),
        "pttl" => look(Told::Left(1), false),
        "expiretime" => look(Told::ExpiresAt(1_000), false),
        "pexpiretime" => look(Told::ExpiresAt(1), false),
        "type" => look(Told::Kind, false),
        "object|encoding" => object(all, keyspace, Told::Encoding),
        "object|idletime" => object(all, keyspace, Told::Idle(now_ms)),
        "object|refcount" => object(all, keyspace, Told::One),
        "object|freq" => object(all, keyspace, Told::Refusal(NO_FREQUENCY)),
        "memory|usage" => usage(all, keyspace),
        "memory|doctor" => Ok(Asked::Own(Own::Echo(b"Larder does not need a doctor: see its metrics"))),
        _ => return None,
    })
}

/// A request for each key, whose replies are told together.
pub(super) fn each<'a>(
    all: Arguments<'a>,
    keyspace: &Keyspace<'_>,
    told: Told,
    command: impl Fn(&'a [u8]) -> Command<'a>,
) -> Decoded<'a> {
    check_count(all.len() - 1)?;
    let mut plan = Plan::new(told);
    for key in all.from(1) {
        let at = placed(keyspace, key)?;
        plan = plan.with(at, command(at.1));
    }
    Ok(Asked::Plan(plan))
}

/// MSET of keys of several groups.
pub(super) fn set_each<'a>(all: Arguments<'a>, keyspace: &Keyspace<'_>) -> Decoded<'a> {
    let mut plan = Plan::new(Told::All);
    for index in (1..all.len()).step_by(2) {
        let at = placed(keyspace, all.at(index))?;
        plan = plan.with(at, Command::Set(write(at.1, all.at(index + 1))));
    }
    Ok(Asked::Plan(plan))
}

/// MSETNX.
fn set_all_absent<'a>(all: Arguments<'a>, keyspace: &Keyspace<'_>) -> Decoded<'a> {
    if all.len().is_multiple_of(2) {
        return Err(wrong_number("msetnx"));
    }
    check_count(all.len() / 2)?;
    let mut plan = Plan::new(Told::IfAbsent);
    for index in (1..all.len()).step_by(2) {
        let at = placed(keyspace, all.at(index))?;
        plan = plan.with(at, Command::Check { key: at.1, version: 0, expires_at_ms: None });
    }
    for index in (1..all.len()).step_by(2) {
        let at = placed(keyspace, all.at(index))?;
        plan = plan.with(at, Command::Set(write(at.1, all.at(index + 1))));
    }
    Ok(Asked::Plan(plan.at_one_go()))
}

fn get<'a>(at: (u64, &[u8]), told: Told) -> Asked<'a> {
    Asked::Plan(Plan::new(told).with(at, Command::Get { key: at.1 }))
}

/// An entry that is not there is created empty first.
fn append<'a>(at: (u64, &[u8]), value: &[u8]) -> Asked<'a> {
    let empty = Write { condition: Condition::Absent, ..write(at.1, b"") };
    let append = Command::Append { key: at.1, value };
    Asked::Plan(Plan::new(Told::NewLength).with(at, Command::Set(empty)).with(at, append).at_one_go())
}

fn get_range<'a>(all: Arguments<'a>, keyspace: &Keyspace<'_>) -> Decoded<'a> {
    let (from, to) = (all.integer(2)?, all.integer(3)?);
    Ok(get(placed(keyspace, all.at(1))?, Told::Range(from, to)))
}

fn set_range<'a>(all: Arguments<'a>, keyspace: &Keyspace<'_>) -> Decoded<'a> {
    let offset = u64::try_from(all.integer(2)?).map_err(|_| "ERR offset is out of range")?;
    let (at, value) = (placed(keyspace, all.at(1))?, all.at(3));
    if value.is_empty() {
        return Ok(get(at, Told::Length));
    }
    if offset.saturating_add(value.len() as u64) > VALUE_BYTES_MAX as u64 {
        return Err("ERR string exceeds maximum allowed size (proto-max-bulk-len)".into());
    }
    Ok(Asked::Plan(Plan::new(Told::NewLength).with(at, Command::Patch { key: at.1, offset, value })))
}

fn object<'a>(all: Arguments<'a>, keyspace: &Keyspace<'_>, told: Told) -> Decoded<'a> {
    let at = placed(keyspace, all.at(2))?;
    let value = told == Told::Encoding;
    Ok(Asked::Plan(Plan::new(told).with(at, Command::Look { key: at.1, value })))
}

/// MEMORY USAGE key [SAMPLES count].
fn usage<'a>(all: Arguments<'a>, keyspace: &Keyspace<'_>) -> Decoded<'a> {
    let mut buffer = [0; NAME_BYTES_MAX];
    match all.len() {
        3 => {}
        5 if lower(all.at(3), &mut buffer) == b"samples" => {
            all.integer(4)?;
        }
        _ => return Err(super::decode::SYNTAX.into()),
    }
    let at = placed(keyspace, all.at(2))?;
    let told = Told::Usage(at.1.len() as u64);
    Ok(Asked::Plan(Plan::new(told).with(at, Command::Look { key: at.1, value: false })))
}
