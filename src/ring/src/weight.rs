//! A node's weight as people write it, and the points on the ring that it stands for.

use alloc::format;
use alloc::string::{String, ToString};

use crate::limits::{POINTS_MAX, POINTS_PER_WEIGHT, WEIGHT_DECIMALS_MAX};

/// What is wrong with a weight.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeightError {
    /// Not digits with at most one decimal point among them, or too many digits behind it.
    #[error(
        "weight {0:?} is no decimal number: write it like 1, 2 or 0.5, with at most {WEIGHT_DECIMALS_MAX} decimals"
    )]
    NotDecimal(String),
    /// Zero: such a node would own nothing.
    #[error("weight {0:?} is zero: leave the node out instead")]
    Zero(String),
    /// More points than a node may have.
    #[error("weight {0:?} is too large: at most {max}", max = POINTS_MAX / POINTS_PER_WEIGHT)]
    TooLarge(String),
}

/// The points of a weight such as `1`, `2` or `0.5`: 1,024 for each unit, rounded half up, at least 1. The text is
/// read without floating point, so that every node and client counts the same.
pub fn weight_points(weight: &str) -> Result<u32, WeightError> {
    let not_decimal = || WeightError::NotDecimal(weight.to_string());
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > WEIGHT_DECIMALS_MAX {
        return Err(not_decimal());
    }
    // Digits alone: the only way not to parse is to be too large.
    let too_large = || WeightError::TooLarge(weight.to_string());
    let whole: u32 = whole.parse().map_err(|_| too_large())?;
    let fraction_value: u64 = fraction.parse().map_err(|_| not_decimal())?;
    let scale = 10u64.pow(fraction.len() as u32);
    let scaled = u64::from(whole) * scale + fraction_value;
    if scaled == 0 {
        return Err(WeightError::Zero(weight.to_string()));
    }
    let points = (scaled * u64::from(POINTS_PER_WEIGHT) + scale / 2) / scale;
    if points > u64::from(POINTS_MAX) {
        return Err(too_large());
    }
    Ok((points as u32).max(1))
}

/// The weight that so many points stand for, as [`weight_points`] reads it: the same points come back.
pub fn weight_text(points: u32) -> String {
    let scale = 10u64.pow(WEIGHT_DECIMALS_MAX as u32);
    let unit = u64::from(POINTS_PER_WEIGHT);
    let scaled = (u64::from(points) * scale + unit / 2) / unit;
    let text = format!("{}.{:0width$}", scaled / scale, scaled % scale, width = WEIGHT_DECIMALS_MAX);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

// The largest whole part that parses, with every decimal, times the points of a unit stays within 64 bits.
const _: () =
    assert!((u32::MAX as u64 + 1) * 10u64.pow(WEIGHT_DECIMALS_MAX as u32) <= u64::MAX / POINTS_PER_WEIGHT as u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_written_as_a_weight_that_gives_them_again() {
        assert_eq!([1024, 1536, 307, 1].map(weight_text), ["1", "1.5", "0.299805", "0.000977"]);
        assert_eq!(weight_text(10 * 1024), "10");
        for points in (1..=POINTS_MAX).step_by(7).chain([POINTS_MAX]) {
            assert_eq!(weight_points(&weight_text(points)), Ok(points));
        }
    }

    #[test]
    fn weights_become_points() {
        let cases = [
            ("1", 1024),
            ("2", 2048),
            ("0.5", 512),
            ("01.50", 1536),
            ("0.333333", 341),
            ("0.0004", 1),
            ("0.000001", 1),
            ("1024", 1 << 20),
            ("1.000488", 1024),
            ("1.000489", 1025),
        ];
        for (weight, points) in cases {
            assert_eq!(weight_points(weight), Ok(points), "{weight}");
        }
    }

    #[test]
    fn other_weights_are_refused() {
        for weight in ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", " 1", "1.2.3", "NaN", "1.0000001", "\u{661}"] {
            assert_eq!(weight_points(weight), Err(WeightError::NotDecimal(weight.into())));
        }
        for weight in ["0", "0.0", "00.000000"] {
            assert_eq!(weight_points(weight), Err(WeightError::Zero(weight.into())));
        }
        for weight in ["1024.001", "1025", "4294967295.999999", "4294967296", "99999999999999999999"] {
            assert_eq!(weight_points(weight), Err(WeightError::TooLarge(weight.into())));
        }
    }
}
