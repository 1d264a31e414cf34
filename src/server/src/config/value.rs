//! The grammar of values, and back: what is displayed reads as the same value.
//!
//! ```text
//! size  = number [unit]         unit: B, kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (of 1024); none: bytes
//! time  = number unit           unit: ms, s, m, h, d
//! cores = range { "," range }   range: number [ "-" number ]
//! ```
//!
//! Numbers are decimal integers. Units of size may be written in any case, and after a space.

use std::fmt;
use std::str::FromStr;

pub use larder_protocol::Size;

use super::error::Fault;
use crate::limits::CORES_MAX;

/// A span of time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Milliseconds(pub u64);

/// A short time in microseconds, written with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Microseconds(pub(super) u64);

/// Numbers of cores: ascending, at least one, none twice, all below [`CORES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores(Vec<usize>);

const SIZE_REMEDY: &str = "write a number of bytes, or a number with one of B, kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (powers of 1024)";
const TIME_REMEDY: &str = "write a number with one of ms, s, m, h, d, such as 500ms or 10m";
const SHORT_TIME_REMEDY: &str = "write off, or a number with one of us, ms, such as 50us";
const CORES_REMEDY: &str = "write numbers and ranges of cores, ascending and separated by commas, such as 0-7,16-23";
const NUMBER_REMEDY: &str = "write a number in digits";

const SIZE_UNITS: [(&str, u64); 9] = [
    ("b", 1),
    ("kb", 1000),
    ("mb", 1000_u64.pow(2)),
    ("gb", 1000_u64.pow(3)),
    ("tb", 1000_u64.pow(4)),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

const TIME_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SHORT_TIME_UNITS: [(&str, u64); 2] = [("us", 1), ("ms", 1000)];

impl FromStr for Milliseconds {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let (number, unit) = number_and_unit(text, TIME_REMEDY)?;
        if unit.is_empty() {
            return Err(Fault::new("it has no unit", TIME_REMEDY));
        }
        let factor = factor_of(&TIME_UNITS, unit)
            .ok_or_else(|| Fault::new(format!("\"{unit}\" is not a unit of time"), TIME_REMEDY))?;
        let ms = number.checked_mul(factor).ok_or_else(|| Fault::new("it is too long", TIME_REMEDY))?;
        Ok(Self(ms))
    }
}

impl FromStr for Microseconds {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let (number, unit) = number_and_unit(text, SHORT_TIME_REMEDY)?;
        let factor = factor_of(&SHORT_TIME_UNITS, unit)
            .ok_or_else(|| Fault::new(format!("\"{unit}\" is not a unit of such a time"), SHORT_TIME_REMEDY))?;
        let us = number.checked_mul(factor).ok_or_else(|| Fault::new("it is too long", SHORT_TIME_REMEDY))?;
        Ok(Self(us))
    }
}

impl fmt::Display for Milliseconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = TIME_UNITS
            .into_iter()
            .rev()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(("ms", 1));
        write!(formatter, "{}{unit}", self.0 / factor)
    }
}

impl Cores {
    /// From numbers in ascending order.
    ///
    /// # Panics
    /// If they are not in ascending order.
    pub fn new(numbers: Vec<usize>) -> Self {
        assert!(numbers.is_sorted_by(|a, b| a < b), "cores are in ascending order: {numbers:?}");
        Self(numbers)
    }

    /// The numbers, in ascending order.
    pub fn numbers(&self) -> &[usize] {
        &self.0
    }

    /// The numbers, in ascending order.
    pub fn into_numbers(self) -> Vec<usize> {
        self.0
    }
}

impl FromStr for Cores {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let mut numbers: Vec<usize> = Vec::new();
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (core(first)?, core(last)?);
            if first > last {
                let problem = format!("the range \"{}\" runs backwards", range.trim());
                return Err(Fault::new(problem, format!("write {last}-{first}")));
            }
            if let Some(&before) = numbers.last().filter(|before| **before >= first) {
                let problem = match numbers.contains(&first) {
                    true => format!("core {first} is named twice"),
                    false => format!("core {first} comes after core {before}"),
                };
                return Err(Fault::new(problem, CORES_REMEDY));
            }
            numbers.extend(first..=last);
        }
        Ok(Self(numbers))
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, run) in self.0.chunk_by(|a, b| a + 1 == *b).enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match run {
                [only] => write!(formatter, "{comma}{only}")?,
                _ => write!(formatter, "{comma}{}-{}", run[0], run[run.len() - 1])?,
            }
        }
        Ok(())
    }
}

