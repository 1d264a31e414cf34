//! Times as people write them.

use std::time::Duration;

/// The units, longest name first where one is the end of another.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A whole number and a unit: `500ms`, `10s`, `5m`, `2h`, `7d`. Never zero.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = "write a whole number above 0 with ms, s, m, h or d, such as 500ms or 10m";
    let (digits, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))
        .ok_or_else(|| format!("{text:?} has no unit; {expected}"))?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{text:?} is no time; {expected}"));
    }
    let ms = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
    match ms {
        Some(0) => Err(format!("{text:?} is no time at all; {expected}")),
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => Err(format!("{text:?} is too long; {expected}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood() {
        for (text, ms) in [("1ms", 1), ("10s", 10_000), ("5m", 300_000), ("2h", 7_200_000), ("7d", 604_800_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_to_write() {
        for text in
            ["", "5", "s", "-5s", "1.5s", "5 s", "0s", "+5s", "5S", "99999999999999999999s", "999999999999999999d"]
        {
            let refusal = parse_duration(text).unwrap_err();
            assert!(refusal.contains("such as 500ms"), "{text}: {refusal}");
        }
    }
}
