//! What `/proc` says.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// One line of `/proc/<pid>/stat`, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent.
    pub ppid: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// Processor time, user and system, in clock ticks.
    pub ticks: u64,
    /// `R`, `S`, `Z` …
    pub state: u8,
    /// Its short name; not necessarily text, and of its own choosing.
    pub name: Vec<u8>,
}

impl Process {
    /// True for what has ended: only its parent has not asked yet.
    pub const fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Reads one line of `/proc/<pid>/stat`. The name may have spaces and parentheses in it.
pub fn parse_stat(line: &[u8]) -> Option<Process> {
    let open = line.iter().position(|b| *b == b'(')?;
    let close = line.iter().rposition(|b| *b == b')')?;
    let name = line.get(open + 1..close)?.to_vec();
    let pid = std::str::from_utf8(&line[..open]).ok()?.trim().parse().ok()?;
    let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok());
    let small = |at: usize| number(at).and_then(|n| u32::try_from(n).ok());
    Some(Process {
        pid,
        ppid: small(1)?,
        group: small(2)?,
        session: small(3)?,
        start: number(19)?,
        ticks: number(11)?.saturating_add(number(12)?),
        state: *fields.first()?.as_bytes().first()?,
        name,
    })
}

/// The process with this id, a dead one not yet waited for included.
pub fn process(pid: u32) -> Option<Process> {
    parse_stat(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// When the process with this id started.
pub fn start_of(pid: u32) -> Option<u64> {
    process(pid).map(|p| p.start)
}

/// Every process.
pub fn all() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
        .filter_map(process)
        .collect()
}

/// Every descendant of `root`, parents before children, dead ones not yet waited for included.
pub fn descendants(root: u32) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut todo = vec![root];
    while let Some(parent) = todo.pop() {
        let Some(children) = children(parent) else { return descendants_by_parent(root) };
        for pid in children {
            if found.iter().any(|p| p.pid == pid) {
                continue;
            }
            if let Some(process) = process(pid) {
                todo.push(pid);
                found.push(process);
            }
        }
    }
    found
}

/// The children of all threads of `pid`; `None` where the kernel does not tell.
fn children(pid: u32) -> Option<Vec<u32>> {
    let mut pids = Vec::new();
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Some(pids) };
    for thread in threads.flatten() {
        match std::fs::read_to_string(thread.path().join("children")) {
            Ok(line) => pids.extend(line.split_ascii_whitespace().filter_map(|p| p.parse::<u32>().ok())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && thread.path().exists() => return None,
            Err(_ended) => {}
        }
    }
    Some(pids)
}

/// The same from everybody's parent, for kernels without `children`.
fn descendants_by_parent(root: u32) -> Vec<Process> {
    let mut by_parent: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    for process in all() {
        by_parent.entry(process.ppid).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut todo = vec![root];
    while let Some(parent) = todo.pop() {
        for process in by_parent.remove(&parent).unwrap_or_default() {
            todo.push(process.pid);
            found.push(process);
        }
    }
    found
}

/// The value of a variable in the environment that a process was started with, as far as we may look.
pub fn variable(pid: u32, name: &str) -> Option<Vec<u8>> {
    let [value] = variables(pid, &[name]);
    value
}

/// The values of several variables, in one reading, as [`variable`].
pub fn variables<const N: usize>(pid: u32, names: &[&str; N]) -> [Option<Vec<u8>>; N] {
    let block = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    names.map(|name| {
        block.split(|b| *b == 0).find_map(|entry| {
            let rest = entry.strip_prefix(name.as_bytes())?;
            rest.strip_prefix(b"=").map(<[u8]>::to_vec)
        })
    })
}

/// The command line of a process.
pub fn command_line(pid: u32) -> Vec<Vec<u8>> {
    let Ok(mut block) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return Vec::new() };
    if block.last() == Some(&0) {
        block.pop();
    }
    block.split(|b| *b == 0).map(<[u8]>::to_vec).collect()
}

/// Whose process it is.
pub fn owner(pid: u32) -> Option<u32> {
    std::fs::metadata(format!("/proc/{pid}")).ok().map(|m| m.uid())
}

/// How many threads a process has; 1 when nobody can tell.
pub fn threads(pid: u32) -> u64 {
    std::fs::metadata(format!("/proc/{pid}/task")).map_or(1, |m| m.nlink().saturating_sub(2).max(1))
}

/// A path as `mountinfo` has it: space, tab, line end and backslash are written as a backslash and three octal
/// digits.
pub fn mount_path(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let octal = text.get(at + 1..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        match (text[at], octal.and_then(|digits| u8::from_str_radix(digits, 8).ok())) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                at += 4;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

/// The boot that pids and start times belong to.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|s| s.trim().to_owned())
        .unwrap_or_default()
}

/// The umask of this process; reading it in any other way would change it for a moment.
pub fn umask() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(mask.trim(), 8).ok()
}
