//! Decimal fractions as values: what an `AddDecimal` adds to.

use alloc::format;
use alloc::string::{String, ToString};

use crate::limits::DECIMAL_BYTES_MAX;

/// Digits behind the point that are kept.
const PLACES: u32 = 17;
/// Numbers below 10 to the power of this are kept exactly.
const EXACT_DIGITS: u32 = 20;
const ONE: i128 = 10_i128.pow(PLACES);
const EXACT_BELOW: i128 = 10_i128.pow(PLACES + EXACT_DIGITS);

/// A number as text spells it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Decimal {
    /// In units of 10^-17, below 10^37: so is the sum of two, if not exactly.
    Exact(i128),
    /// As near as a double comes, or infinite.
    Near(f64),
}

impl Decimal {
    /// The number that a text of at most [`DECIMAL_BYTES_MAX`] bytes spells: a sign, digits with a point among them, and an
    /// exponent, all but the digits optional. Numbers above those of a double are none, but what says that it is infinite is, as for
    /// C's `strtold`.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > DECIMAL_BYTES_MAX {
            return None;
        }
        let unsigned = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
        if [&b"inf"[..], b"infinity"].iter().any(|word| unsigned.eq_ignore_ascii_case(word)) {
            return Some(Decimal::Near(if text[0] == b'-' { f64::NEG_INFINITY } else { f64::INFINITY }));
        }
        let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
        if !text.iter().all(is_part) {
            return None;
        }
        let near: f64 = core::str::from_utf8(text).ok()?.parse().ok()?;
        match exact(text) {
            Some(exact) => Some(Decimal::Exact(exact)),
            None => near.is_finite().then_some(Decimal::Near(near)),
        }
    }

    /// The sum as text without an exponent; `None`: it is none of a double, or infinite.
    pub(crate) fn plus(self, other: Self) -> Option<String> {
        if let (Decimal::Exact(one), Decimal::Exact(other)) = (self, other) {
            return Some(spelled(one + other));
        }
        let sum = self.near() + other.near();
        if !sum.is_finite() {
            return None;
        }
        Some(shortened(&format!("{sum:.17}")).to_string())
    }

    fn near(self) -> f64 {
        match self {
            Decimal::Exact(units) => units as f64 / ONE as f64,
            Decimal::Near(near) => near,
        }
    }
}

/// In units of 10^-17, of a text that spells a number; `None`: it has more digits than that.
fn exact(text: &[u8]) -> Option<i128> {
    let (text, is_negative) = match text {
        [b'-', rest @ ..] => (rest, true),
        [b'+', rest @ ..] => (rest, false),
        _ => (text, false),
    };
    let split = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
    let exponent: i32 = match text.get(split + 1..) {
        None => 0,
        Some(exponent) => core::str::from_utf8(exponent).ok()?.parse().ok()?,
    };
    let (mut units, mut shift, mut is_behind) = (0_i128, exponent.checked_add(PLACES as i32)?, false);
    for byte in &text[..split] {
        if *byte == b'.' {
            is_behind = true;
            continue;
        }
        units = units.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
        shift = shift.checked_sub(i32::from(is_behind))?;
    }
    if units == 0 {
        return Some(0);
    }
    let scale = 10_i128.checked_pow(shift.unsigned_abs())?;
    let units = match shift {
        0.. => units.checked_mul(scale)?,
        _ if units % scale == 0 => units / scale,
        _ => return None,
    };
    (units < EXACT_BELOW).then_some(if is_negative { -units } else { units })
}

fn spelled(units: i128) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let (whole, rest) = (units.unsigned_abs() / ONE as u128, units.unsigned_abs() % ONE as u128);
    shortened(&format!("{sign}{whole}.{rest:017}")).to_string()
}

/// Without zeros at the end behind the point, and without the point if nothing is behind it.
fn shortened(text: &str) -> &str {
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(one: &str, other: &str) -> Option<String> {
        Decimal::parse(one.as_bytes())?.plus(Decimal::parse(other.as_bytes())?)
    }

    #[test]
    fn sums_are_those_that_people_expect() {
        for (one, other, both) in [
            ("10.50", "0.1", "10.6"),
            ("0.1", "0.2", "0.3"),
            ("5.0e3", "2.0e2", "5200"),
            ("10.6", "-5", "5.6"),
            ("1", "-1.00", "0"),
            ("-0.5", ".5", "0"),
            ("3", "+1.", "4"),
            ("0.00000000000000001", "0", "0.00000000000000001"),
            ("99999999999999999999", "0.5", "99999999999999999999.5"),
            ("1e19", "1e-17", "10000000000000000000.00000000000000001"),
            ("-7", "0.25", "-6.75"),
            ("0e999", "1", "1"),
        ] {
            assert_eq!(sum(one, other).as_deref(), Some(both), "{one} + {other}");
            assert_eq!(sum(other, one).as_deref(), Some(both), "{other} + {one}");
        }
    }

    #[test]
    fn what_has_too_many_digits_is_nearly_right() {
        assert_eq!(sum("1e20", "1").as_deref(), Some("100000000000000000000"));
        assert_eq!(sum("0.000000000000000001", "1").as_deref(), Some("1"));
        assert_eq!(sum("1e300", "1e300").map(|text| text.len()), Some(301));
        assert_eq!(sum("1e308", "1.7e308"), None, "no double is as large");
        assert_eq!(sum("1e-400", "2").as_deref(), Some("2"));
    }

    #[test]
    fn infinite_numbers_are_some_without_a_sum() {
        for text in ["inf", "+inf", "-INF", "Infinity", "-infinity"] {
            assert!(Decimal::parse(text.as_bytes()).is_some(), "{text:?}");
            assert_eq!((sum(text, "1"), sum("-inf", text)), (None, None), "{text:?}");
        }
    }

    #[test]
    fn other_texts_are_no_numbers() {
        for text in [
            "", " 1", "1 ", "1e", "e1", ".", "-", "1.2.3", "infi", "nan", "-nan", "+", "0x10", "1e400", "1_0", "--1",
            "1e1.5",
        ] {
            assert_eq!(Decimal::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Decimal::parse(&[b'1'; DECIMAL_BYTES_MAX + 1]), None);
    }

    #[test]
    fn small_sums_are_exact() {
        let mut random = fastrand::Rng::with_seed(8);
        for _ in 0..10_000 {
            let places = random.usize(0..6);
            let scale = 10_i64.pow(places as u32);
            let text = |units: i64| {
                let sign = if units < 0 { "-" } else { "" };
                format!("{sign}{}.{:0places$}", units.abs() / scale, units.abs() % scale)
            };
            let (one, other) = (random.i64(-(1 << 50)..1 << 50), random.i64(-(1 << 50)..1 << 50));
            let wanted = match places {
                0 => (one + other).to_string(),
                _ => shortened(&text(one + other)).to_string(),
            };
            let (one, other) = (text(one), text(other));
            let (one, other) = match places {
                0 => (one.replace(".0", "."), other),
                _ => (one, other),
            };
            assert_eq!(sum(&one, &other), Some(wanted), "seed 8: {one} + {other}");
        }
    }
}
