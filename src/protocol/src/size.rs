//! Numbers of bytes for people.

use core::fmt;

/// A number of bytes, as configuration, commands and messages write it: `64MiB`, `1500B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(formatter, "{}{unit}", self.0 / factor);
            }
        }
        write!(formatter, "{}B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_unit_that_is_exact_is_used() {
        let shown = [0, 1, 1023, 1024, 1536, 64 << 20, 3 << 40, u64::MAX].map(|bytes| Size(bytes).to_string());
        assert_eq!(shown, ["0B", "1B", "1023B", "1KiB", "1536B", "64MiB", "3TiB", "18446744073709551615B"]);
    }
}
