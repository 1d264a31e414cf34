//! Versions: 44 bits of ms since the Unix epoch, 12 bits of counter, 8 bits of shard number, always above the last.

use crate::error::VersionAhead;
use crate::limits::VERSION_AHEAD_MS_MAX;

const SHARD_BITS: u32 = 8;
const COUNTER_BITS: u32 = 12;
const MS_SHIFT: u32 = SHARD_BITS + COUNTER_BITS;
const MS_MAX: u64 = (1 << (u64::BITS - MS_SHIFT)) - 1;

/// When a version was given, in ms since the Unix epoch.
pub fn version_ms(version: u64) -> u64 {
    version >> MS_SHIFT
}

/// Gives versions.
#[derive(Debug)]
pub(crate) struct VersionClock {
    last: u64,
    shard: u8,
}

impl VersionClock {
    /// A clock that has given nothing yet.
    pub(crate) fn new(shard: u8) -> Self {
        Self { last: 0, shard }
    }

    /// The next version. More than 4,096 in one ms, or a time that runs backwards, are carried into the ms: versions
    /// then run ahead of the clock until it catches up.
    pub(crate) fn next(&mut self, now_ms: u64) -> u64 {
        let by_clock = (now_ms.min(MS_MAX) << MS_SHIFT) | u64::from(self.shard);
        let above_last = (((self.last >> SHARD_BITS) + 1) << SHARD_BITS) | u64::from(self.shard);
        self.last = by_clock.max(above_last);
        self.last
    }

    /// Makes every later version greater than those of a time, as far as that may be ahead of now.
    pub(crate) fn run_ahead(&mut self, to_ms: u64, now_ms: u64) {
        let to_ms = to_ms.min(now_ms.saturating_add(VERSION_AHEAD_MS_MAX)).min(MS_MAX);
        self.last = self.last.max(to_ms << MS_SHIFT);
    }

    /// Makes every later version greater than this one, which another shard or node gave.
    pub(crate) fn raise(&mut self, version: u64, now_ms: u64) -> Result<(), VersionAhead> {
        let ahead_ms = (version >> MS_SHIFT).saturating_sub(now_ms);
        if ahead_ms > VERSION_AHEAD_MS_MAX {
            return Err(VersionAhead { version, ahead_ms });
        }
        self.last = self.last.max(version);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(ms: u64, counter: u64, shard: u64) -> u64 {
        (ms << 20) | (counter << 8) | shard
    }

    #[test]
    fn a_clock_runs_ahead_as_far_as_it_may() {
        let mut clock = VersionClock::new(1);
        clock.run_ahead(1_500, 1_000);
        assert_eq!(clock.next(1_000), version(1_500, 1, 1));
        clock.run_ahead(u64::MAX, 1_000);
        assert_eq!(clock.next(1_000) >> MS_SHIFT, 1_000 + VERSION_AHEAD_MS_MAX);
        clock.run_ahead(0, 1_000);
        assert_eq!(clock.next(1_000) >> MS_SHIFT, 1_000 + VERSION_AHEAD_MS_MAX, "and never back");
    }

    #[test]
    fn layout_is_ms_counter_shard() {
        let mut clock = VersionClock::new(0xAB);
        assert_eq!(clock.next(0x123), version(0x123, 0, 0xAB));
        assert_eq!(clock.next(0x123), version(0x123, 1, 0xAB));
        assert_eq!(clock.next(0x124), version(0x124, 0, 0xAB));
        assert_eq!(
            clock.next(0x100),
            version(0x124, 1, 0xAB),
            "a clock that runs backwards does not take versions along"
        );
    }

    #[test]
    fn versions_are_never_0_and_always_grow() {
        let mut clock = VersionClock::new(0);
        let mut last = 0;
        for step in 0..20_000_u64 {
            let next = clock.next(step / 9000);
            assert!(next > last, "step {step}: {next} after {last}");
            last = next;
        }
        assert_eq!(last >> MS_SHIFT, 4, "20,000 versions in 3 ms carry into the next ones");
        assert_eq!(clock.next(5) >> MS_SHIFT, 5, "the clock catches up");
    }

    #[test]
    fn raising_is_bounded() {
        let mut clock = VersionClock::new(1);
        let foreign = version(5000, 0xFFF, 0xFF);
        assert_eq!(clock.raise(foreign, 4000), Ok(()));
        let next = clock.next(4000);
        assert_eq!(next, version(5001, 0, 1), "the next counter, carried into the ms, with this shard's number");
        assert_eq!(clock.raise(7, 4000), Ok(()), "one that is behind changes nothing");
        assert_eq!(clock.next(4000), version(5001, 1, 1));

        let far = (4001 + VERSION_AHEAD_MS_MAX) << MS_SHIFT;
        let refused = clock.raise(far, 4000).unwrap_err();
        assert_eq!(refused, VersionAhead { version: far, ahead_ms: VERSION_AHEAD_MS_MAX + 1 });
        assert!(clock.next(4000) < far);
    }
}
