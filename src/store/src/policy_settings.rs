//! Which policy a group has, and with which parameters; their text is what configuration, commands and statistics say.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::block::Header;

/// The eviction policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PolicyKind {
    /// First in, first out.
    Fifo,
    /// Least recently used.
    Lru,
    /// Least frequently used, with dynamic aging (Arlitt et al., 2000).
    Lfu,
    /// LRU-K (O'Neil, O'Neil & Weikum, SIGMOD 1993).
    LruK,
    /// 2Q, full version (Johnson & Shasha, VLDB 1994).
    #[default]
    TwoQ,
    /// ARC (Megiddo & Modha, FAST 2003).
    Arc,
    /// SIEVE (Zhang et al., NSDI 2024).
    Sieve,
    /// S3-FIFO (Yang et al., SOSP 2023).
    S3Fifo,
    /// W-TinyLFU (Einziger, Friedman & Manes, ACM TOS 2017).
    TinyLfu,
}

/// A parameter of a policy: a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyParameter {
    /// Its name in the text of [`PolicySettings`].
    pub name: &'static str,
    /// Whether it is written with a percent sign.
    pub is_percent: bool,
    /// The least that it may be.
    pub min: u16,
    /// The most that it may be.
    pub max: u16,
    /// What it is unless it is said.
    pub default: u16,
    /// What it does, for people.
    pub meaning: &'static str,
}

impl PolicyParameter {
    /// What stands behind a value.
    pub const fn sign(&self) -> &'static str {
        if self.is_percent { "%" } else { "" }
    }
}

/// Most parameters that a policy has.
const PARAMETERS_MAX: usize = 3;

/// Kin of 2Q.
pub(crate) const TWO_Q_IN: usize = 0;
/// Kout of 2Q.
pub(crate) const TWO_Q_OUT: usize = 1;

const TWO_Q: &[PolicyParameter] = &[
    percent("in", [1, 99], 25, "of the budget that new entries may take before they have to go (Kin)"),
    percent("out", [0, 100], 50, "of the budget: what entries that are remembered may have cost (Kout)"),
];

/// How many references LRU-K looks back.
pub(crate) const LRU_K_K: usize = 0;
/// The most that this may be; the paper looks at no more either.
pub(crate) const LRU_K_K_MAX: u16 = 3;
/// Its correlated reference period.
pub(crate) const LRU_K_PERIOD: usize = 1;
/// What its history may have cost.
pub(crate) const LRU_K_HISTORY: usize = 2;

const LRU_K: &[PolicyParameter] = &[
    PolicyParameter {
        name: "k",
        is_percent: false,
        min: 1,
        max: LRU_K_K_MAX,
        default: 2,
        meaning: "which of an entry's last references counts",
    },
    percent("period", [0, 400], 50, "of the number of entries: references within so many accesses count as one"),
    percent("history", [0, 100], 100, "of the budget: what entries that are remembered may have cost"),
];

/// Share of the small queue of S3-FIFO.
pub(crate) const S3_FIFO_SMALL: usize = 0;
/// Share that its ghosts may have cost.
pub(crate) const S3_FIFO_GHOST: usize = 1;
/// Hits that lead to its main queue.
pub(crate) const S3_FIFO_THRESHOLD: usize = 2;
/// The most that the latter may be: each is a tag of an entry.
pub(crate) const S3_FIFO_THRESHOLD_MAX: u16 = 2;

const S3_FIFO: &[PolicyParameter] = &[
    percent("small", [1, 99], 10, "of the budget that new entries may take before they have to go"),
    percent("ghost", [0, 100], 90, "of the budget: what entries that are remembered may have cost"),
    PolicyParameter {
        name: "threshold",
        is_percent: false,
        min: 1,
        max: S3_FIFO_THRESHOLD_MAX,
        default: 2,
        meaning: "hits of a new entry that let it stay",
    },
];

