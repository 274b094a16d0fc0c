//! The machine: git, terminals, descriptors, processes, control groups, the clock.

use std::path::PathBuf;
use std::time::Duration;

use super::check::{Check, count};
use crate::clock::Timestamp;
use crate::worktree::git::MIN_VERSION_TEXT;

/// Terminals that are asked for at once by fifty lanes; fewer left is told.
const MANY_TERMINALS: u64 = 50;
/// Descriptors that the runtime keeps for itself: as it refuses a task below them.
const SPARE_FILES: u64 = 64;
/// Descriptors of the runtime for one live terminal: its keeper's process, and two connections to it (30 more
/// for ten more, counted in `/proc`).
const FILES_PER_TERMINAL: u64 = 3;
/// A clock that is so much behind what it once said is told; less is corrected all the time.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// git, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitFacts {
    /// The program and its version, or why there is none.
    pub found: Result<(PathBuf, String), String>,
    /// The one that a running daemon finds by its own `PATH`; none when nobody can tell.
    pub of_daemon: Option<PathBuf>,
}

/// What newer versions of git bring, oldest first.
const NEWS: [((u32, u32), &str); 2] = [
    (
        (2, 38),
        "`safe.bareRepository`, which keeps a repository that is planted in another one from being used",
    ),
    ((2, 45), "`GIT_NO_LAZY_FETCH`, so that looking at a partial clone fetches nothing"),
];

/// Says how git is.
pub fn judge_git(facts: &GitFacts) -> Vec<Check> {
    let (program, version) = match &facts.found {
        Err(why) => {
            let hint = format!("install git {MIN_VERSION_TEXT} or newer and put it on the PATH");
            return vec![Check::fail("git.version", why.clone()).hint(hint)];
        }
        Ok(found) => found,
    };
    let here = format!("git {version} at {} (at least {MIN_VERSION_TEXT} is needed)", program.display());
    let numbers = crate::worktree::git::parse_version(&format!("git version {version}"));
    let numbers = numbers.map_or((0, 0), |(_text, numbers)| numbers);
    let missed: Vec<String> = NEWS
        .iter()
        .filter(|(since, _what)| numbers < *since)
        .map(|((major, minor), what)| format!("{major}.{minor} brings {what}"))
        .collect();
    let mut checks = vec![match missed.is_empty() {
        true => Check::ok("git.version", here),
        false => Check::note("git.version", here).hint(missed.join("; ")),
    }];
    if let Some(other) = facts.of_daemon.as_ref().filter(|other| *other != program) {
        checks.push(
            Check::note("git.path", format!("the daemon uses another git: {}", other.display()))
                .hint("restart it where the PATH is the one you want: `lanes daemon restart`"),
        );
    }
    checks
}

/// What the machine allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineFacts {
    /// Terminals that are open, and the most there may be.
    pub terminals: Option<(u64, u64)>,
    /// How many of the most are kept for the first mount of terminals (`kernel.pty.reserve`).
    pub reserved_terminals: u64,
    /// Descriptors of a process: the soft and the hard limit; none is none.
    pub files: (Option<u64>, Option<u64>),
    /// Processes and threads of the user: there are, and the soft limit; none is none, also for root.
    pub processes: (u64, Option<u64>),
    /// True when the tree of a task can be ended by its control group.
    pub group_ends_trees: bool,
    /// What control groups can limit: `memory`, `pids`, `cpu`.
    pub group_limits: Vec<&'static str>,
    /// Folders and files that the user may have watched (`fs.inotify.max_user_watches`).
    pub watches: Option<u64>,
    /// True when the system says who waits for processors, disks and memory (`/proc/pressure`).
    pub tells_pressure: bool,
    /// True when the system says which boot this is.
    pub knows_boot: bool,
    /// The time now.
    pub now: Timestamp,
    /// The newest time that the store has.
    pub newest_event: Option<Timestamp>,
}

/// Says how the machine is.
pub fn judge_machine(facts: &MachineFacts) -> Vec<Check> {
    vec![
        terminals(facts),
        files(facts),
        processes(facts),
        groups(facts),
        clock(facts),
        watches(facts),
        pressure(facts),
    ]
}

