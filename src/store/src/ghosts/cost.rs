//! What a ghost counts as, in ten bits: six of them significant, as in a floating-point number. Numbers are rounded up, so
//! that ghosts never stand for less than what they are charged with; by a 32nd at most, and not at all below 64.

use crate::limits::{GHOST_CHARGE_BITS, GHOST_COST_BITS};

/// Bits of the significand after the first one.
const FRACTION_BITS: u32 = 5;
/// Numbers below this one are their own code.
const WHOLE: u32 = 2 << FRACTION_BITS;

const _: () = assert!(
    encode(1 << GHOST_CHARGE_BITS) < 1 << GHOST_COST_BITS,
    "the cost of the largest entry must have a code of this length"
);

/// The code of a number up to 2^[`GHOST_CHARGE_BITS`], which is rounded up; codes are in the order of what they stand for,
/// and only that of 0 is 0.
#[inline]
pub(super) const fn encode(number: u32) -> u32 {
    if number < WHOLE {
        return number;
    }
    let exponent = number.ilog2() - FRACTION_BITS;
    let significand = number.div_ceil(1 << exponent);
    // A significand that was rounded up to one more bit is the first of the next exponent, as it should be.
    (exponent << FRACTION_BITS) + significand
}

/// What a code stands for.
#[inline]
pub(super) const fn decode(code: u32) -> u32 {
    if code < WHOLE {
        return code;
    }
    let exponent = (code >> FRACTION_BITS) - 1;
    (code - (exponent << FRACTION_BITS)) << exponent
}

/// A number as a code can say it.
#[inline]
pub(crate) const fn rounded(number: u32) -> u32 {
    decode(encode(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_up_to_six_bits() {
        let mut random = fastrand::Rng::with_seed(1);
        let some = (0..100_000).map(|_| random.u32(0..=1 << GHOST_CHARGE_BITS) >> random.u32(0..27));
        for number in (0..5_000).chain(some) {
            let found = rounded(number);
            assert!(number <= found && found - number <= number / 32, "{number} became {found}");
            assert!(number >= 64 || found == number, "{number} became {found}");
            assert_eq!(rounded(found), found, "what is round stays");
            assert!(encode(number) <= encode(number + 1), "{number} and one more");
        }
        assert_eq!([63, 64, 65, 66, 127, 128, 129].map(rounded), [63, 64, 66, 66, 128, 128, 132]);
        assert_eq!(encode(0), 0);
    }
}
