//! The only clock of the server: wall time that never steps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Versions hold 44 bits of milliseconds.
const NOW_MS_MAX: u64 = (1 << 44) - 1;

/// Milliseconds since the Unix epoch, as the wall clock stood at the start plus monotonic time since: it never runs
/// backwards within a process, whatever is done to the wall clock. It counts on while the machine sleeps, as whoever waits
/// for this node does.
///
/// A copy goes to every executor, so all of them count from the same start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall_at_start: Duration,
    /// Since the machine was started.
    started: Duration,
}

/// The wall clock of this machine cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the system clock says {stands}, which cannot be true; set it (for example with `timedatectl set-ntp true`) and start again"
)]
pub struct ClockError {
    stands: &'static str,
}

impl Clock {
    /// Reads the wall clock, once and for all.
    ///
    /// # Errors
    /// If it is set before 1970, or centuries ahead.
    #[expect(clippy::disallowed_methods, reason = "the one place")]
    pub fn start() -> Result<Self, ClockError> {
        Self::from_wall(SystemTime::now(), since_boot())
    }

    /// Now, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.at(since_boot())
    }

    /// A time since the start of the machine, in milliseconds since the Unix epoch.
    fn at(&self, since_boot: Duration) -> u64 {
        let now = self.wall_at_start + since_boot.saturating_sub(self.started);
        u64::try_from(now.as_millis()).expect("checked at start: centuries below the limit")
    }

    fn from_wall(wall: SystemTime, started: Duration) -> Result<Self, ClockError> {
        let wall_at_start = wall.duration_since(UNIX_EPOCH).map_err(|_| ClockError { stands: "it is before 1970" })?;
        if wall_at_start.as_millis() > u128::from(NOW_MS_MAX / 2) {
            return Err(ClockError { stands: "it is after the year 2248" });
        }
        Ok(Self { wall_at_start, started })
    }
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanoseconds) = (time.tv_sec.cast_unsigned(), time.tv_nsec);
    Duration::new(seconds, u32::try_from(nanoseconds).expect("less than a second"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_the_wall_clock_at_start() {
        let started = since_boot();
        let clock = Clock::from_wall(UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_900), started).unwrap();
        assert_eq!(clock.at(started), 1_700_000_000_000);
        assert_eq!(clock.at(started + Duration::from_micros(99)), 1_700_000_000_000);
        assert_eq!(clock.at(started + Duration::from_micros(100)), 1_700_000_000_001, "fractions add up");
        assert_eq!(clock.at(started + Duration::from_secs(3600)), 1_700_003_600_000);
        assert_eq!(clock.at(started - Duration::from_secs(1)), 1_700_000_000_000, "never before the start");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "compares with it")]
    fn never_runs_backwards_and_is_near_the_wall_clock() {
        let clock = Clock::start().unwrap();
        let mut last = 0;
        for _ in 0..10_000 {
            let now = clock.now_ms();
            assert!(now >= last);
            last = now;
        }
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        assert!(wall.abs_diff(u128::from(last)) < 1_000, "{wall} {last}");
    }

    #[test]
    fn a_clock_that_cannot_be_true_is_refused() {
        let before = Clock::from_wall(UNIX_EPOCH - Duration::from_secs(1), since_boot()).unwrap_err();
        assert!(before.to_string().contains("before 1970"), "{before}");
        let after = Clock::from_wall(UNIX_EPOCH + Duration::from_millis(1 << 44), since_boot()).unwrap_err();
        assert!(after.to_string().contains("2248"), "{after}");
    }
}
