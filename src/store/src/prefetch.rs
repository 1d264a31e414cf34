//! Asking the processor for memory that will be read soon. A module with `unsafe`: a hint has no safe form in the
//! standard library. It reads and changes nothing, so a wrong one costs time and nothing else.
#![allow(unsafe_code)]

/// Bytes of one line of the processor's cache.
pub(crate) const LINE_BYTES: usize = 64;

/// Asks for the line that holds the first byte of `place`.
#[inline]
pub(crate) fn first<T>(place: &T) {
    line(core::ptr::from_ref(place).cast());
}

#[inline]
fn line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch accesses no memory as far as the program can tell, whatever the address, and SSE, which
        // has it, is part of x86_64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_about_any_memory_changes_nothing() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut memory: Vec<u8> = (0..4096).map(|_| random.u8(..)).collect();
        let copy = memory.clone();
        for _ in 0..1000 {
            first(&memory[random.usize(0..4096)]);
        }
        first(&());
        memory.shrink_to_fit();
        assert_eq!(memory, copy);
    }
}
