//! Which operation is next.

use std::fmt;
use std::str::FromStr;

/// An operation of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Operation {
    /// Read one key, or several with one request.
    Get,
    /// Write a key.
    Set,
    /// Remove a key.
    Delete,
    /// Set the expiry of a key.
    Touch,
    /// Add 1 to a counter, which starts at 0. Counters have keys of their own.
    Increment,
    /// Read a key and set its expiry.
    GetAndTouch,
}

impl Operation {
    /// Every operation, in the order of a positional mix.
    pub const ALL: [Operation; 6] = [
        Operation::Get,
        Operation::Set,
        Operation::Delete,
        Operation::Touch,
        Operation::Increment,
        Operation::GetAndTouch,
    ];

    /// Its name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::Set => "set",
            Operation::Delete => "delete",
            Operation::Touch => "touch",
            Operation::Increment => "incr",
            Operation::GetAndTouch => "gat",
        }
    }
}

/// Weights of the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    weights: [u32; Operation::ALL.len()],
    total: u32,
}

/// Largest weight of one operation.
const WEIGHT_MAX: u32 = 1_000_000;

impl Mix {
    /// The weight of an operation; 0: it does not come up.
    pub fn weight(&self, operation: Operation) -> u32 {
        self.weights[operation as usize]
    }

    /// Whether an operation comes up.
    pub fn has(&self, operation: Operation) -> bool {
        self.weight(operation) > 0
    }

    /// The next operation.
    pub fn sample(&self, rng: &mut fastrand::Rng) -> Operation {
        let mut ticket = rng.u32(..self.total);
        for operation in Operation::ALL {
            let weight = self.weights[operation as usize];
            if ticket < weight {
                return operation;
            }
            ticket -= weight;
        }
        unreachable!("the weights add up to {}", self.total)
    }
}

impl FromStr for Mix {
    type Err = String;

    /// `10:1` (in the order of [`Operation::ALL`]) or `get=10,set=1`.
    fn from_str(text: &str) -> Result<Mix, String> {
        let mut weights = [0; Operation::ALL.len()];
        if text.contains('=') {
            for part in text.split(',') {
                let (name, weight) = part.split_once('=').ok_or_else(expected)?;
                let operation = Operation::ALL.into_iter().find(|operation| operation.name() == name);
                weights[operation.ok_or_else(expected)? as usize] = weight_of(weight)?;
            }
        } else {
            let parts: Vec<&str> = text.split(':').collect();
            if parts.len() > weights.len() {
                return Err(expected());
            }
            for (place, part) in parts.into_iter().enumerate() {
                weights[place] = weight_of(part)?;
            }
        }
        match weights.iter().sum() {
            0 => Err("the weights are all 0".into()),
            total => Ok(Mix { weights, total }),
        }
    }
}

fn weight_of(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|&weight| weight <= WEIGHT_MAX).ok_or_else(expected)
}

fn expected() -> String {
    let names: Vec<&str> = Operation::ALL.into_iter().map(Operation::name).collect();
    format!("expected weights up to {WEIGHT_MAX}, as {} such as 10:1, or by name such as get=10,set=1", names.join(":"))
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for operation in Operation::ALL.into_iter().filter(|&operation| self.has(operation)) {
            write!(f, "{comma}{}={}", operation.name(), self.weight(operation))?;
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_are_positional_or_named() {
        assert_eq!("10:1".parse::<Mix>(), "get=10,set=1".parse());
        assert_eq!("0:0:1".parse::<Mix>().unwrap().to_string(), "delete=1");
        assert_eq!("set=2,incr=3,gat=1".parse::<Mix>().unwrap().to_string(), "set=2,incr=3,gat=1");
        for wrong in ["", "0:0", "a", "get", "get=", "scan=1", "1:1:1:1:1:1:1", "-1", "1000001", "get=1:set=1"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn operations_come_as_often_as_their_weights_say() {
        let seed = 3;
        let mut rng = fastrand::Rng::with_seed(seed);
        let mix: Mix = "get=10,set=1".parse().unwrap();
        let sets = (0..110_000).filter(|_| mix.sample(&mut rng) == Operation::Set).count();
        assert!((9_600..10_400).contains(&sets), "{sets} of 110,000 are sets, seed {seed}");
    }
}
