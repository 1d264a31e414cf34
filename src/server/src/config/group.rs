//! Groups: their names, and who gets how much of the memory.

use std::collections::BTreeSet;

use larder_protocol::limits::GROUP_NAME_BYTES_MAX;
use larder_ring::DEFAULT_GROUP;
use larder_store::limits::TTL_JITTER_MAX;
use larder_store::{PolicyError, PolicyKind, PolicySettings};

use super::error::{ConfigError, Fault};
use super::file::GivenGroup;
use super::given::{Source, Text};
use super::value::{Milliseconds, Size, size};
use super::{GroupConfig, GroupSources, OriginConfig};
use crate::limits::TTL_MS_MAX;

const MEMORY_REMEDY: &str = "write a size such as 256MiB, or a share of the memory such as 25% or 12.5%";
/// Shares of the memory are counted in thousandths of a percent.
const SHARE_WHOLE: u64 = 100_000;

/// What groups are to fit into.
pub(super) struct Room<'a> {
    pub(super) memory_bytes: u64,
    pub(super) memory_source: &'a Source,
    pub(super) shards: u16,
}

/// All groups, the default one first.
pub(super) struct Groups {
    pub(super) configs: Vec<GroupConfig>,
    pub(super) sources: Vec<GroupSources>,
    /// Whether the default group has what the others leave.
    pub(super) default_follows: bool,
    /// What no group has, in bytes.
    pub(super) unused_bytes: u64,
}

/// A group of which everything is known but the budget of the default group, which may be what others leave.
struct Asked {
    name: String,
    budget: Option<(u64, Text)>,
    policy: PolicySettings,
    ttl_ms: u64,
    ttl_jitter: u8,
    stale_while_revalidate_ms: u64,
    stale_if_error_ms: u64,
    origin: Option<OriginConfig>,
    sources: GroupSources,
}

pub(super) fn resolve(given: &[GivenGroup], room: &Room<'_>) -> Result<Groups, ConfigError> {
    let mut names = BTreeSet::new();
    let mut asked = Vec::with_capacity(given.len() + 1);
    for group in given {
        check_name(&group.name)?;
        if !names.insert(group.name.text.as_str()) {
            let fault = Fault::new("there is another group of this name", "give each group a name of its own");
            return Err(refused("group.name", &group.name, fault));
        }
        asked.push(ask(group, room)?);
    }
    match asked.iter().position(|group| group.name == DEFAULT_GROUP) {
        Some(index) => asked[..=index].rotate_right(1),
        None => asked.insert(0, default_group()),
    }
    divide(asked, room)
}

fn ask(group: &GivenGroup, room: &Room<'_>) -> Result<Asked, ConfigError> {
    let name = &group.name.text;
    let key = |part: &str| format!("{part} of group {name:?}");
    let budget = match &group.memory {
        None if name == DEFAULT_GROUP => None,
        None => {
            let fault = Fault::new("it has no memory", MEMORY_REMEDY);
            return Err(refused("group.name", &group.name, fault));
        }
        Some(text) => {
            let bytes = budget(&text.text, room.memory_bytes).map_err(|fault| refused(key("memory"), text, fault))?;
            Some((bytes, text.clone()))
        }
    };
    let defaults = default_group();
    let policy = match &group.policy {
        None => defaults.policy,
        Some(text) => policy(&text.text).map_err(|fault| refused(key("policy"), text, fault))?,
    };
    let ttl_ms = match &group.ttl {
        None => defaults.ttl_ms,
        Some(text) => ttl(&text.text).map_err(|fault| refused(key("ttl"), text, fault))?,
    };
    let ttl_jitter = match &group.ttl_jitter {
        None => defaults.ttl_jitter,
        Some(text) => ttl_jitter(&text.text, ttl_ms).map_err(|fault| refused(key("ttl_jitter"), text, fault))?,
    };
    let window = |part: &str, text: &Option<Text>| match text {
        None => Ok(0),
        Some(text) => ttl(&text.text).map_err(|fault| refused(key(part), text, fault)),
    };
    let stale_while_revalidate_ms = window("stale_while_revalidate", &group.stale_while_revalidate)?;
    let stale_if_error_ms = window("stale_if_error", &group.stale_if_error)?;
    let origin = group.origin.as_ref().map(|given| super::origin::resolve(given, name)).transpose()?;
    let source = |text: &Option<Text>, default: Source| text.as_ref().map_or(default, |text| text.source.clone());
    let sources = GroupSources {
        name: group.name.source.clone(),
        memory: source(&group.memory, defaults.sources.memory),
        policy: source(&group.policy, defaults.sources.policy),
        ttl: source(&group.ttl, defaults.sources.ttl),
        ttl_jitter: source(&group.ttl_jitter, defaults.sources.ttl_jitter),
        stale_while_revalidate: source(&group.stale_while_revalidate, defaults.sources.stale_while_revalidate),
        stale_if_error: source(&group.stale_if_error, defaults.sources.stale_if_error),
        origin: group.origin.as_ref().map(|given| given.source.clone()),
    };
    Ok(Asked {
        name: name.clone(),
        budget,
        policy,
        ttl_ms,
        ttl_jitter,
        stale_while_revalidate_ms,
        stale_if_error_ms,
        origin,
        sources,
    })
}