/// Share of the window of W-TinyLFU.
pub(crate) const TINY_LFU_WINDOW: usize = 0;

const TINY_LFU: &[PolicyParameter] =
    &[percent("window", [1, 99], 10, "of the budget that new entries may take before they have to contend")];

const fn percent(name: &'static str, [min, max]: [u16; 2], default: u16, meaning: &'static str) -> PolicyParameter {
    PolicyParameter { name, is_percent: true, min, max, default, meaning }
}

impl PolicyKind {
    /// Every policy.
    pub const ALL: &'static [PolicyKind] = &[
        PolicyKind::Fifo,
        PolicyKind::Lru,
        PolicyKind::Lfu,
        PolicyKind::LruK,
        PolicyKind::TwoQ,
        PolicyKind::Arc,
        PolicyKind::Sieve,
        PolicyKind::S3Fifo,
        PolicyKind::TinyLfu,
    ];

    /// The name in configuration and statistics.
    pub const fn name(self) -> &'static str {
        match self {
            PolicyKind::Fifo => "fifo",
            PolicyKind::Lru => "lru",
            PolicyKind::Lfu => "lfu",
            PolicyKind::LruK => "lru_k",
            PolicyKind::TwoQ => "two_q",
            PolicyKind::Arc => "arc",
            PolicyKind::Sieve => "sieve",
            PolicyKind::S3Fifo => "s3_fifo",
            PolicyKind::TinyLfu => "tiny_lfu",
        }
    }

    /// What the header of an entry must be able to do.
    pub(crate) const fn header(self) -> Header {
        match self {
            PolicyKind::Lfu | PolicyKind::LruK => Header::WITH_MEMOS,
            _ => Header::NARROW,
        }
    }

    /// What can be set, in the order in which it is written.
    pub const fn parameters(self) -> &'static [PolicyParameter] {
        match self {
            PolicyKind::Fifo | PolicyKind::Lru | PolicyKind::Lfu | PolicyKind::Arc | PolicyKind::Sieve => &[],
            PolicyKind::LruK => LRU_K,
            PolicyKind::TwoQ => TWO_Q,
            PolicyKind::S3Fifo => S3_FIFO,
            PolicyKind::TinyLfu => TINY_LFU,
        }
    }
}

/// A policy with its parameters. As text it is the name, and behind a colon the parameters that are not the usual ones:
/// `two_q`, `two_q:in=30%,out=60%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicySettings {
    kind: PolicyKind,
    /// One for each parameter of the policy, and zeros.
    values: [u16; PARAMETERS_MAX],
}

impl PolicySettings {
    /// The policy.
    pub const fn kind(self) -> PolicyKind {
        self.kind
    }

    /// The same with another value of a parameter.
    ///
    /// # Errors
    /// If the policy has no such parameter, or the value is out of its range.
    pub fn with(mut self, name: &str, value: u16) -> Result<Self, PolicyError> {
        let parameters = self.kind.parameters();
        let unknown = || PolicyError::UnknownParameter { policy: self.kind, name: name.into() };
        let place = parameters.iter().position(|parameter| parameter.name == name).ok_or_else(unknown)?;
        let parameter = &parameters[place];
        if value < parameter.min || value > parameter.max {
            return Err(PolicyError::OutOfRange { policy: self.kind, parameter, value: format!("{value}") });
        }
        self.values[place] = value;
        Ok(self)
    }

    /// The value of the parameter at this place.
    #[inline]
    pub(crate) fn value(self, place: usize) -> u64 {
        self.values[place].into()
    }

    /// Every parameter with its value.
    pub fn values(self) -> impl Iterator<Item = (&'static PolicyParameter, u16)> {
        self.kind.parameters().iter().zip(self.values)
    }
}

impl Default for PolicySettings {
    fn default() -> Self {
        PolicyKind::default().into()
    }
}

