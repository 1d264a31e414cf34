//! How many requests may be sent again: a share of those that are sent, so that retries never make up much of what an
//! origin in trouble gets (the retry budget of B. Beyer et al., "Site Reliability Engineering", 2016, chapter 21).

use crate::limits::{RETRIES_SAVED_MAX, RETRY_PERCENT};

/// See the module. Counted in hundredths of a retry.
#[derive(Debug)]
pub(crate) struct Retries {
    saved: u32,
}

impl Retries {
    pub(crate) fn new() -> Self {
        Self { saved: 100 * RETRIES_SAVED_MAX }
    }

    /// A request is sent for the first time.
    pub(crate) fn save(&mut self) {
        self.saved = (self.saved + RETRY_PERCENT).min(100 * RETRIES_SAVED_MAX);
    }

    /// Whether one may be sent again.
    pub(crate) fn spend(&mut self) -> bool {
        let left = self.saved.checked_sub(100);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share() {
        let mut retries = Retries::new();
        let burst = (0..1_000).filter(|_| retries.spend()).count();
        assert_eq!(burst as u32, RETRIES_SAVED_MAX);
        let spent = (0..1_000).filter(|_| {
            retries.save();
            retries.spend()
        });
        assert_eq!(spent.count() as u32, 1_000 * RETRY_PERCENT / 100);
    }
}