fn default_group() -> Asked {
    let sources = GroupSources {
        name: Source::Default("this group exists always"),
        memory: Source::Default("what the other groups leave"),
        policy: Source::Default(PolicyKind::TwoQ.name()),
        ttl: Source::Default("off"),
        ttl_jitter: Source::Default("off"),
        stale_while_revalidate: Source::Default("off"),
        stale_if_error: Source::Default("off"),
        origin: None,
    };
    let (name, policy) = (DEFAULT_GROUP.to_owned(), PolicySettings::default());
    Asked {
        name,
        budget: None,
        policy,
        ttl_ms: 0,
        ttl_jitter: 0,
        stale_while_revalidate_ms: 0,
        stale_if_error_ms: 0,
        origin: None,
        sources,
    }
}

/// The same for groups that are to be, whatever they have been given: those that cannot be are left out, and if the others
/// have more than there is, each has proportionally less. What is not as it was given is reported.
pub(super) fn resolve_as_fits(given: &[GivenGroup], room: &Room<'_>) -> (Groups, Vec<String>) {
    let mut reports = Vec::new();
    let mut asked = Vec::with_capacity(given.len() + 1);
    for group in given {
        match check_name(&group.name).and_then(|()| ask(group, room)) {
            Ok(group) => asked.push(group),
            Err(error) => reports.push(format!("group {:?} cannot be as it is kept: {error}", group.name.text)),
        }
    }
    match asked.iter().position(|group| group.name == DEFAULT_GROUP) {
        Some(index) => asked[..=index].rotate_right(1),
        None => asked.insert(0, default_group()),
    }
    let budget_min = budget_min(room);
    let mut left_out = Vec::new();
    while asked.len() as u64 * budget_min > room.memory_bytes {
        left_out.push(asked.pop().expect("the default group has room alone").name);
    }
    if !left_out.is_empty() {
        reports.push(format!(
            "there is no memory for the groups {left_out:?} on this node; it has {}",
            Size(room.memory_bytes)
        ));
    }
    let sum: u128 = asked.iter().filter_map(|group| group.budget.as_ref()).map(|(bytes, _)| u128::from(*bytes)).sum();
    let follows = asked.iter().any(|group| group.budget.is_none());
    let available = room.memory_bytes - if follows { budget_min } else { 0 };
    if sum > u128::from(available) {
        reports.push(format!(
            "the groups have more than the {} of this node, so each has proportionally less here: {}",
            Size(room.memory_bytes),
            spelled_out(&asked, sum)
        ));
        // What is above the minimum is scaled, so that nobody comes below it.
        let count = asked.iter().filter(|group| group.budget.is_some()).count() as u64;
        let spare = u128::from(available - count * budget_min);
        for (bytes, _) in asked.iter_mut().filter_map(|group| group.budget.as_mut()) {
            *bytes = budget_min + (u128::from(*bytes) * spare / sum) as u64;
        }
    }
    for (bytes, _) in asked.iter_mut().filter_map(|group| group.budget.as_mut()) {
        *bytes = (*bytes).max(budget_min);
    }
    match divide(asked, room) {
        Ok(groups) => (groups, reports),
        Err(error) => {
            reports.push(format!("none but the default group can be here: {error}"));
            (divide(vec![default_group()], room).expect("the default group has room alone"), reports)
        }
    }
}

/// What a group has at least.
fn budget_min(room: &Room<'_>) -> u64 {
    larder_store::segment_bytes(room.memory_bytes / u64::from(room.shards)) * u64::from(room.shards)
}

