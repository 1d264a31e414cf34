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

/// Of the eight words of a line, those whose low half equals this number: a bit for each, the first the lowest.
#[inline]
pub(super) fn of_eight(line: &Line, tag: u32) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of x86_64.
    return unsafe { wide::of_eight(line, tag) };
    #[cfg(not(target_arch = "x86_64"))]
    plain::of_eight(line, tag)
}

/// With SSE2.
#[cfg(target_arch = "x86_64")]
mod wide {
    use core::arch::x86_64::{
        __m128i, _mm_castps_si128, _mm_castsi128_ps, _mm_cmpeq_epi16, _mm_cmpeq_epi32, _mm_movemask_epi8,
        _mm_packs_epi16, _mm_packs_epi32, _mm_set_epi64x, _mm_set1_epi16, _mm_set1_epi32, _mm_shuffle_ps,
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
    pub(super) fn of_eight(line: &Line, tag: u32) -> u32 {
        let tag = _mm_set1_epi32(tag as i32);
        let four = |first: usize| {
            let [low, high] = [0, 2].map(|at| _mm_castsi128_ps(pair([line[first + at], line[first + at + 1]])));
            _mm_cmpeq_epi32(_mm_castps_si128(_mm_shuffle_ps::<0b10_00_10_00>(low, high)), tag)
        };
        let bytes = _mm_packs_epi16(_mm_packs_epi32(four(0), four(4)), _mm_set1_epi16(0));
        _mm_movemask_epi8(bytes) as u32
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

    #[inline]
    pub(super) fn of_eight(line: &Line, tag: u32) -> u32 {
        let equal = line.iter().map(|&word| u64::from_le_bytes(word) as u32 == tag);
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
            let tag = u32::from_le_bytes(line[random.usize(0..8)][..4].try_into().expect("four bytes"));
            assert_eq!(of_eight(&line, tag), plain::of_eight(&line, tag));
            assert_ne!(of_eight(&line, tag), 0);
        }
        let high = core::array::from_fn(|at| [at as u8 | 0x80; 8]);
        assert_eq!(of_sixteen(&high, 0x8181), 0xF0, "tags are compared as they are, whatever their top bit");
    }
}
