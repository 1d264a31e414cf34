//! What each group may have of the node's memory. Every shard knows all of it and takes the same changes in the same
//! order, so that all come to the same; each gives its store its share.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use larder_protocol::{GroupAlteration, Size, Status};
use larder_store::{GroupIndex, PolicyError, PolicySettings, segment_bytes, value_bytes_max};

/// The budgets of a node, and what they have to fit into.
#[derive(Debug)]
pub(crate) struct Budgets {
    /// In the order of the store's groups.
    groups: Vec<Budget>,
    /// The group that has what the others leave.
    follower: Option<usize>,
    memory_bytes: u64,
    shards: u64,
    value_bytes_max: u64,
}

/// What a group may have, over all shards.
#[derive(Clone, Debug)]
struct Budget {
    name: String,
    bytes: u64,
}

/// What becomes of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) group: GroupIndex,
    pub(crate) name: String,
    pub(crate) bytes_before: u64,
    pub(crate) bytes: u64,
    pub(crate) policy: Option<PolicySettings>,
}

/// Why the budgets stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AlterationRefused {
    #[error("there is no group {name:?}; this node has {known}")]
    UnknownGroup { name: String, known: String },
    #[error("nothing is to be changed about group {name:?}; name its memory or its policy")]
    NothingNamed { name: String },
    #[error("policy of group {name:?}: {error}")]
    Policy { name: String, error: PolicyError },
    #[error(
        "group {name:?} would have {}, too little for {shards} shard(s); the least is {} ({} on each)",
        Size(*bytes), Size(*least_bytes), Size(*least_bytes / *shards)
    )]
    TooLittle { name: String, bytes: u64, shards: u64, least_bytes: u64 },
    #[error(
        "group {name:?} would have {}, where no value above {fitting_bytes} bytes fits into its share of {} on each of \
         {shards} shard(s), and this node takes values up to {}; leave it more, or start the node with a lower value_max",
        Size(*bytes), Size(*bytes / *shards), Size(*value_bytes_max)
    )]
    ValuesDoNotFit { name: String, bytes: u64, shards: u64, fitting_bytes: u64, value_bytes_max: u64 },
    #[error("the groups would have more than the {} of this node: {spelled_out}; give them less", Size(*memory_bytes))]
    AboveMemory { memory_bytes: u64, spelled_out: String },
}

impl AlterationRefused {
    /// How it is answered.
    pub(crate) fn status(&self) -> Status {
        match self {
            AlterationRefused::UnknownGroup { .. } => Status::NoSuchGroup,
            AlterationRefused::AboveMemory { .. } => Status::TooLarge,
            AlterationRefused::NothingNamed { .. }
            | AlterationRefused::Policy { .. }
            | AlterationRefused::TooLittle { .. }
            | AlterationRefused::ValuesDoNotFit { .. } => Status::BadRequest,
        }
    }
}

impl Budgets {
    /// Of a node with so many shards, without groups. No group is to be too small for the longest value.
    pub(crate) fn new(memory_bytes: u64, shards: u16, value_bytes_max: usize) -> Self {
        let (shards, value_bytes_max) = (u64::from(shards), value_bytes_max as u64);
        Self { groups: Vec::new(), follower: None, memory_bytes, shards, value_bytes_max }
    }

    /// Adds the next group; `follows`: it has what the others leave.
    pub(crate) fn push(&mut self, name: &str, bytes: u64, follows: bool) {
        if follows {
            self.follower = Some(self.groups.len());
        }
        self.groups.push(Budget { name: name.into(), bytes });
    }

    /// One shard's share of so many bytes.
    pub(crate) fn share(&self, bytes: u64) -> u64 {
        bytes / self.shards
    }

