//! What the operating system is asked for: cores and file descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::error::LoadError;

/// Files that the program has open besides its connections.
const FILES_BESIDES: u64 = 64;

/// Keeps this thread on one core, which `option` named.
///
/// # Errors
/// The process may not run there.
pub(crate) fn pin(option: &'static str, core: usize) -> Result<(), LoadError> {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).map_err(|error| {
        let allowed = sched_getaffinity(None).map(|set| cores_of(&set)).unwrap_or_default();
        LoadError::option(option, core, format!("{error}; this process may run on {}", allowed.join(",")))
    })
}

/// CPU time that this thread has used, in ns.
pub fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

fn cores_of(set: &CpuSet) -> Vec<String> {
    (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).map(|core| core.to_string()).collect()
}

/// Raises the limit of open files as far as it may be raised, so that there can be so many connections.
///
/// # Errors
/// The limit is below what is needed.
pub fn allow_files(connections: usize) -> Result<(), LoadError> {
    let needed = connections as u64 + FILES_BESIDES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit { current: maximum.map(|maximum| maximum.min(needed)).or(Some(needed)), maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) if maximum.is_none_or(|maximum| maximum >= needed) => Ok(()),
        _ => Err(LoadError::Files { connections, needed, limit: maximum.or(current).unwrap_or(0) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let error = std::thread::spawn(|| pin("--server-core", CpuSet::MAX_CPU - 1)).join().unwrap().unwrap_err();
        assert!(error.to_string().contains("--server-core 1023"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn more_files_than_may_be_is_an_error_about_connections() {
        assert!(allow_files(10).is_ok());
        let Some(most) = getrlimit(Resource::Nofile).maximum else { return };
        let error = allow_files(most as usize).unwrap_err();
        let expected = format!("{most} connections, those that load keys among them, need {}", most + FILES_BESIDES);
        assert!(error.to_string().starts_with(&expected) && error.to_string().contains("ulimit"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
