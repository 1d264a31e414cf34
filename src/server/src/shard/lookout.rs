//! Whether a shard that expects messages keeps its eyes open for a moment, or goes to sleep at once.
//!
//! A look that finds something saves a wake, which takes longer and costs both shards more. One that does not is time
//! thrown away, and where a core is shared with other programs most are in vain. So each look in vain doubles the number
//! of chances that are let pass before the next one, and one that is not sets it back to none.

use crate::limits::LOOKS_PASSED_MAX;

/// Remembers how the last looks ended.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    /// Chances to let pass.
    passing: u32,
    /// Chances that were let pass before the last look.
    passed: u32,
}

impl Lookout {
    /// Whether to look this time.
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = self.passing == 0;
        self.passing = self.passing.saturating_sub(1);
        is_due
    }

    /// How a look ended.
    pub(super) fn looked(&mut self, has_found: bool) {
        self.passed = if has_found { 0 } else { (2 * self.passed + 1).min(LOOKS_PASSED_MAX) };
        self.passing = self.passed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_in_vain_become_rare_and_one_success_ends_that() {
        let mut lookout = Lookout::default();
        let mut looks = Vec::new();
        for chance in 0..300 {
            if lookout.is_due() {
                lookout.looked(false);
                looks.push(chance);
            }
        }
        assert_eq!(looks, [0, 2, 6, 14, 30, 62, 94, 126, 158, 190, 222, 254, 286]);
        while !lookout.is_due() {}
        lookout.looked(true);
        assert!(lookout.is_due());
        lookout.looked(true);
        assert!(lookout.is_due());
    }
}