    /// What an alteration would make: the group that is named, and behind it the one that follows, if it does. Changes
    /// nothing.
    pub(crate) fn altered(&self, alteration: &GroupAlteration<'_>) -> Result<Vec<Change>, AlterationRefused> {
        let name = alteration.name;
        let Some(named) = self.groups.iter().position(|group| group.name == name) else {
            return Err(AlterationRefused::UnknownGroup { name: name.into(), known: self.names() });
        };
        let policy = alteration.policy.map(str::parse::<PolicySettings>).transpose();
        let policy = policy.map_err(|error| AlterationRefused::Policy { name: name.into(), error })?;
        let Some(bytes) = alteration.memory_bytes else {
            if policy.is_none() {
                return Err(AlterationRefused::NothingNamed { name: name.into() });
            }
            let bytes = self.groups[named].bytes;
            let (group, name) = (GroupIndex(named as u16), name.into());
            return Ok(alloc::vec![Change { group, name, bytes_before: bytes, bytes, policy }]);
        };
        // A follower that is named itself follows no more.
        let follower = self.follower.filter(|follower| *follower != named);
        let bytes_of = |group: usize| if group == named { bytes } else { self.groups[group].bytes };
        let others = (0..self.groups.len()).filter(|group| Some(*group) != follower);
        let sum: u128 = others.clone().map(|group| u128::from(bytes_of(group))).sum();
        let Some(left) = u128::from(self.memory_bytes).checked_sub(sum) else {
            let spelled_out = self.spelled_out(others.map(|group| (group, bytes_of(group))), sum);
            return Err(AlterationRefused::AboveMemory { memory_bytes: self.memory_bytes, spelled_out });
        };
        let mut changes = Vec::new();
        changes.push(Change { policy, ..self.change(named, bytes)? });
        if let Some(follower) = follower {
            changes.push(self.change(follower, left as u64)?);
        }
        Ok(changes)
    }

    /// Takes what [`Budgets::altered`] gave for this alteration.
    pub(crate) fn take(&mut self, alteration: &GroupAlteration<'_>, changes: &[Change]) {
        if alteration.memory_bytes.is_none() {
            return;
        }
        for change in changes {
            self.groups[usize::from(change.group.0)].bytes = change.bytes;
        }
        if self.follower.is_some_and(|follower| usize::from(changes[0].group.0) == follower) {
            self.follower = None;
        }
    }

    fn change(&self, group: usize, bytes: u64) -> Result<Change, AlterationRefused> {
        let Budget { ref name, bytes: bytes_before } = self.groups[group];
        let (name, shards, memory_bytes) = (name.clone(), self.shards, self.share(self.memory_bytes));
        let least_bytes = segment_bytes(memory_bytes) * shards;
        if bytes < least_bytes {
            return Err(AlterationRefused::TooLittle { name, bytes, shards, least_bytes });
        }
        let fitting_bytes = value_bytes_max(memory_bytes, self.share(bytes));
        if fitting_bytes < self.value_bytes_max {
            let value_bytes_max = self.value_bytes_max;
            return Err(AlterationRefused::ValuesDoNotFit { name, bytes, shards, fitting_bytes, value_bytes_max });
        }
        Ok(Change { group: GroupIndex(group as u16), name, bytes_before, bytes, policy: None })
    }

    fn names(&self) -> String {
        let mut names = String::new();
        self.groups
            .iter()
            .try_for_each(|group| join(&mut names, ", ", format_args!("{}", group.name)))
            .expect(INFALLIBLE);
        names
    }

    /// `64MiB (default) + 256MiB (scores) = 320MiB`
    fn spelled_out(&self, budgets: impl Iterator<Item = (usize, u64)>, sum: u128) -> String {
        let mut text = String::new();
        for (group, bytes) in budgets {
            let name = &self.groups[group].name;
            join(&mut text, " + ", format_args!("{} ({name})", Size(bytes))).expect(INFALLIBLE);
        }
        match u64::try_from(sum) {
            Ok(sum) => write!(text, " = {}", Size(sum)),
            Err(_) => write!(text, " = {sum}B"),
        }
        .expect(INFALLIBLE);
        text
    }

    /// Panics with what is wrong.
    pub(crate) fn validate(&self) {
        let sum: u128 = self.groups.iter().map(|group| u128::from(group.bytes)).sum();
        assert!(sum <= u128::from(self.memory_bytes), "the groups have {sum} of {} bytes", self.memory_bytes);
        if self.follower.is_some() {
            assert_eq!(sum, u128::from(self.memory_bytes), "one group has what the others leave");
        }
    }
}

const INFALLIBLE: &str = "a string takes everything";

