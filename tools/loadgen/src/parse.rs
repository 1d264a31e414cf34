//! Values of options: durations, core lists, weights. Errors are sentences that say what is understood; clap puts the
//! option and the value in front.

use std::time::Duration;

/// `500ms`, `10s`, `2m`, `1h`; a plain number counts seconds, and may have a fraction.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time such as 500ms, 10s, 2m or 1h".to_string();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| expected())?;
    let unit_s = match &text[digits..] {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(expected()),
    };
    Duration::try_from_secs_f64(number * unit_s).map_err(|_| expected())
}

/// `0-3,8`: numbers and ranges, without duplicates, in the order given.
pub(crate) fn cores(text: &str) -> Result<Vec<usize>, String> {
    let expected = || "expected core numbers and ranges such as 1 or 0-3,8".to_string();
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| expected())?;
        let last: usize = last.trim().parse().map_err(|_| expected())?;
        if first > last || last >= rustix::thread::CpuSet::MAX_CPU {
            return Err(expected());
        }
        for core in first..=last {
            if cores.contains(&core) {
                return Err(format!("core {core} is named twice"));
            }
            cores.push(core);
        }
    }
    Ok(cores)
}

/// A number of bytes: `64`, `16KiB`, `1MiB`, `2GiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let expected = || "expected a number of bytes such as 64, 16KiB, 1MiB or 2GiB".to_string();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| expected())?;
    let shift = match &text[digits..] {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(expected()),
    };
    number.checked_mul(1 << shift).ok_or_else(expected)
}

/// A number, with `k`, `M` and `G` for thousands, millions and billions.
///
/// # Errors
/// It is none, or too large; the text says what was expected.
pub fn count(text: &str) -> Result<u64, String> {
    let expected = || "expected a number such as 500, 100k or 10M".to_string();
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        for wrong in ["", "s", "-1s", "1d", "1 s", "1.2.3s", "99999999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn core_lists_are_exact() {
        assert_eq!(cores("0-2,5"), Ok(vec![0, 1, 2, 5]));
        for wrong in ["", "a", "2-1", "1,1", "0-2,1", "1-", "100000"] {
            assert!(cores(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn sizes_and_counts_have_suffixes() {
        assert_eq!(bytes("16KiB"), Ok(16 << 10));
        assert_eq!(bytes("64"), Ok(64));
        assert_eq!(count("10M"), Ok(10_000_000));
        assert_eq!(count("7"), Ok(7));
        for wrong in ["", "k", "1kk", "-1", "1.5M", "99999999999999999999"] {
            assert!(count(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["", "KiB", "1kb", "1.5MiB", "18446744073709551615GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong:?}");
        }
    }
}
