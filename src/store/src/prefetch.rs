//! Asking the processor for memory that will be read soon. The one module of this crate with `unsafe`: a hint has no
//! safe form in the standard library. It reads and changes nothing, so a wrong one costs time and nothing else.
#![allow(unsafe_code)]

/// Bytes of one line of the processor's cache.
pub(crate) const LINE_BYTES: usize = 64;

/// Asks for the line that holds the first byte of `place`.
#[inline]
pub(crate) fn first<T>(place: &T) {
    line(core::ptr::from_ref(place).cast());
}

/// Asks for the first `lines_max` lines of `bytes`: the processor itself sees the run of those behind them.
#[inline]
pub(crate) fn bytes(bytes: &[u8], lines_max: usize) {
    let Some(last) = bytes.len().checked_sub(1) else { return };
    for offset in (0..=last).step_by(LINE_BYTES).take(lines_max) {
        line(bytes.as_ptr().wrapping_add(offset));
    }
    if last / LINE_BYTES < lines_max {
        line(bytes.as_ptr().wrapping_add(last));
    }
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
            let (begin, len) = (random.usize(0..2048), random.usize(0..2048));
            bytes(&memory[begin..begin + len], random.usize(0..9));
            first(&memory[begin]);
        }
        first(&());
        bytes(&[], 4);
        memory.shrink_to_fit();
        assert_eq!(memory, copy);
    }
}