impl From<PolicyKind> for PolicySettings {
    /// With the usual parameters.
    fn from(kind: PolicyKind) -> Self {
        let mut values = [0; PARAMETERS_MAX];
        for (value, parameter) in values.iter_mut().zip(kind.parameters()) {
            *value = parameter.default;
        }
        Self { kind, values }
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for PolicyKind {
    type Err = PolicyError;

    fn from_str(name: &str) -> Result<Self, PolicyError> {
        let known = Self::ALL.iter().find(|policy| policy.name() == name);
        known.copied().ok_or_else(|| PolicyError::UnknownPolicy { name: name.into() })
    }
}

impl fmt::Display for PolicySettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(formatter, *self, |parameter, value| value != parameter.default)
    }
}

impl FromStr for PolicySettings {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let (name, given) = text.split_once(':').map_or((text, None), |(name, given)| (name, Some(given)));
        let kind: PolicyKind = name.trim().parse()?;
        let (mut settings, mut seen) = (Self::from(kind), [false; PARAMETERS_MAX]);
        for part in given.into_iter().flat_map(|given| given.split(',')) {
            let malformed = || PolicyError::Malformed { policy: kind, text: part.trim().into() };
            let (name, value) = part.split_once('=').ok_or_else(malformed)?;
            let (name, value) = (name.trim(), value.trim());
            let unknown = || PolicyError::UnknownParameter { policy: kind, name: name.into() };
            let place = kind.parameters().iter().position(|parameter| parameter.name == name).ok_or_else(unknown)?;
            let parameter = &kind.parameters()[place];
            if core::mem::replace(&mut seen[place], true) {
                return Err(PolicyError::Twice { policy: kind, name: parameter.name });
            }
            let digits = if parameter.is_percent { value.strip_suffix('%').unwrap_or(value).trim_end() } else { value };
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(malformed());
            }
            let out_of_range = || PolicyError::OutOfRange { policy: kind, parameter, value: digits.into() };
            settings = settings.with(name, digits.parse().map_err(|_| out_of_range())?)?;
        }
        Ok(settings)
    }
}

/// Why a text names no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// No policy has this name.
    UnknownPolicy {
        /// The name.
        name: String,
    },
    /// The policy has no such parameter.
    UnknownParameter {
        /// The policy.
        policy: PolicyKind,
        /// What was asked for.
        name: String,
    },
    /// A parameter is given twice.
    Twice {
        /// The policy.
        policy: PolicyKind,
        /// The parameter.
        name: &'static str,
    },
    /// The value of a parameter is too small or too large.
    OutOfRange {
        /// The policy.
        policy: PolicyKind,
        /// The parameter.
        parameter: &'static PolicyParameter,
        /// The value.
        value: String,
    },
    /// What stands where a parameter is expected is none.
    Malformed {
        /// The policy.
        policy: PolicyKind,
        /// What stands there.
        text: String,
    },
}

impl PolicyError {
    /// What is wrong.
    pub fn problem(&self) -> String {
        match self {
            PolicyError::UnknownPolicy { name } => format!("there is no policy {name:?}"),
            PolicyError::UnknownParameter { policy, name } => format!("policy {policy} has no parameter {name:?}"),
            PolicyError::Twice { policy, name } => format!("parameter {name} of policy {policy} is given twice"),
            PolicyError::OutOfRange { policy, parameter, value } => {
                format!("{}={value}{} of policy {policy} is out of range", parameter.name, parameter.sign())
            }
            PolicyError::Malformed { policy, text } => format!("{text:?} is no parameter of policy {policy}"),
        }
    }

