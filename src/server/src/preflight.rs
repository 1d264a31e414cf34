//! What a machine must allow before the server starts: found out and explained before anything fails half-way.
//!
//! [`Facts`] are read from the system; [`check`] judges them and is a pure function.

use std::fmt;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, Size};
use crate::limits::{
    CORES_MAX, FILES_BASE, FILES_PER_SHARD, MEMLOCK_BYTES_MIN, MEMLOCK_PER_SHARD_BYTES, PROBE_RING_ENTRIES,
};

/// The oldest kernel that has all that the server uses of io_uring.
const KERNEL_MIN: (u32, u32) = (6, 1);

const IO_URING_DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";
const CGROUP_MEMORY_MAX: &str = "/sys/fs/cgroup/memory.max";

/// What this machine allows this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The kernel's release, such as `6.1.0-18-amd64`.
    pub kernel_release: String,
    /// `kernel.io_uring_disabled`; none where the kernel does not have this switch.
    pub io_uring_disabled: Option<u32>,
    /// The error number with which the kernel refused an io_uring, if it did.
    pub ring_errno: Option<i32>,
    /// Memory that may be locked, in bytes.
    pub memlock: Limit,
    /// Files that may be open.
    pub files: Limit,
    /// The memory of the machine or of this container, in bytes.
    pub memory_bytes: u64,
}

/// A resource limit; [`Limit::UNLIMITED`] where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The limit in force.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

/// What the server needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Its shards.
    pub shards: u16,
    /// Its client connections.
    pub connections_max: u32,
    /// The memory of its groups, in bytes.
    pub memory_bytes: u64,
}

/// Resource limits to be set, and what is odd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// The soft limit of locked memory to set, in bytes.
    pub memlock_soft: Option<u64>,
    /// The soft limit of open files to set.
    pub files_soft: Option<u64>,
    /// What is allowed, but worth a line on standard error.
    pub warnings: Vec<Oddity>,
}

/// Something that does not keep the server from starting, but may hurt it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Oddity {
    /// The kernel will end the process before it has filled its memory.
    #[error(
        "memory = \"{}\" is more than the {} that this machine or container has: the kernel may kill the server when \
         it fills up",
        Size(*.configured_bytes), Size(*.present_bytes)
    )]
    MemoryAboveMachine {
        /// The configured memory, in bytes.
        configured_bytes: u64,
        /// The memory there is, in bytes.
        present_bytes: u64,
    },
}

/// Why the server cannot run here. Every obstacle is named, not only the first.
#[derive(Debug, PartialEq, Eq)]
pub struct PreflightError {
    /// At least one.
    pub obstacles: Vec<Obstacle>,
}

/// One thing that keeps the server from running here; its message says how to remove it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// The kernel is too old, or does not say how old it is.
    #[error("kernel {release} is too old: run Linux {}.{} or newer", KERNEL_MIN.0, KERNEL_MIN.1)]
    Kernel {
        /// Its release.
        release: String,
    },
    /// The administrator has switched io_uring off.
    #[error(
        "io_uring is switched off on this machine (kernel.io_uring_disabled = {value}): switch it on with \
         `sysctl -w kernel.io_uring_disabled=0`"
    )]
    RingDisabled {
        /// The value of the switch.
        value: u32,
    },
    /// Something refuses io_uring to this process.
    #[error(
        "io_uring is not permitted to this process, as in containers with the default seccomp profile: run the \
         container with `--security-opt seccomp=unconfined`, or with a profile that allows io_uring_setup, \
         io_uring_enter and io_uring_register (in Kubernetes: securityContext.seccompProfile)"
    )]
    RingBlocked,
    /// The kernel or the sandbox has no io_uring.
    #[error(
        "this kernel has no io_uring, or a sandbox hides it: run a kernel with CONFIG_IO_URING=y, outside of gVisor \
         and the like; in a container, run it with `--security-opt seccomp=unconfined`"
    )]
    RingMissing,
    /// An io_uring cannot be made for another reason.
    #[error("an io_uring cannot be made: {}: free what is short, or report this", io::Error::from_raw_os_error(*.errno))]
    RingFailed {
        /// What the system said.
        errno: i32,
    },
    /// Too little memory may be locked.
    #[error(
        "only {} of memory may be locked, and the executors need {}: raise it with `ulimit -l {}` (as root), \
         LimitMEMLOCK={} in a systemd unit, or `--ulimit memlock={}` for a container",
        Size(*.hard_bytes), Size(*.needed_bytes), .needed_bytes.div_ceil(1024), .needed_bytes, .needed_bytes
    )]
    Memlock {
        /// How far it can be raised, in bytes.
        hard_bytes: u64,
        /// How much is needed, in bytes.
        needed_bytes: u64,
    },
    /// Too few files may be open.
    #[error(
        "only {hard} files may be open, and {connections_max} connections need {needed}: raise it with `ulimit -n \
         {needed}` (as root), LimitNOFILE={needed} in a systemd unit, or `--ulimit nofile={needed}` for a container; \
         {}",
        fewer_connections(*.hard, *.needed, *.connections_max)
    )]
    Files {
        /// How far it can be raised.
        hard: u64,
        /// How many are needed.
        needed: u64,
        /// The configured number of connections.
        connections_max: u32,
    },
    /// The system refuses what it said the process may do.
    #[error(
        "the limit of {limit} cannot be raised, although it is below the hard limit: {errno}: raise it before the start"
    )]
    LimitFixed {
        /// What is limited.
        limit: &'static str,
        /// What the system said.
        errno: rustix::io::Errno,
    },
}