fn join(text: &mut String, between: &str, part: fmt::Arguments<'_>) -> fmt::Result {
    let between = if text.is_empty() { "" } else { between };
    write!(text, "{between}{part}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    const MIB: u64 = 1 << 20;

    /// 64 MiB on two shards: "default", with `default_bytes` or what is left, and 16 MiB of "scores".
    fn budgets(default_bytes: Option<u64>, value_bytes_max: usize) -> Budgets {
        let mut budgets = Budgets::new(64 * MIB, 2, value_bytes_max);
        budgets.push("default", default_bytes.unwrap_or(48 * MIB), default_bytes.is_none());
        budgets.push("scores", 16 * MIB, false);
        budgets.validate();
        budgets
    }

    fn alter(budgets: &mut Budgets, name: &str, mib: u64) -> Result<Vec<(String, u64)>, AlterationRefused> {
        let alteration = GroupAlteration { name, memory_bytes: Some(mib * MIB), policy: None };
        let changes = budgets.altered(&alteration)?;
        budgets.take(&alteration, &changes);
        budgets.validate();
        Ok(changes.into_iter().map(|change| (change.name, change.bytes / MIB)).collect())
    }

    fn refusal(budgets: &Budgets, name: &str, memory_bytes: impl Into<Option<u64>>) -> (Status, String) {
        let alteration = GroupAlteration { name, memory_bytes: memory_bytes.into(), policy: None };
        let refused = budgets.altered(&alteration).expect_err("refused");
        (refused.status(), refused.to_string())
    }

    #[test]
    fn the_default_group_gives_and_takes_what_others_leave() {
        let mut budgets = budgets(None, 1000);
        assert_eq!(alter(&mut budgets, "scores", 40), Ok(vec![("scores".into(), 40), ("default".into(), 24)]));
        assert_eq!(alter(&mut budgets, "scores", 8), Ok(vec![("scores".into(), 8), ("default".into(), 56)]));
        assert_eq!(alter(&mut budgets, "default", 20), Ok(vec![("default".into(), 20)]), "it was named itself");
        assert_eq!(alter(&mut budgets, "scores", 12), Ok(vec![("scores".into(), 12)]), "and follows no more");
    }

    #[test]
    fn a_policy_alone_leaves_all_budgets_as_they_are() {
        let mut budgets = budgets(None, 1000);
        let alteration = GroupAlteration { name: "default", memory_bytes: None, policy: Some("two_q:in=30%") };
        let changes = budgets.altered(&alteration).unwrap();
        budgets.take(&alteration, &changes);
        budgets.validate();
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].bytes_before, changes[0].bytes), (48 * MIB, 48 * MIB));
        assert_eq!(changes[0].policy.unwrap().to_string(), "two_q:in=30%");
        assert_eq!(alter(&mut budgets, "scores", 40).unwrap().len(), 2, "the default group follows still");
        let wrong = GroupAlteration { policy: Some("two_q:in=0"), ..alteration };
        let refused = budgets.altered(&wrong).unwrap_err();
        assert_eq!(refused.status(), Status::BadRequest);
        assert_eq!(
            refused.to_string(),
            "policy of group \"default\": in=0% of policy two_q is out of range; give one from 1% to 99%"
        );
    }

    #[test]
    fn a_default_group_with_a_budget_of_its_own_stays() {
        let mut budgets = budgets(Some(32 * MIB), 1000);
        assert_eq!(alter(&mut budgets, "scores", 32), Ok(vec![("scores".into(), 32)]));
        let (status, message) = refusal(&budgets, "scores", 33 * MIB);
        assert_eq!(status, Status::TooLarge);
        let expected = "the groups would have more than the 64MiB of this node: \
                        32MiB (default) + 33MiB (scores) = 65MiB; give them less";
        assert_eq!(message, expected);
        let (_, message) = refusal(&budgets, "scores", u64::MAX);
        assert!(message.contains("= 18446744073743106047B"), "{message}");
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        let budgets = budgets(None, 1 << 20);
        let (status, message) = refusal(&budgets, "sores", MIB);
        assert_eq!(
            (status, &*message),
            (Status::NoSuchGroup, "there is no group \"sores\"; this node has default, scores")
        );
        let (status, message) = refusal(&budgets, "scores", None);
        assert!(status == Status::BadRequest && message.contains("name its memory or its policy"), "{message}");
        let (status, message) = refusal(&budgets, "scores", 1000);
        assert_eq!(status, Status::BadRequest);
        assert!(
            message.contains("would have 1000B, too little for 2 shard(s); the least is 128KiB (64KiB"),
            "{message}"
        );
        let (status, message) = refusal(&budgets, "scores", 2 * MIB);
        assert_eq!(status, Status::BadRequest);
        assert!(message.contains("\"scores\" would have 2MiB, where no value above 10"), "{message}");
        assert!(message.contains("takes values up to 1MiB"), "{message}");
        // What is left for the other one counts as much.
        let (_, message) = refusal(&budgets, "scores", 64 * MIB);
        assert!(message.contains("group \"default\" would have 0B, too little"), "{message}");
        let (_, message) = refusal(&budgets, "scores", 65 * MIB);
        assert!(message.contains("this node: 65MiB (scores) = 65MiB"), "{message}");
    }
}
