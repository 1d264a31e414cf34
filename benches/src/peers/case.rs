//! What is measured.

use std::time::Duration;

use anyhow::Result;
use loadgen::run::{Length, Plan};

use crate::target::Target;

/// Values of one size, and the cases that are measured with them.
#[derive(Clone, Copy, Debug)]
pub struct DataSet {
    /// Bytes of each value.
    pub value_bytes: u32,
    /// How many keys there are.
    pub keys: u64,
    /// What is measured.
    pub cases: &'static [Case],
}

/// One kind of load.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name in the report.
    pub name: &'static str,
    /// Requests of a connection that wait for an answer.
    pub pipeline: usize,
    /// How many connections.
    pub connections: usize,
    /// Keys of each get; with 1 there is also a set for ten gets.
    pub multi_get: usize,
}

const fn case(name: &'static str, pipeline: usize, connections: usize, multi_get: usize) -> Case {
    Case { name, pipeline, connections, multi_get }
}

/// The case that open loops take their peak from.
pub const P16: Case = case("p16", 16, 50, 1);

/// Everything that is compared.
pub const DATA_SETS: [DataSet; 3] = [
    DataSet {
        value_bytes: 64,
        keys: 1_000_000,
        cases: &[
            case("p1", 1, 50, 1),
            P16,
            case("p64", 64, 50, 1),
            case("p64x200", 64, 200, 1),
            case("mget50", 1, 50, 50),
            case("1x1", 1, 1, 1),
        ],
    },
    DataSet { value_bytes: 1024, keys: 200_000, cases: &[case("p16-1KiB", 16, 50, 1)] },
    DataSet { value_bytes: 16 << 10, keys: 20_000, cases: &[case("p16-16KiB", 16, 50, 1)] },
];

impl DataSet {
    /// The plan of a case. `keys_divisor` makes the key space smaller for short runs.
    ///
    /// # Errors
    /// Keys that cannot be.
    pub fn plan(&self, case: &Case, target: Target, time: Duration, keys_divisor: u64) -> Result<Plan> {
        let keys = (self.keys / keys_divisor).max(1);
        let mix = if case.multi_get > 1 { "get=1" } else { "get=10,set=1" };
        let Case { connections, pipeline, multi_get, .. } = *case;
        Ok(Plan { connections, pipeline, multi_get, ..target.plan(keys, self.value_bytes, mix, Length::Time(time))? })
    }
}
