//! What the numbers were measured on.

use serde_json::{Value, json};

/// Processors, kernel, git, load.
pub(super) fn facts(file_system: Option<&str>) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let git = std::process::Command::new("git").arg("version").output().map(|output| output.stdout);
    json!({
        "processors": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "git": String::from_utf8_lossy(&git.unwrap_or_default()).trim(),
        "load": read("/proc/loadavg"),
        "file_system": file_system,
    })
}