/// A number of bytes.
pub(super) fn size(text: &str) -> Result<Size, Fault> {
    let (number, unit) = number_and_unit(text, SIZE_REMEDY)?;
    let unit_known = unit.to_ascii_lowercase();
    let factor = match unit_known.as_str() {
        "" => 1,
        "k" | "m" | "g" | "t" => {
            let letter = unit_known.to_ascii_uppercase();
            let decimal = if letter == "K" { "k" } else { letter.as_str() };
            return Err(Fault::new(
                format!("the unit \"{unit}\" is ambiguous"),
                format!("write {number}{letter}iB (powers of 1024) or {number}{decimal}B (powers of 1000)"),
            ));
        }
        _ => factor_of(&SIZE_UNITS, &unit_known)
            .ok_or_else(|| Fault::new(format!("\"{unit}\" is not a unit of size"), SIZE_REMEDY))?,
    };
    let bytes = number.checked_mul(factor).ok_or_else(|| Fault::new("it is too large", SIZE_REMEDY))?;
    Ok(Size(bytes))
}

/// A number in decimal digits.
pub(super) fn number(text: &str) -> Result<u64, Fault> {
    let (number, unit) = number_and_unit(text, NUMBER_REMEDY)?;
    if !unit.is_empty() {
        return Err(Fault::new(format!("\"{unit}\" is not part of a number"), NUMBER_REMEDY));
    }
    Ok(number)
}

/// A number in decimal digits, or in hexadecimal ones after `0x`.
pub(super) fn number_of_any_base(text: &str) -> Result<u64, Fault> {
    let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) else {
        return number(text);
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Fault::new("what follows 0x are not hexadecimal digits", "write something like 0xC0FFEE"));
    }
    u64::from_str_radix(digits, 16)
        .map_err(|_| Fault::new("it has more than 64 bits", "write at most 16 digits after 0x"))
}

pub(super) fn boolean(text: &str) -> Result<bool, Fault> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Fault::new("it is neither true nor false", "write true or false")),
    }
}

fn core(text: &str) -> Result<usize, Fault> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::new(format!("\"{text}\" is not the number of a core"), CORES_REMEDY));
    }
    match text.parse() {
        Ok(number) if number < CORES_MAX => Ok(number),
        _ => Err(Fault::new(format!("core {text} is above the highest, {}", CORES_MAX - 1), CORES_REMEDY)),
    }
}

fn number_and_unit<'a>(text: &'a str, remedy: &str) -> Result<(u64, &'a str), Fault> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Fault::new("it is empty", remedy));
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    match unit.bytes().next() {
        _ if number.is_empty() => return Err(Fault::new("it does not begin with a digit", remedy)),
        Some(b'.' | b',' | b'_') => {
            return Err(Fault::new("only whole numbers, in plain digits, are understood", remedy));
        }
        _ => {}
    }
    let number = number.parse().map_err(|_| Fault::new("the number has more than 64 bits", remedy))?;
    Ok((number, unit.trim_start()))
}

