//! Sizes as people write them.

/// The units, longest name first where one is the end of another; in lower case.
const UNITS: [(&str, u64); 9] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
];

/// A whole number of bytes, or one with a unit: `65536`, `64KiB`, `64kB`, in any case.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let expected = "write a number of bytes, or a whole number with B, kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB or \
                    TiB (powers of 1024), such as 64MiB";
    let lower = text.to_ascii_lowercase();
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((lower.strip_suffix(unit)?, *factor)));
    let (digits, factor) = unit.unwrap_or((&lower, 1));
    let digits = digits.trim_end();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{text:?} is no size; {expected}"));
    }
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes.ok_or_else(|| format!("{text:?} is too large; {expected}"))
}

/// What a group is given: a size as it stands, a share of the memory, or "default"; whoever keeps groups reads it.
pub(crate) fn parse_memory(text: &str) -> Result<String, String> {
    if !text.ends_with('%') && text != "default" {
        parse_size(text)?;
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65_536),
            ("64B", 64),
            ("64KiB", 65_536),
            ("64 mib", 64 << 20),
            ("3GB", 3_000_000_000),
            ("2TiB", 2 << 40),
            ("1kb", 1_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_to_write() {
        for text in ["", "MiB", "-1", "1.5GiB", "64M", "64k", "25%", "1 2", "18446744073709551616", "20000000TiB"] {
            let refusal = parse_size(text).unwrap_err();
            assert!(refusal.contains(&format!("{text:?} is")) && refusal.contains("such as 64MiB"), "{refusal}");
        }
    }
}
