//! Which tags of a line are equal to one, all of them compared at once. It has `unsafe` because that takes instructions
//! which not every processor has; they work on values alone and touch no memory.
#![allow(unsafe_code)]

use crate::region::Line;

/// Of the first sixteen numbers of 16 bits in a line, those that equal this one: a bit for each, the first the lowest.
/// Those from the twelfth on may be said to be unequal.
#[inline]
pub(super) fn of_sixteen(line: &Line, tag: u32) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of x86_64.
    return unsafe { wide::of_sixteen(line, tag) };
    #[cfg(not(target_arch = "x86_64"))]
    plain::of_sixteen(line, tag)
}

/// With SSE2.
#[cfg(target_arch = "x86_64")]
mod wide {
    use core::arch::x86_64::{
        __m128i, _mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16, _mm_set_epi64x, _mm_set1_epi16,
    };

    use crate::region::Line;

    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn of_sixteen(line: &Line, tag: u32) -> u32 {
        let tag = _mm_set1_epi16(tag as i16);
        let [low, high] = [[line[0], line[1]], [line[2], [0; 8]]].map(|two| _mm_cmpeq_epi16(pair(two), tag));
        _mm_movemask_epi8(_mm_packs_epi16(low, high)) as u32
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn pair([low, high]: [[u8; 8]; 2]) -> __m128i {
        _mm_set_epi64x(i64::from_le_bytes(high), i64::from_le_bytes(low))
    }
}

/// One after the other.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    use crate::region::Line;

    #[inline]
    pub(super) fn of_sixteen(line: &Line, tag: u32) -> u32 {
        let (tags, _) = line.as_flattened().as_chunks();
        let equal = tags.iter().take(12).map(|&other| u32::from(u16::from_le_bytes(other)) == tag);
        equal.enumerate().fold(0, |found, (at, is_equal)| found | u32::from(is_equal) << at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparing_at_once_and_one_after_the_other_find_the_same() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let line: Line = core::array::from_fn(|_| core::array::from_fn(|_| random.u8(..) & 1));
            let [first, second] = [random.u8(..) & 1, random.u8(..) & 1];
            let tag = u32::from_le_bytes([first, second, 0, 0]);
            assert_eq!(of_sixteen(&line, tag) & 0xFFF, plain::of_sixteen(&line, tag));
        }
        let high = core::array::from_fn(|at| [at as u8 | 0x80; 8]);
        assert_eq!(of_sixteen(&high, 0x8181), 0xF0, "tags are compared as they are, whatever their top bit");
    }
}