fn factor_of(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("64", 64),
            ("64B", 64),
            ("64 b", 64),
            ("64kB", 64_000),
            ("64KB", 64_000),
            ("64KiB", 65_536),
            (" 256MiB ", 256 << 20),
            ("1gib", 1 << 30),
            ("3GB", 3_000_000_000),
            ("2TiB", 2 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(size(text).unwrap(), Size(bytes), "{text}");
        }
        for (text, part) in [
            ("", "empty"),
            ("MiB", "does not begin with a digit"),
            ("-1", "does not begin with a digit"),
            ("64k", "write 64KiB (powers of 1024) or 64kB"),
            ("64M", "write 64MiB (powers of 1024) or 64MB"),
            ("12QB", "\"QB\" is not a unit of size"),
            ("1.5GiB", "only whole numbers"),
            ("1 GiB 2", "\"GiB 2\" is not a unit of size"),
            ("18446744073709551616", "more than 64 bits"),
            ("18446744073709551615KiB", "too large"),
        ] {
            let fault = size(text).unwrap_err().to_string();
            assert!(fault.contains(part), "{text}: {fault}");
        }
    }

    #[test]
    fn times() {
        for (text, ms) in
            [("0ms", 0), ("500ms", 500), ("1s", 1000), ("10m", 600_000), ("2h", 7_200_000), ("1d", 86_400_000)]
        {
            assert_eq!(text.parse::<Milliseconds>().unwrap(), Milliseconds(ms), "{text}");
        }
        for (text, part) in [
            ("10", "no unit"),
            ("10min", "\"min\" is not a unit of time"),
            ("10M", "\"M\" is not a unit of time"),
            ("m", "does not begin with a digit"),
            ("1.5h", "only whole numbers"),
            ("18446744073709551615d", "too long"),
        ] {
            let fault = text.parse::<Milliseconds>().unwrap_err().to_string();
            assert!(fault.contains(part), "{text}: {fault}");
        }
    }

    #[test]
    fn core_lists() {
        for (text, numbers) in [
            ("0", vec![0]),
            ("0-3", vec![0, 1, 2, 3]),
            ("0,2 , 4", vec![0, 2, 4]),
            ("0-1,16-18,1023", vec![0, 1, 16, 17, 18, 1023]),
            ("5-5", vec![5]),
        ] {
            let cores: Cores = text.parse().unwrap();
            assert_eq!(cores.numbers(), numbers, "{text}");
        }
        for (text, part) in [
            ("", "\"\" is not the number of a core"),
            ("0,", "\"\" is not the number"),
            ("0-", "\"\" is not the number"),
            ("-1", "\"\" is not the number"),
            ("a", "\"a\" is not the number"),
            ("0-1-2", "\"1-2\" is not the number"),
            ("3-1", "the range \"3-1\" runs backwards: write 1-3"),
            ("0,0", "core 0 is named twice"),
            ("0-3,2", "core 2 is named twice"),
            ("4,2", "core 2 comes after core 4"),
            ("0-1024", "core 1024 is above the highest, 1023"),
            ("0-99999999999999999999", "is above the highest"),
        ] {
            let fault = text.parse::<Cores>().unwrap_err().to_string();
            assert!(fault.contains(part), "{text}: {fault}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(number("42").unwrap(), 42);
        assert_eq!(number_of_any_base("42").unwrap(), 42);
        assert_eq!(number_of_any_base("0xff").unwrap(), 255);
        assert_eq!(number_of_any_base("0xffffffffffffffff").unwrap(), u64::MAX);
        for text in ["", "-1", "1k", "0x", "0x+1", "0xg", "0x10000000000000000"] {
            assert!(number_of_any_base(text).is_err(), "{text}");
        }
        assert!(number("0x10").is_err());
    }

    #[test]
    fn what_is_displayed_reads_as_the_same_value() {
        let seed = 0x1a2d;
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..20_000 {
            let number = random.u64(..) >> random.u32(..64);
            let bytes = Size(if random.bool() { number } else { number & !((1 << random.u32(..50)) - 1) });
            assert_eq!(size(&bytes.to_string()).unwrap(), bytes, "seed {seed}");
            let time = Milliseconds(number / 1000 * if random.bool() { 1 } else { 1000 });
            assert_eq!(time.to_string().parse::<Milliseconds>().unwrap(), time, "seed {seed}");
            let cores = Cores::new((0..CORES_MAX).filter(|_| random.u8(..4) > 0).collect());
            if !cores.numbers().is_empty() && random.u8(..50) == 0 {
                assert_eq!(cores.to_string().parse::<Cores>().unwrap(), cores, "seed {seed}");
            }
        }
    }
}
