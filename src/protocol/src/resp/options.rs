//! Commands with options in any order.

use alloc::borrow::Cow;
use alloc::format;

use super::Shape;
use super::arguments::integer;
use super::decode::{Arguments, Asked, Decoded, NOT_AN_INTEGER, SYNTAX, lower, quoted, write};
use super::plan::{Plan, Told};
use super::table::NAME_BYTES_MAX;
use crate::command::{Command, Condition, Expiry, TouchCondition};

/// A time that an option names, which is looked at once all options are right.
struct Time<'a> {
    text: &'a [u8],
    unit_ms: i64,
    is_absolute: bool,
}

/// SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL].
pub(super) fn set<'a>(all: Arguments<'a>, at: (u64, &'a [u8]), now_ms: u64) -> Decoded<'a> {
    let mut write = write(at.1, all.at(2));
    let (mut wants_old, mut time, mut arguments) = (false, None, all.from(3));
    let mut buffer = [0; NAME_BYTES_MAX];
    while let Some(option) = arguments.next() {
        match lower(option, &mut buffer) {
            b"nx" if write.condition != Condition::Present => write.condition = Condition::Absent,
            b"xx" if write.condition != Condition::Absent => write.condition = Condition::Present,
            b"get" => wants_old = true,
            b"keepttl" if time.is_none() => write.expiry = Expiry::Keep,
            option if time.is_none() && write.expiry == Expiry::Default => {
                time = Some(Time::of(option, &mut arguments)?);
            }
            _ => return Err(Cow::Borrowed(SYNTAX)),
        }
    }
    if let Some(time) = time {
        write.expiry = time.expiry("set", now_ms)?;
    }
    if wants_old {
        return Ok(exchange(at, Command::Set(write)));
    }
    Ok(Asked::Command(at.0, Command::Set(write), Shape::Ok))
}

/// What was there, and a change.
pub(super) fn exchange<'a>(at: (u64, &[u8]), change: Command<'_>) -> Asked<'a> {
    let look = Command::Look { key: at.1, value: true };
    Asked::Plan(Plan::new(Told::Old).with(at, look).with(at, change).at_one_go())
}

/// GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST].
pub(super) fn get_ex<'a>(all: Arguments<'a>, (group, key): (u64, &'a [u8]), now_ms: u64) -> Decoded<'a> {
    let (mut lasts, mut time, mut arguments) = (false, None, all.from(2));
    let mut buffer = [0; NAME_BYTES_MAX];
    while let Some(option) = arguments.next() {
        match lower(option, &mut buffer) {
            b"persist" if time.is_none() => lasts = true,
            option if time.is_none() && !lasts => time = Some(Time::of(option, &mut arguments)?),
            _ => return Err(Cow::Borrowed(SYNTAX)),
        }
    }
    let command = match time {
        Some(time) => Command::GetAndTouch { key, expiry: time.expiry("getex", now_ms)? },
        None if lasts => Command::GetAndTouch { key, expiry: Expiry::Never },
        None => Command::Get { key },
    };
    Ok(Asked::Command(group, command, Shape::Value))
}

impl<'a> Time<'a> {
    /// EX, PX, EXAT or PXAT, with the time behind it.
    fn of(option: &[u8], arguments: &mut impl Iterator<Item = &'a [u8]>) -> Result<Self, Cow<'static, str>> {
        let (unit_ms, is_absolute) = match option {
            b"ex" => (1_000, false),
            b"px" => (1, false),
            b"exat" => (1_000, true),
            b"pxat" => (1, true),
            _ => return Err(Cow::Borrowed(SYNTAX)),
        };
        Ok(Self { text: arguments.next().ok_or(SYNTAX)?, unit_ms, is_absolute })
    }

    fn expiry(&self, name: &str, now_ms: u64) -> Result<Expiry, Cow<'static, str>> {
        let since_ms = if self.is_absolute { 0 } else { now_ms };
        let time_ms = lifetime(self.text, self.unit_ms, name, since_ms)?;
        Ok(if self.is_absolute { Expiry::At(time_ms) } else { Expiry::After(time_ms) })
    }
}

/// A time above 0, in ms, that ends within what 63 bits hold if it begins at `since_ms`.
pub(super) fn lifetime(text: &[u8], unit_ms: i64, name: &str, since_ms: u64) -> Result<u64, Cow<'static, str>> {
    let time = integer(text).ok_or(NOT_AN_INTEGER)?;
    let time_ms = time.checked_mul(unit_ms).and_then(|time_ms| u64::try_from(time_ms).ok());
    time_ms.filter(|time_ms| *time_ms > 0 && *time_ms <= ends_max(since_ms)).ok_or_else(|| invalid_time(name))
}

/// The longest time from a ms on.
fn ends_max(since_ms: u64) -> u64 {
    (i64::MAX as u64).saturating_sub(since_ms)
}

fn invalid_time(name: &str) -> Cow<'static, str> {
    Cow::Owned(format!("ERR invalid expire time in '{name}' command"))
}

/// EXPIRE and the like: key, time, [NX | XX | GT | LT]. One that is over has the key expire at once, which the engine does.
pub(super) fn expire<'a>(
    all: Arguments<'a>,
    (group, key): (u64, &'a [u8]),
    (unit_ms, is_absolute): (i64, bool),
    name: &str,
    now_ms: u64,
) -> Decoded<'a> {
    let only = touch_condition(all)?;
    let time = all.integer(2)?;
    let time_ms = time.checked_mul(unit_ms).ok_or_else(|| invalid_time(name))?;
    let expiry = match u64::try_from(time_ms) {
        Ok(time_ms @ 1..) if is_absolute => Expiry::At(time_ms),
        Ok(time_ms @ 1..) if time_ms > ends_max(now_ms) => return Err(invalid_time(name)),
        Ok(time_ms @ 1..) => Expiry::After(time_ms),
        _ => Expiry::At(1),
    };
    Ok(Asked::Command(group, Command::Touch { key, expiry, only }, Shape::Flag))
}

fn touch_condition(all: Arguments<'_>) -> Result<TouchCondition, Cow<'static, str>> {
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    let mut buffer = [0; NAME_BYTES_MAX];
    for option in all.from(3) {
        match lower(option, &mut buffer) {
            b"nx" => nx = true,
            b"xx" => xx = true,
            b"gt" => gt = true,
            b"lt" => lt = true,
            _ => return Err(Cow::Owned(format!("ERR Unsupported option {}", quoted(option)))),
        }
    }
    if nx && (xx || gt || lt) {
        return Err("ERR NX and XX, GT or LT options at the same time are not compatible".into());
    }
    if gt && lt {
        return Err("ERR GT and LT options at the same time are not compatible".into());
    }
    Ok(match (nx, xx, gt, lt) {
        (true, ..) => TouchCondition::Lasting,
        // What never expires cannot do so later.
        (_, _, true, _) => TouchCondition::Later,
        (_, true, _, true) => TouchCondition::ExpiringEarlier,
        (_, true, ..) => TouchCondition::Expiring,
        (_, _, _, true) => TouchCondition::Earlier,
        _ => TouchCondition::Always,
    })
}