/// Finds out whether a server of this configuration can run here, and raises resource limits as far as that needs.
///
/// # Errors
/// Everything that keeps it from running.
pub fn run(config: &Config) -> Result<Vec<Oddity>, PreflightError> {
    let needs =
        Needs { shards: config.shards, connections_max: config.connections_max, memory_bytes: config.memory_bytes };
    let cleared = check(&Facts::read(), &needs)?;
    raise(Resource::Memlock, cleared.memlock_soft, "locked memory")?;
    raise(Resource::Nofile, cleared.files_soft, "open files")?;
    Ok(cleared.warnings)
}

/// The numbers of the cores that this process may run on, in ascending order.
///
/// # Errors
/// If the system does not say.
pub fn cores_allowed() -> io::Result<Vec<usize>> {
    let cores = rustix::thread::sched_getaffinity(None)?;
    Ok((0..CORES_MAX).filter(|core| cores.is_set(*core)).collect())
}

/// Judges a machine.
///
/// # Errors
/// Everything that keeps the server from running.
pub fn check(facts: &Facts, needs: &Needs) -> Result<Cleared, PreflightError> {
    let mut cleared = Cleared::default();
    let mut obstacles = Vec::new();
    obstacles.extend(check_kernel(&facts.kernel_release).err());
    obstacles.extend(check_ring(facts).err());
    match check_memlock(facts.memlock, needs) {
        Ok(soft) => cleared.memlock_soft = soft,
        Err(obstacle) => obstacles.push(obstacle),
    }
    match check_files(facts.files, needs) {
        Ok(soft) => cleared.files_soft = soft,
        Err(obstacle) => obstacles.push(obstacle),
    }
    if needs.memory_bytes > facts.memory_bytes {
        let (configured_bytes, present_bytes) = (needs.memory_bytes, facts.memory_bytes);
        cleared.warnings.push(Oddity::MemoryAboveMachine { configured_bytes, present_bytes });
    }
    if obstacles.is_empty() { Ok(cleared) } else { Err(PreflightError { obstacles }) }
}

fn check_kernel(release: &str) -> Result<(), Obstacle> {
    let mut numbers = release.split(|it: char| !it.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= KERNEL_MIN => Ok(()),
        _ => Err(Obstacle::Kernel { release: release.to_owned() }),
    }
}

fn check_ring(facts: &Facts) -> Result<(), Obstacle> {
    use rustix::io::Errno;
    let Some(errno) = facts.ring_errno else { return Ok(()) };
    match (Errno::from_raw_os_error(errno), facts.io_uring_disabled) {
        (Errno::PERM | Errno::ACCESS, Some(value @ 1..)) => Err(Obstacle::RingDisabled { value }),
        (Errno::PERM | Errno::ACCESS, Some(0) | None) => Err(Obstacle::RingBlocked),
        (Errno::NOSYS, _) => Err(Obstacle::RingMissing),
        _ => Err(Obstacle::RingFailed { errno }),
    }
}

/// The soft limit to set, if any. Below [`MEMLOCK_BYTES_MIN`] executors do not start; above, what cannot be locked is
/// done without, so that the rest is only asked for.
fn check_memlock(limit: Limit, needs: &Needs) -> Result<Option<u64>, Obstacle> {
    let wanted = (MEMLOCK_PER_SHARD_BYTES * u64::from(needs.shards)).max(MEMLOCK_BYTES_MIN);
    let soft = limit.raised_towards(wanted);
    if soft < MEMLOCK_BYTES_MIN {
        return Err(Obstacle::Memlock { hard_bytes: limit.hard, needed_bytes: wanted });
    }
    Ok(Some(soft).filter(|soft| *soft != limit.soft))
}

