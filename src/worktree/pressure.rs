//! Reads how much the machine has to do, as a hint for work that nobody waits for.

use std::time::Duration;

/// How the machine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// There is a processor that nobody uses.
    #[default]
    Calm,
    /// Others use nearly all of it.
    Busy,
    /// Others wait for processors, disks or memory.
    Pressed,
}

/// One line of `/proc/pressure`: how long some task waited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stall {
    /// Percent of the last ten seconds.
    pub avg10: f64,
    /// Microseconds since the machine started.
    pub total_us: u64,
}

/// What the machine said at one moment; none for what it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Waiting for a processor.
    pub cpu: Option<Stall>,
    /// Waiting for a disk.
    pub io: Option<Stall>,
    /// Waiting for memory.
    pub memory: Option<Stall>,
    /// Ticks (of 10 ms) that processors had nothing to do since the machine started, of all together.
    pub idle_ticks: Option<u64>,
    /// Load of the last minute.
    pub load: Option<f64>,
    /// Processors that we may use.
    pub cpus: usize,
}

/// Some task waited for a processor for this share of the time: others wait.
const CPU_PRESSED: f64 = 0.25;
/// The same for a disk, our own waiting not counted.
const IO_PRESSED: f64 = 0.25;
/// The same for memory: what is freed and copied in the background costs page cache.
const MEMORY_PRESSED: f64 = 0.05;
/// Some task waited for this share of the time: it is just enough for the others.
const BUSY: f64 = 0.05;
/// With less than this many processors idle, what we use is taken from somebody.
const SPARE_CPUS: f64 = 0.75;
/// Microseconds in a tick.
const TICK_US: f64 = 10_000.0;

/// Reads it. Blocks for some microseconds.
pub(super) fn look() -> Sample {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let stall = |path: &str| parse_stall(&read(path)?);
    Sample {
        cpu: stall("/proc/pressure/cpu"),
        io: stall("/proc/pressure/io"),
        memory: stall("/proc/pressure/memory"),
        idle_ticks: read("/proc/stat").and_then(|text| parse_idle(&text)),
        load: read("/proc/loadavg").and_then(|text| text.split_ascii_whitespace().next()?.parse().ok()),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// The line `some` of a file in `/proc/pressure`.
pub fn parse_stall(text: &str) -> Option<Stall> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let value = |key: &str| line.split_ascii_whitespace().find_map(|field| field.strip_prefix(key));
    Some(Stall { avg10: value("avg10=")?.parse().ok()?, total_us: value("total=")?.parse().ok()? })
}

/// Idle ticks of all processors in `/proc/stat`, those that waited for a disk included.
pub fn parse_idle(text: &str) -> Option<u64> {
    let mut fields = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let idle: u64 = fields.nth(3)?.parse().ok()?;
    Some(idle.saturating_add(fields.next()?.parse().ok()?))
}

/// Judges a moment by what happened since the one before, `elapsed` ago, in which we ourselves `worked`.
/// With nothing before, or too little time between, by the averages. Where the machine does not tell who
/// waits, the load decides.
pub fn weigh(before: Option<&Sample>, now: &Sample, elapsed: Duration, worked: Duration) -> Pressure {
    let us = elapsed.as_secs_f64() * 1e6;
    let before = before.filter(|_| elapsed >= Duration::from_millis(100));
    let share = |now: Option<Stall>, then: Option<Stall>| {
        let now = now?;
        Some(match then {
            Some(then) => now.total_us.saturating_sub(then.total_us) as f64 / us,
            None => now.avg10 / 100.0,
        })
    };
    // We are in the figures, too: what we did cannot have been more than this.
    let own = if us > 0.0 && before.is_some() { worked.as_secs_f64() * 1e6 / us } else { 0.0 };
    let cpu = share(now.cpu, before.and_then(|then| then.cpu));
    let io = share(now.io, before.and_then(|then| then.io)).map(|share| share - own);
    let memory = share(now.memory, before.and_then(|then| then.memory));
    let above = |share: Option<f64>, limit: f64| share.is_some_and(|share| share >= limit);
    if above(cpu, CPU_PRESSED) || above(io, IO_PRESSED) || above(memory, MEMORY_PRESSED) {
        return Pressure::Pressed;
    }
    let cpus = now.cpus as f64;
    if cpu.is_none() && now.load.is_some_and(|load| load >= 1.5 * cpus) {
        return Pressure::Pressed;
    }
    let idle = match (now.idle_ticks, before.and_then(|then| then.idle_ticks)) {
        (Some(now), Some(then)) => Some(now.saturating_sub(then) as f64 * TICK_US / us + own),
        (Some(_) | None, _) => now.load.map(|load| cpus - load),
    };
    if above(cpu, BUSY) || above(io, BUSY) || idle.is_some_and(|idle| idle < SPARE_CPUS) {
        return Pressure::Busy;
    }
    Pressure::Calm
}
