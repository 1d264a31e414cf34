//! The machine that a report is about.

use std::path::Path;

use anyhow::{Context, Result};

/// The processor, as the kernel names it, how many of its cores there are, and the kernel.
///
/// # Errors
/// The kernel does not tell.
pub fn machine() -> Result<String> {
    let path = Path::new("/proc/cpuinfo");
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let cores = text.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{}, {cores} cores, Linux {}", name.unwrap_or("unknown processor"), kernel.trim()))
}