/// The soft limit to set, if any.
fn check_files(limit: Limit, needs: &Needs) -> Result<Option<u64>, Obstacle> {
    let needed = u64::from(needs.connections_max) + FILES_BASE + FILES_PER_SHARD * u64::from(needs.shards);
    let soft = limit.raised_towards(needed);
    if soft < needed {
        let connections_max = needs.connections_max;
        return Err(Obstacle::Files { hard: limit.hard, needed, connections_max });
    }
    Ok(Some(soft).filter(|soft| *soft != limit.soft))
}

fn fewer_connections(hard: u64, needed: u64, connections_max: u32) -> String {
    match u64::from(connections_max).checked_sub(needed - hard).filter(|connections| *connections > 0) {
        Some(connections) => format!("or have fewer with --connections-max {connections}"),
        None => "fewer connections alone are not enough".to_owned(),
    }
}

impl Limit {
    /// A limit that limits nothing.
    pub const UNLIMITED: u64 = u64::MAX;

    /// The soft limit that is nearest to a wanted one, and not below the present one.
    fn raised_towards(self, wanted: u64) -> u64 {
        wanted.min(self.hard).max(self.soft)
    }

    fn read(resource: Resource) -> Self {
        let Rlimit { current, maximum } = getrlimit(resource);
        Self { soft: current.unwrap_or(Self::UNLIMITED), hard: maximum.unwrap_or(Self::UNLIMITED) }
    }
}

impl Facts {
    /// Asks the system.
    pub fn read() -> Self {
        let switch = std::fs::read_to_string(IO_URING_DISABLED).ok();
        let machine = rustix::system::sysinfo();
        let machine_bytes = machine.totalram.saturating_mul(u64::from(machine.mem_unit));
        let container = std::fs::read_to_string(CGROUP_MEMORY_MAX).ok();
        let container_bytes = container.and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX);
        Self {
            kernel_release: rustix::system::uname().release().to_string_lossy().into_owned(),
            io_uring_disabled: switch.and_then(|text| text.trim().parse().ok()),
            ring_errno: probe_ring(),
            memlock: Limit::read(Resource::Memlock),
            files: Limit::read(Resource::Nofile),
            memory_bytes: machine_bytes.min(container_bytes),
        }
    }
}

/// Makes an io_uring and drops it. Gives the error number if the kernel refuses.
fn probe_ring() -> Option<i32> {
    let error = io_uring::IoUring::new(PROBE_RING_ENTRIES).err()?;
    Some(error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error()))
}

fn raise(resource: Resource, soft: Option<u64>, limit: &'static str) -> Result<(), PreflightError> {
    let Some(soft) = soft else { return Ok(()) };
    let Rlimit { maximum, .. } = getrlimit(resource);
    let current = Some(soft).filter(|soft| *soft != Limit::UNLIMITED);
    setrlimit(resource, Rlimit { current, maximum })
        .map_err(|errno| PreflightError { obstacles: vec![Obstacle::LimitFixed { limit, errno }] })
}

impl std::error::Error for PreflightError {}

