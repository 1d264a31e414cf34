//! Decimal integers as values.

/// Longest decimal integer of 64 bits with its sign, in bytes.
const DIGITS_MAX: usize = 20;

/// The number that a value spells: an optional `-`, then digits without leading zeros, in the range of `i64`.
pub(crate) fn parse(value: &[u8]) -> Option<i64> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let canonical = match digits {
        [b'0'] => digits.len() == value.len(),
        [b'1'..=b'9', rest @ ..] => value.len() <= DIGITS_MAX && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    canonical.then(|| core::str::from_utf8(value).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_canonical_decimals_are_numbers() {
        for value in ["0", "7", "-1", "120", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(parse(value.as_bytes()), Some(value.parse().unwrap()), "{value:?}");
        }
        let wrong = ["", "-", "+1", "01", "-0", "-01", " 1", "1 ", "1.0", "1e3", "0x1", "9223372036854775808"];
        for value in wrong.into_iter().chain(["-9223372036854775809", "100000000000000000000", "\u{661}"]) {
            assert_eq!(parse(value.as_bytes()), None, "{value:?}");
        }
        assert_eq!(parse(&[b'1', 0xFF]), None);
    }

    proptest! {
        #[test]
        fn numbers_are_spelled_as_they_are_read(number: i64) {
            let mut buffer = itoa::Buffer::new();
            let spelled = buffer.format(number);
            prop_assert_eq!(spelled, number.to_string());
            prop_assert_eq!(parse(spelled.as_bytes()), Some(number));
        }

        #[test]
        fn what_is_a_number_spells_itself(value in prop::collection::vec(prop::sample::select(b"-+0123456789 ".to_vec()), 0..22)) {
            if let Some(number) = parse(&value) {
                prop_assert_eq!(number.to_string().into_bytes(), value);
            }
        }
    }
}