/// Gives every group its budget.
fn divide(asked: Vec<Asked>, room: &Room<'_>) -> Result<Groups, ConfigError> {
    let share_min = larder_store::segment_bytes(room.memory_bytes / u64::from(room.shards));
    let budget_min = share_min * u64::from(room.shards);
    let minimum = format!("{} (a segment of {} per shard)", Size(budget_min), Size(share_min));
    for group in &asked {
        if let Some((bytes, text)) = group.budget.as_ref().filter(|(bytes, _)| *bytes < budget_min) {
            let problem = format!("{} is too little for {} shard(s)", Size(*bytes), room.shards);
            let fault = Fault::new(problem, format!("give it at least {minimum}, or have fewer shards"));
            return Err(refused(format!("memory of group {:?}", group.name), text, fault));
        }
    }
    let sum: u128 = asked.iter().filter_map(|group| group.budget.as_ref()).map(|(bytes, _)| u128::from(*bytes)).sum();
    let rest = u64::try_from(sum).ok().and_then(|sum| room.memory_bytes.checked_sub(sum));
    let rest_needed = if asked.iter().any(|group| group.budget.is_none()) { budget_min } else { 0 };
    let Some(rest) = rest.filter(|rest| *rest >= rest_needed) else {
        let problem = match rest {
            None => format!("the groups have more than this: {}", spelled_out(&asked, sum)),
            Some(_) => format!(
                "the groups leave less than the {minimum} that the group \"{DEFAULT_GROUP}\" needs: {}",
                spelled_out(&asked, sum)
            ),
        };
        let fault = Fault::new(problem, "give the groups less, or raise the memory");
        let text = Text { text: Size(room.memory_bytes).to_string(), source: room.memory_source.clone() };
        return Err(refused("memory", &text, fault));
    };

    let default_follows = asked[0].budget.is_none();
    let mut groups = Groups { configs: Vec::new(), sources: Vec::new(), default_follows, unused_bytes: rest };
    for group in asked {
        let budget_bytes = match group.budget {
            Some((bytes, _)) => bytes,
            None => std::mem::take(&mut groups.unused_bytes),
        };
        let Asked { name, policy, ttl_ms, ttl_jitter, origin, sources, .. } = group;
        let Asked { stale_while_revalidate_ms, stale_if_error_ms, .. } = group;
        groups.configs.push(GroupConfig {
            name,
            budget_bytes,
            policy,
            ttl_ms,
            ttl_jitter,
            stale_while_revalidate_ms,
            stale_if_error_ms,
            origin,
        });
        groups.sources.push(sources);
    }
    Ok(groups)
}

/// `256MiB (scores) + 1GiB (sessions) = 1280MiB`
fn spelled_out(asked: &[Asked], sum: u128) -> String {
    let parts: Vec<String> = asked
        .iter()
        .filter_map(|group| group.budget.as_ref().map(|(bytes, _)| format!("{} ({})", Size(*bytes), group.name)))
        .collect();
    let sum = u64::try_from(sum).map_or_else(|_| format!("{sum}B"), |sum| Size(sum).to_string());
    format!("{} = {sum}", parts.join(" + "))
}

fn check_name(name: &Text) -> Result<(), ConfigError> {
    let problem = match name.text.as_str() {
        "" => "it is empty",
        text if text.len() > GROUP_NAME_BYTES_MAX => "it is too long",
        text if text.chars().any(char::is_control) => "it has control characters",
        _ => return Ok(()),
    };
    let remedy = format!("use 1 to {GROUP_NAME_BYTES_MAX} bytes of UTF-8 without control characters");
    Err(refused("group.name", name, Fault::new(problem, remedy)))
}

