//! Mistakes to see that the simulator finds them.

use std::fmt;

use larder_engine::planted;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// One of the engines.
    Engine(planted::Bug),
    /// A node that was paused goes on by the time of before the pause.
    ClockBeforePause,
}

/// The mistake of a run, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bugs(pub(crate) Option<Bug>);

impl Bugs {
    pub(crate) fn has(self, bug: Bug) -> bool {
        self.0 == Some(bug)
    }
}

impl Bug {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Bug> {
        let own = [Bug::ClockBeforePause];
        planted::Bug::ALL.into_iter().map(Bug::Engine).chain(own)
    }

    /// The one with this name.
    ///
    /// # Errors
    /// There is none; the names of all.
    pub fn parse(name: &str) -> Result<Bug, String> {
        Bug::all().find(|bug| bug.to_string() == name).ok_or_else(|| {
            let names: Vec<String> = Bug::all().map(|bug| bug.to_string()).collect();
            format!("there are {}", names.join(", "))
        })
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bug::Engine(bug) => write!(f, "{bug:?}"),
            other => write!(f, "{other:?}"),
        }
    }
}
