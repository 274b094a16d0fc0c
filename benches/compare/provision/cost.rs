//! What work costs: processor, bytes written, disk and inodes.

use std::path::Path;

/// What a process and its children that have ended have spent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) cpu_ms: f64,
    pub(super) written_kib: f64,
}

/// Whose time counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    All,
    /// What has ended only: the rest is us.
    Children,
}

impl Spent {
    /// So far.
    pub(super) fn so_far(pid: u32, of: Of) -> Result<Self, String> {
        let read = |file: &str| {
            std::fs::read_to_string(format!("/proc/{pid}/{file}"))
                .map_err(|error| format!("what {pid} has spent: {error}"))
        };
        let stat = read("stat")?;
        let (_name, rest) = stat.rsplit_once(") ").ok_or("no figures of a process")?;
        let ticks = rest.split(' ').skip(11).take(4).map(|field| field.parse::<f64>().unwrap_or(0.0));
        let ticks: f64 = ticks.skip(if of == Of::Children { 2 } else { 0 }).sum();
        Ok(Self { cpu_ms: ticks * 10.0, written_kib: field(&read("io")?, "write_bytes: ") / 1024.0 })
    }

    /// What was spent since `before`, shared out.
    pub(super) fn since(self, before: Self, among: usize) -> Self {
        let among = among as f64;
        Self {
            cpu_ms: (self.cpu_ms - before.cpu_ms) / among,
            written_kib: (self.written_kib - before.written_kib) / among,
        }
    }
}

/// What we and our children that have ended have read, in KiB.
pub(super) fn read_so_far() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    field(&io, "rchar: ") / 1024.0
}

fn field(text: &str, name: &str) -> f64 {
    text.lines().find_map(|line| line.strip_prefix(name)).and_then(|n| n.parse().ok()).unwrap_or(0.0)
}

/// What is taken of a file system.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    pub(super) kib: f64,
    pub(super) inodes: f64,
}

impl Taken {
    pub(super) fn now(at: &Path) -> Result<Self, String> {
        let stat =
            rustix::fs::statvfs(at).map_err(|error| format!("the disk of {}: {error}", at.display()))?;
        let used = stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize);
        Ok(Self { kib: used as f64 / 1024.0, inodes: stat.f_files.saturating_sub(stat.f_ffree) as f64 })
    }
}

/// The type and options of the file system that a folder is on.
pub(super) fn file_system(at: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let of = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_device, place, kind, options, ..] = fields.as_slice() else { return None };
        at.starts_with(place).then(|| (place.len(), format!("{kind} ({options}) at {place}")))
    };
    mounts.lines().filter_map(of).max().map_or_else(|| "unknown".to_owned(), |(_length, text)| text)
}