    /// What can be done about it.
    pub fn remedy(&self) -> String {
        match self {
            PolicyError::UnknownPolicy { .. } => {
                let names: Vec<_> = PolicyKind::ALL.iter().map(|policy| policy.name()).collect();
                format!("choose one of {}", names.join(", "))
            }
            PolicyError::UnknownParameter { policy, .. } | PolicyError::Malformed { policy, .. } => {
                match policy.parameters().is_empty() {
                    true => format!("write {policy} alone, it has no parameters"),
                    false => format!("write {}", WithAll((*policy).into())),
                }
            }
            PolicyError::Twice { .. } => "give it once".into(),
            PolicyError::OutOfRange { parameter, .. } => {
                let PolicyParameter { min, max, .. } = parameter;
                format!("give one from {min}{sign} to {max}{sign}", sign = parameter.sign())
            }
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {}", self.problem(), self.remedy())
    }
}

impl core::error::Error for PolicyError {}

/// Settings with every parameter, the usual ones too.
struct WithAll(PolicySettings);

impl fmt::Display for WithAll {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(formatter, self.0, |_, _| true)
    }
}

fn write(
    formatter: &mut fmt::Formatter<'_>,
    settings: PolicySettings,
    is_shown: impl Fn(&PolicyParameter, u16) -> bool,
) -> fmt::Result {
    formatter.write_str(settings.kind.name())?;
    let shown = settings.values().filter(|&(parameter, value)| is_shown(parameter, value));
    for (place, (parameter, value)) in shown.enumerate() {
        let mark = if place == 0 { ':' } else { ',' };
        write!(formatter, "{mark}{}={value}{}", parameter.name, parameter.sign())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn policies_are_found_by_name() {
        for &policy in PolicyKind::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            assert_eq!(policy.name().parse(), Ok(PolicySettings::from(policy)));
            assert_eq!(PolicySettings::from(policy).to_string(), policy.name());
        }
        let unknown = "2q".parse::<PolicyKind>().unwrap_err().to_string();
        assert!(unknown.starts_with("there is no policy \"2q\"; choose one of ") && unknown.contains(" two_q"));
    }

    #[test]
    fn every_parameter_is_read_and_shown_at_its_bounds() {
        for &policy in PolicyKind::ALL {
            assert!(policy.parameters().len() <= PARAMETERS_MAX, "{policy}");
            for parameter in policy.parameters() {
                assert!((parameter.min..=parameter.max).contains(&parameter.default), "{policy} {}", parameter.name);
                let sign = parameter.sign();
                for value in [parameter.min, parameter.max] {
                    let text = format!("{policy}:{}={value}{sign}", parameter.name);
                    let settings: PolicySettings = text.parse().unwrap();
                    assert!(settings.values().any(|(other, held)| other == parameter && held == value), "{text}");
                    assert_eq!(settings.to_string().parse(), Ok(settings), "{text}");
                }
                let above = u32::from(parameter.max) + 1;
                let text = format!("{policy}:{}={above}", parameter.name);
                assert!(matches!(text.parse::<PolicySettings>(), Err(PolicyError::OutOfRange { .. })), "{text}");
            }
        }
    }

    #[test]
    fn a_text_that_names_no_policy_is_told_why() {
        let error = |text: &str| text.parse::<PolicySettings>().unwrap_err().to_string();
        assert_eq!("two_q: in = 30 % , out=60".parse::<PolicySettings>().unwrap().to_string(), "two_q:in=30%,out=60%");
        assert_eq!(error("two_q:in=0"), "in=0% of policy two_q is out of range; give one from 1% to 99%");
        assert_eq!(error("two_q:in=70000%"), "in=70000% of policy two_q is out of range; give one from 1% to 99%");
        assert_eq!(error("two_q:kin=3"), "policy two_q has no parameter \"kin\"; write two_q:in=25%,out=50%");
        assert_eq!(error("two_q:in=3,in=3"), "parameter in of policy two_q is given twice; give it once");
        assert_eq!(error("two_q:"), "\"\" is no parameter of policy two_q; write two_q:in=25%,out=50%");
        assert_eq!(error("two_q:in=-3"), "\"in=-3\" is no parameter of policy two_q; write two_q:in=25%,out=50%");
        assert_eq!(error("lru:k=2"), "policy lru has no parameter \"k\"; write lru alone, it has no parameters");
    }
}