fn terminals(facts: &MachineFacts) -> Check {
    const ID: &str = "machine.terminals";
    const HINT: &str = "close some, or raise kernel.pty.max (sysctl)";
    let Some((open, most)) = facts.terminals else {
        return Check::note(ID, "the system does not say how many terminals there may be");
    };
    let left = most.saturating_sub(facts.reserved_terminals).saturating_sub(open);
    let open = count(usize::try_from(open).unwrap_or(usize::MAX), "terminal is", "terminals are");
    let message = format!("{open} open on this machine, {left} more may be");
    match left {
        0..=16 => Check::fail(ID, message).hint(HINT),
        17..MANY_TERMINALS => Check::warn(ID, message).hint(HINT),
        MANY_TERMINALS.. => Check::ok(ID, message),
    }
}

fn files(facts: &MachineFacts) -> Check {
    const ID: &str = "machine.files";
    let (soft, hard) = facts.files;
    let Some(hard) = hard else { return Check::ok(ID, "open files are not limited") };
    let terminals = hard.saturating_sub(SPARE_FILES) / FILES_PER_TERMINAL;
    let soft = soft.map_or_else(|| "no".to_owned(), |soft| soft.to_string());
    let message = format!(
        "a process may open {hard} files (soft limit {soft}; the daemon raises its own): about {terminals} live terminals"
    );
    match terminals {
        0..MANY_TERMINALS => Check::warn(ID, message).hint("raise the hard limit (ulimit -Hn)"),
        MANY_TERMINALS.. => Check::ok(ID, message),
    }
}

fn processes(facts: &MachineFacts) -> Check {
    const ID: &str = "machine.processes";
    // A lane has a keeper, a shell, an agent and what that starts.
    const MANY: u64 = 500;
    let (now, Some(most)) = facts.processes else {
        return Check::ok(ID, "the number of your processes is not limited");
    };
    let left = most.saturating_sub(now);
    let message = format!("you have {now} processes and threads, {left} more may be");
    match left < MANY {
        true => Check::warn(ID, message).hint("raise the limit (ulimit -u)"),
        false => Check::ok(ID, message),
    }
}

fn groups(facts: &MachineFacts) -> Check {
    const ID: &str = "machine.cgroups";
    let limits = match facts.group_limits.as_slice() {
        [] => "limits are set on each process alone".to_owned(),
        some => format!("{} of a lane can be limited as a whole", some.join(", ")),
    };
    match facts.group_ends_trees {
        true => Check::ok(ID, format!("tasks are ended by their control group; {limits}")),
        false => Check::note(ID, format!("tasks are ended by their keeper, process by process; {limits}"))
            .hint("with a control group of version 2 that you may write to (a systemd user session has one), also what hides is ended and limited"),
    }
}

fn watches(facts: &MachineFacts) -> Check {
    const ID: &str = "machine.watches";
    // The folders of eight ready trees of a large repository, and what editors and builds watch.
    const MANY: u64 = 120_000;
    let Some(most) = facts.watches else {
        return Check::note(ID, "the system does not say how many folders may be watched");
    };
    let message = format!("{most} folders and files may be watched");
    match most < MANY {
        true => Check::note(ID, format!("{message}: ready trees above that are looked through before use"))
            .hint("raise fs.inotify.max_user_watches (sysctl) when repositories are large"),
        false => Check::ok(ID, message),
    }
}

fn pressure(facts: &MachineFacts) -> Check {
    const ID: &str = "machine.pressure";
    match facts.tells_pressure {
        true => Check::ok(ID, "work in the background gives way to whoever waits"),
        false => Check::note(
            ID,
            "the system does not say who waits (/proc/pressure): work in the background goes by the load",
        ),
    }
}

fn clock(facts: &MachineFacts) -> Check {
    const ID: &str = "machine.clock";
    if !facts.knows_boot {
        return Check::fail(
            ID,
            "the system does not say which boot this is, so no process can be known again",
        )
        .hint("mount /proc");
    }
    if let Some(newest) = facts.newest_event
        && facts.now.age(newest) > CLOCK_SLACK
    {
        let now = facts.now;
        return Check::warn(ID, format!("the clock says {now}, and the newest event is of {newest}"))
            .hint("set the clock; ids and events stay in order all the same");
    }
    Check::ok(ID, "the clock is not behind what was written down")
}