impl fmt::Display for PreflightError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, obstacle) in self.obstacles.iter().enumerate() {
            write!(formatter, "{}{obstacle}", if index == 0 { "" } else { "\nlarder: " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    const NEEDS: Needs = Needs { shards: 4, connections_max: 1000, memory_bytes: 1 << 30 };
    const FILES_NEEDED: u64 = 1000 + FILES_BASE + 4 * FILES_PER_SHARD;

    fn good() -> Facts {
        Facts {
            kernel_release: "6.1.0-18-amd64".to_owned(),
            io_uring_disabled: Some(0),
            ring_errno: None,
            memlock: Limit { soft: 8 << 20, hard: 8 << 20 },
            files: Limit { soft: 65_536, hard: 65_536 },
            memory_bytes: 1 << 30,
        }
    }

    fn obstacle(facts: &Facts) -> String {
        let error = check(facts, &NEEDS).unwrap_err();
        assert_eq!(error.obstacles.len(), 1, "{error}");
        error.to_string()
    }

    #[test]
    fn a_good_machine_is_cleared_without_a_change() {
        assert_eq!(check(&good(), &NEEDS), Ok(Cleared::default()));
    }

    #[test]
    fn this_machine_answers() {
        let facts = Facts::read();
        assert!(check_kernel(&facts.kernel_release).is_ok(), "{facts:?}");
        assert!(facts.memory_bytes > 64 << 20 && facts.memory_bytes < 1 << 50, "{facts:?}");
        assert!(facts.files.soft <= facts.files.hard && facts.files.soft > 0, "{facts:?}");
        let cores = cores_allowed().unwrap();
        assert!(!cores.is_empty() && cores.is_sorted_by(|a, b| a < b), "{cores:?}");
        assert_eq!(cores.len(), std::thread::available_parallelism().unwrap().get().max(cores.len()));
    }

    #[test]
    fn kernels() {
        for release in ["6.1", "6.1.0", "6.18.44-fc-v657", "7.0-rc1", "10.0.1", "6.6.87.2-microsoft-standard-WSL2"] {
            assert_eq!(check_kernel(release), Ok(()), "{release}");
        }
        for release in ["6.0.19", "5.15.0-91-generic", "4.4.0", "", "6", "six.one"] {
            let facts = Facts { kernel_release: release.to_owned(), ..good() };
            assert_eq!(obstacle(&facts), format!("kernel {release} is too old: run Linux 6.1 or newer"));
        }
    }

    #[test]
    fn io_uring_that_is_refused() {
        for (errno, disabled, part) in [
            (
                Errno::PERM,
                Some(2),
                "kernel.io_uring_disabled = 2): switch it on with `sysctl -w kernel.io_uring_disabled=0`",
            ),
            (Errno::PERM, Some(1), "kernel.io_uring_disabled = 1)"),
            (Errno::PERM, Some(0), "seccomp=unconfined"),
            (Errno::ACCESS, None, "seccomp=unconfined"),
            (Errno::NOSYS, None, "CONFIG_IO_URING=y"),
            (Errno::NOMEM, Some(0), "Cannot allocate memory"),
        ] {
            let facts = Facts { ring_errno: Some(errno.raw_os_error()), io_uring_disabled: disabled, ..good() };
            assert!(obstacle(&facts).contains(part), "{}", obstacle(&facts));
        }
        let root = Facts { io_uring_disabled: Some(1), ..good() };
        assert!(check(&root, &NEEDS).is_ok(), "what the switch leaves to this process is enough");
    }

    #[test]
    fn locked_memory_is_raised_or_refused() {
        let cleared = |soft, hard| check(&Facts { memlock: Limit { soft, hard }, ..good() }, &NEEDS);
        let wanted = 4 * MEMLOCK_PER_SHARD_BYTES;
        assert_eq!(cleared(64 << 10, 8 << 20).unwrap().memlock_soft, Some(wanted));
        assert_eq!(cleared(64 << 10, Limit::UNLIMITED).unwrap().memlock_soft, Some(wanted));
        assert_eq!(cleared(64 << 10, MEMLOCK_BYTES_MIN).unwrap().memlock_soft, Some(MEMLOCK_BYTES_MIN));
        assert_eq!(cleared(MEMLOCK_BYTES_MIN, MEMLOCK_BYTES_MIN).unwrap().memlock_soft, None);
        assert_eq!(cleared(Limit::UNLIMITED, Limit::UNLIMITED).unwrap().memlock_soft, None);
        let error = cleared(64 << 10, MEMLOCK_BYTES_MIN - 1).unwrap_err().to_string();
        assert!(error.contains("LimitMEMLOCK=786432") && error.contains("ulimit -l 768`"), "{error}");
    }

    #[test]
    fn open_files_are_raised_or_refused() {
        let cleared = |soft, hard| check(&Facts { files: Limit { soft, hard }, ..good() }, &NEEDS);
        assert_eq!(cleared(1024, FILES_NEEDED).unwrap().files_soft, Some(FILES_NEEDED));
        assert_eq!(cleared(FILES_NEEDED, FILES_NEEDED).unwrap().files_soft, None);
        let error = cleared(1024, FILES_NEEDED - 100).unwrap_err().to_string();
        assert!(error.contains(&format!("`ulimit -n {FILES_NEEDED}`")), "{error}");
        assert!(error.contains("--connections-max 900"), "{error}");
        let error = cleared(10, 10).unwrap_err().to_string();
        assert!(error.contains("fewer connections alone are not enough"), "{error}");
    }

    #[test]
    fn too_large_a_memory_is_worth_a_line() {
        let facts = Facts { memory_bytes: (1 << 30) - 1, ..good() };
        let cleared = check(&facts, &NEEDS).unwrap();
        let [oddity] = cleared.warnings.as_slice() else { panic!("{cleared:?}") };
        assert!(oddity.to_string().starts_with("memory = \"1GiB\" is more than the 1073741823B"), "{oddity}");
    }

    #[test]
    fn every_obstacle_is_named() {
        let facts = Facts {
            kernel_release: "5.4.0".to_owned(),
            ring_errno: Some(Errno::NOSYS.raw_os_error()),
            memlock: Limit { soft: 0, hard: 0 },
            files: Limit { soft: 0, hard: 0 },
            ..good()
        };
        let error = check(&facts, &NEEDS).unwrap_err();
        assert_eq!(error.obstacles.len(), 4, "{error}");
        assert_eq!(error.to_string().lines().count(), 4, "{error}");
    }
}