fn budget(text: &str, memory_bytes: u64) -> Result<u64, Fault> {
    let Some(percent) = text.trim().strip_suffix('%') else {
        return size(text).map(|Size(bytes)| bytes);
    };
    let fault = |problem: &str| Fault::new(problem, MEMORY_REMEDY);
    let (whole, fraction) = percent.trim().split_once('.').unwrap_or((percent.trim(), "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return Err(fault("what stands before the % is not a number"));
    }
    if fraction.len() > 3 {
        return Err(fault("it has more than three digits behind the point"));
    }
    let whole: u64 = whole.parse().map_err(|_| fault("it is more than 100%"))?;
    let fraction: u64 =
        format!("{fraction:0<3}").parse().map_err(|_| fault("what stands before the % is not a number"))?;
    let share = whole.saturating_mul(1000).saturating_add(fraction);
    if share > SHARE_WHOLE {
        return Err(fault("it is more than 100%"));
    }
    let bytes = u128::from(memory_bytes) * u128::from(share) / u128::from(SHARE_WHOLE);
    Ok(u64::try_from(bytes).expect("a share is not larger than the whole"))
}

fn policy(text: &str) -> Result<PolicySettings, Fault> {
    text.parse().map_err(|error: PolicyError| Fault::new(error.problem(), error.remedy()))
}

pub(super) fn ttl(text: &str) -> Result<u64, Fault> {
    if text == "off" {
        return Ok(0);
    }
    let Milliseconds(ttl_ms) = text.parse()?;
    match ttl_ms {
        0 => Err(Fault::new("entries would not live at all", "write off if they are to stay until they are evicted")),
        1..=TTL_MS_MAX => Ok(ttl_ms),
        _ => Err(Fault::new("it is too long", format!("write at most {}, or off", Milliseconds(TTL_MS_MAX)))),
    }
}

/// How far times to live are spread, in percent.
fn ttl_jitter(text: &str, ttl_ms: u64) -> Result<u8, Fault> {
    if text == "off" {
        return Ok(0);
    }
    let remedy = || format!("write a whole percentage up to {TTL_JITTER_MAX}% such as 10%, or off");
    let percent = text.trim().strip_suffix('%').ok_or_else(|| Fault::new("it is not a percentage", remedy()))?;
    let percent = percent.trim_end();
    if percent.is_empty() || !percent.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::new("what stands before the % is not a whole number", remedy()));
    }
    match percent.parse() {
        Ok(0) => Ok(0),
        Ok(1..=TTL_JITTER_MAX) if ttl_ms == 0 => {
            Err(Fault::new("the group has no ttl that it could spread", "give the group a ttl, or write off"))
        }
        Ok(percent @ 1..=TTL_JITTER_MAX) => Ok(percent),
        Ok(_) | Err(_) => Err(Fault::new(format!("it is more than {TTL_JITTER_MAX}%"), remedy())),
    }
}

pub(super) fn refused(name: impl Into<String>, text: &Text, fault: Fault) -> ConfigError {
    ConfigError::Refused { name: name.into(), value: text.text.clone(), given_by: text.source.clone(), fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn text(text: &str) -> Text {
        Text { text: text.to_owned(), source: Source::Flag("memory") }
    }

    fn groups(groups: &[(&str, Option<&str>)], memory_bytes: u64, shards: u16) -> Result<Groups, String> {
        let given: Vec<GivenGroup> = groups
            .iter()
            .map(|(name, memory)| GivenGroup {
                name: text(name),
                memory: memory.map(text),
                policy: None,
                ttl: None,
                ttl_jitter: None,
                stale_while_revalidate: None,
                stale_if_error: None,
                origin: None,
            })
            .collect();
        let room = Room { memory_bytes, memory_source: &Source::Flag("memory"), shards };
        resolve(&given, &room).map_err(|error| error.to_string())
    }

    fn budgets(groups: &Groups) -> Vec<(&str, u64)> {
        groups.configs.iter().map(|group| (group.name.as_str(), group.budget_bytes)).collect()
    }

    #[test]
    fn the_default_group_gets_what_others_leave() {
        let alone = groups(&[], 16 * MIB, 2).unwrap();
        assert_eq!(budgets(&alone), [("default", 16 * MIB)]);
        let among = groups(&[("a", Some("25%")), ("default", None), ("b", Some("1MiB"))], 16 * MIB, 2).unwrap();
        assert_eq!(budgets(&among), [("default", 11 * MIB), ("a", 4 * MIB), ("b", MIB)]);
        assert!(among.unused_bytes == 0 && among.default_follows);
        let own = groups(&[("a", Some("25%")), ("default", Some("50%"))], 16 * MIB, 2).unwrap();
        assert_eq!(budgets(&own), [("default", 8 * MIB), ("a", 4 * MIB)]);
        assert!(own.unused_bytes == 4 * MIB && !own.default_follows);
        let whole = groups(&[("a", Some("25%")), ("default", Some("12MiB"))], 16 * MIB, 2).unwrap();
        assert_eq!(whole.unused_bytes, 0);
    }

    #[test]
    fn budgets_that_do_not_fit_are_spelled_out() {
        let above = groups(&[("a", Some("10MiB")), ("default", Some("6MiB")), ("b", Some("1KB"))], 16 * MIB, 1);
        assert!(
            above.err().unwrap().starts_with("memory of group \"b\" = \"1KB\" (from --memory): 1000B is too little")
        );
        let above = groups(&[("a", Some("10MiB")), ("default", Some("6MiB")), ("b", Some("1MiB"))], 16 * MIB, 1);
        let expected = "memory = \"16MiB\" (from --memory): the groups have more than this: \
                        6MiB (default) + 10MiB (a) + 1MiB (b) = 17MiB: give the groups less, or raise the memory";
        assert_eq!(above.err().unwrap(), expected);
        let nothing_left = groups(&[("a", Some("100%"))], 16 * MIB, 2).err().unwrap();
        assert!(
            nothing_left.contains("the groups leave less than the 32KiB (a segment of 16KiB per shard)"),
            "{nothing_left}"
        );
        assert!(nothing_left.contains("16MiB (a) = 16MiB"), "{nothing_left}");
        let max = u64::MAX.to_string();
        let huge = groups(&[("a", Some(&max)), ("b", Some(&max))], 16 * MIB, 1).err().unwrap();
        assert!(huge.contains("= 36893488147419103230B"), "{huge}");
    }

    #[test]
    fn names() {
        for (name, part) in [("", "it is empty"), (&*"x".repeat(256), "it is too long"), ("a\nb", "control characters")]
        {
            let error = groups(&[(name, Some("1MiB"))], 16 * MIB, 1).err().unwrap();
            assert!(error.starts_with("group.name = ") && error.contains(part), "{error}");
        }
        let twice = groups(&[("a", Some("1MiB")), ("a", Some("1MiB"))], 16 * MIB, 1).err().unwrap();
        assert!(twice.contains("there is another group of this name"), "{twice}");
        let without = groups(&[("a", None)], 16 * MIB, 1).err().unwrap();
        assert!(without.starts_with("group.name = \"a\" (from --memory): it has no memory: write a size"), "{without}");
    }

    #[test]
    fn shares() {
        for (text, bytes) in
            [("0%", 0), ("25%", 250), ("12.5%", 125), ("0.125 %", 1), ("100%", 1000), ("100.000%", 1000)]
        {
            assert_eq!(budget(text, 1000).unwrap(), bytes, "{text}");
        }
        assert_eq!(budget("100%", u64::MAX).unwrap(), u64::MAX);
        for text in ["%", "-1%", "1,5%", "1.%", ".5%", "1.2345%", "101%", "100.001%", "99999999999999999999%", "25"] {
            let expected = if text == "25" { Ok(25) } else { Err(()) };
            assert_eq!(budget(text, 1000).map_err(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn policies_and_times() {
        for &kind in PolicyKind::ALL {
            assert_eq!(policy(kind.name()).unwrap(), kind.into());
        }
        assert_eq!(policy("two_q:in=30%").unwrap().to_string(), "two_q:in=30%");
        let error = |text| policy(text).unwrap_err().to_string();
        assert!(error("2q").starts_with("there is no policy \"2q\": choose one of "), "{}", error("2q"));
        assert_eq!(error("two_q:in=0%"), "in=0% of policy two_q is out of range: give one from 1% to 99%");
        assert_eq!(ttl("10m").unwrap(), 600_000);
        assert_eq!(ttl("off").unwrap(), 0);
        assert_eq!(ttl("3650d").unwrap(), TTL_MS_MAX);
        for text in ["0s", "3651d", "10", "never"] {
            assert!(ttl(text).is_err(), "{text}");
        }
    }

    #[test]
    fn jitter() {
        for (text, percent) in [("off", 0), ("0%", 0), ("1%", 1), ("10%", 10), (" 10 %", 10), ("050%", 50)] {
            assert_eq!(ttl_jitter(text, 1000), Ok(percent), "{text}");
        }
        assert_eq!((ttl_jitter("off", 0), ttl_jitter("0%", 0)), (Ok(0), Ok(0)), "nothing is spread");
        for (text, problem) in [
            ("51%", "it is more than 50%"),
            ("256%", "it is more than 50%"),
            ("99999999999999999999%", "it is more than 50%"),
            ("10", "it is not a percentage"),
            ("0.1", "it is not a percentage"),
            ("", "it is not a percentage"),
            ("%", "what stands before the % is not a whole number"),
            ("-1%", "what stands before the % is not a whole number"),
            ("+1%", "what stands before the % is not a whole number"),
            ("2.5%", "what stands before the % is not a whole number"),
        ] {
            let refused = ttl_jitter(text, 1000).unwrap_err().to_string();
            assert_eq!(refused, format!("{problem}: write a whole percentage up to 50% such as 10%, or off"), "{text}");
        }
        let without = ttl_jitter("10%", 0).unwrap_err().to_string();
        assert_eq!(without, "the group has no ttl that it could spread: give the group a ttl, or write off");
    }
}
