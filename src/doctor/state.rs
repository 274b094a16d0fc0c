//! The home: its folders and modes, who owns it, what tasks left in it, the store.

use std::path::PathBuf;

use super::check::{Check, Mend, count, some};
use crate::config::size_text;
use crate::ids::TaskId;
use crate::store::VERSION;

/// `sun_path` has 108 bytes, the last of them zero.
const MAX_SOCKET_PATH: usize = 107;
/// A write-ahead log beyond this was not taken in for long: its daemon cuts it back to 8 MiB.
const LARGE_LOG: u64 = 256 << 20;
/// Recorded output that is worth a word.
const MUCH_OUTPUT: u64 = 10 << 30;
/// A log of the daemon that is worth a word.
const LARGE_DAEMON_LOG: u64 = 256 << 20;

/// A file or folder of the home that others can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Which.
    pub path: PathBuf,
    /// Its mode.
    pub mode: u32,
}

/// Copies of the keeper's program in `bin/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// Those that nobody runs from, but for the newest one.
    pub unused: Vec<PathBuf>,
    /// Their bytes.
    pub bytes: u64,
}

/// The home as it lies on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HomeFacts {
    /// Which.
    pub path: PathBuf,
    /// False when it was not made yet.
    pub there: bool,
    /// Why it cannot be a home.
    pub refused: Option<String>,
    /// Folders of it that are missing.
    pub missing: Vec<&'static str>,
    /// What others can reach.
    pub open_to_others: Vec<Mode>,
    /// Links, foreign files, and files in the place of folders.
    pub strange: Vec<PathBuf>,
    /// The length of the longest path of a socket in it.
    pub socket_path_bytes: usize,
    /// Copies of the keeper.
    pub copies: Copies,
    /// True when an owner lives: it may start keepers from any of the copies.
    pub owned: bool,
    /// Recorded output, in bytes, and that of the lane with the most of it.
    pub output: (u64, Option<(String, u64)>),
    /// The log of the daemon, in bytes.
    pub daemon_log: u64,
}

/// Says how the home is.
pub fn judge_home(facts: &HomeFacts) -> Vec<Check> {
    let at = facts.path.display();
    if let Some(why) = &facts.refused {
        return vec![Check::fail("home.folder", why.clone()).hint(
            "give a folder of your own that nobody else can write to (mode 0700), not a link: LANES_HOME",
        )];
    }
    if !facts.there {
        return vec![Check::note(
            "home.folder",
            format!("the home {at} is not made yet: the first command does it"),
        )];
    }
    let mut checks = vec![match facts.missing.is_empty() {
        true => Check::ok("home.folder", format!("the home is {at}")),
        false => Check::note(
            "home.folder",
            format!(
                "the home {at} is half made ({} missing): the next daemon does the rest",
                facts.missing.join(", ")
            ),
        ),
    }];
    checks.push(modes(facts));
    if !facts.strange.is_empty() {
        let paths: Vec<_> = facts.strange.iter().map(|path| path.display()).collect();
        checks.push(
            Check::fail("home.strange", format!("not made by us, in the home: {}", some(&paths)))
                .hint("look what it is, and take it away"),
        );
    }
    checks.push(match facts.socket_path_bytes > MAX_SOCKET_PATH {
        true => Check::note(
            "home.path",
            "its path is too long for a socket: sockets are bound through /proc/self/fd",
        )
        .hint("other programs than ours may not reach them; a shorter LANES_HOME helps"),
        false => Check::ok("home.path", "its path is short enough for sockets"),
    });
    checks.push(copies(facts));
    checks.push(output(facts));
    checks
}

fn modes(facts: &HomeFacts) -> Check {
    const ID: &str = "home.modes";
    if facts.open_to_others.is_empty() {
        return Check::ok(ID, "nobody else can reach into it");
    }
    let shown: Vec<String> = facts
        .open_to_others
        .iter()
        .map(|one| format!("{} ({:04o})", one.path.display(), one.mode & 0o7777))
        .collect();
    let paths = facts.open_to_others.iter().map(|one| one.path.clone()).collect();
    Check::warn(ID, format!("others can reach {}", some(&shown)))
        .hint("close it to them: chmod go= PATH")
        .mend(Mend::Modes(paths))
}

fn copies(facts: &HomeFacts) -> Check {
    const ID: &str = "home.bin";
    let unused = &facts.copies.unused;
    if unused.is_empty() {
        return Check::ok(ID, "no program is left from earlier versions");
    }
    let copies = count(unused.len(), "program that no keeper runs from", "programs that no keeper runs from");
    let check = Check::note(ID, format!("{copies}, {}", size_text(facts.copies.bytes)));
    match facts.owned {
        true => {
            check.hint("they may go while no daemon runs: `lanes daemon stop`, then `lanes doctor --fix`")
        }
        false => check.hint("they may go").mend(Mend::Copies(unused.clone())),
    }
}

fn output(facts: &HomeFacts) -> Check {
    const ID: &str = "home.logs";
    let (total, most) = &facts.output;
    let mut message = format!("{} of recorded output", size_text(*total));
    if let Some((lane, bytes)) = most {
        message.push_str(&format!(", {} of it of {lane}", size_text(*bytes)));
    }
    message.push_str(&format!("; the daemon's log has {}", size_text(facts.daemon_log)));
    match *total > MUCH_OUTPUT || facts.daemon_log > LARGE_DAEMON_LOG {
        true => Check::note(ID, message)
            .hint("output goes with the trash of its lane (`lanes trash empty`); `task.log_limit` bounds that of a task; daemon.log may be truncated"),
        false => Check::ok(ID, message),
    }
}

/// Who owns the home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonFacts {
    /// Nobody; true when the socket of one is still there.
    Nobody {
        /// The socket of one that is gone.
        stale_socket: bool,
    },
    /// A process that serves no socket: an embedded runtime, or one that is just starting.
    Embedded(u32),
    /// It answers.
    Answers {
        /// Its process.
        pid: u32,
        /// Its version.
        version: String,
        /// True when it starts nothing new.
        safe_mode: bool,
        /// What it found when it started.
        notes: Vec<String>,
    },
    /// It takes connections and says nothing.
    Silent(Option<u32>),
    /// It answers with a refusal.
    Refuses(String),
}

impl DaemonFacts {
    /// True when some process owns the home, or may.
    pub const fn is_owned(&self) -> bool {
        match self {
            Self::Nobody { .. } => false,
            Self::Embedded(_) | Self::Answers { .. } | Self::Silent(_) | Self::Refuses(_) => true,
        }
    }
}

/// Says how the daemon is.
pub fn judge_daemon(facts: &DaemonFacts) -> Vec<Check> {
    const ID: &str = "daemon.status";
    match facts {
        DaemonFacts::Nobody { stale_socket } => {
            let mut checks = vec![Check::ok(ID, "no daemon runs; the next command starts one")];
            if *stale_socket {
                checks.push(
                    Check::note("daemon.socket", "the socket of a daemon that is gone is still there")
                        .hint("the next daemon takes it away")
                        .mend(Mend::Socket),
                );
            }
            checks
        }
        DaemonFacts::Embedded(pid) => {
            vec![
                Check::note(ID, format!("process {pid} owns the home and serves no socket"))
                    .hint("commands work once it serves, or has ended"),
            ]
        }
        DaemonFacts::Answers { pid, version, safe_mode, notes } => {
            let mut checks = vec![Check::ok(ID, format!("daemon {version} answers (process {pid})"))];
            if version != env!("CARGO_PKG_VERSION") {
                checks.push(
                    Check::note(
                        "daemon.version",
                        format!("the daemon is {version}, this is {}", env!("CARGO_PKG_VERSION")),
                    )
                    .hint("lanes daemon restart keeps every lane running"),
                );
            }
            if *safe_mode {
                checks.push(
                    Check::warn(
                        "daemon.safe_mode",
                        "the daemon crashed again and again, and starts nothing new",
                    )
                    .hint("look at daemon.log in its home, then `lanes daemon restart`"),
                );
            }
            checks.extend(notes.iter().map(|note| Check::note("daemon.start", note.clone())));
            checks
        }
        DaemonFacts::Silent(pid) => {
            let who =
                pid.map_or_else(|| "the daemon".to_owned(), |pid| format!("the daemon (process {pid})"));
            let what =
                pid.map_or_else(|| "the daemon".to_owned(), |pid| format!("it by force (kill -9 {pid})"));
            vec![Check::fail(ID, format!("{who} takes connections and does not answer")).hint(format!(
                "end {what}: lanes and what runs in them go on; the next command starts another"
            ))]
        }
        DaemonFacts::Refuses(why) => {
            vec![Check::fail(ID, format!("the daemon cannot be asked: {why}")).hint("lanes daemon restart")]
        }
    }
}

/// A run folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSeen {
    /// The task.
    pub id: TaskId,
    /// True when its keeper lives, or one may be starting.
    pub keeper: bool,
    /// Processes that carry the secret of the task.
    pub processes: usize,
    /// True when an open lane waits for the task; none when the store does not tell.
    pub known: Option<bool>,
}

/// What tasks left in the home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFacts {
    /// Every run folder.
    pub runs: Vec<RunSeen>,
    /// True when a daemon answers: it watches its tasks itself.
    pub watched: bool,
}

/// Says what is left of tasks.
pub fn judge_runs(facts: &RunFacts) -> Vec<Check> {
    const ID: &str = "home.runs";
    let mut checks = Vec::new();
    let gone: Vec<&RunSeen> = facts.runs.iter().filter(|run| !run.keeper).collect();
    let left: Vec<TaskId> =
        gone.iter().filter(|run| run.known == Some(false) && run.processes == 0).map(|run| run.id).collect();
    if !left.is_empty() {
        let what = count(
            left.len(),
            "task of no open lane has left its folder",
            "tasks of no open lane have left their folders",
        );
        checks.push(
            Check::warn(ID, format!("{what}: {}", some(&left))).hint("they may go").mend(Mend::Runs(left)),
        );
    }
    let haunted: Vec<TaskId> =
        gone.iter().filter(|run| run.known != Some(true) && run.processes > 0).map(|run| run.id).collect();
    if !haunted.is_empty() {
        checks.push(
            Check::warn(ID, format!("processes of tasks whose keeper is gone still run: {}", some(&haunted)))
                .hint("see them with `lanes orphans ls`"),
        );
    }
    let waiting = gone.iter().filter(|run| run.known == Some(true)).count();
    if waiting > 0 && !facts.watched {
        let what = count(waiting, "task of an open lane has", "tasks of open lanes have");
        checks.push(Check::note(ID, format!("{what} lost the keeper; the next daemon records that")));
    }
    let unknown = gone.iter().filter(|run| run.known.is_none() && run.processes == 0).count();
    if unknown > 0 {
        let what = count(unknown, "folder of a task has", "folders of tasks have");
        checks.push(Check::note(
            ID,
            format!("{what} no keeper; without the store nobody knows whether a lane waits for it"),
        ));
    }
    if checks.is_empty() {
        let keepers = count(facts.runs.len() - gone.len(), "task is kept", "tasks are kept");
        checks.push(Check::ok(ID, format!("{keepers}, nothing is left of others")));
    }
    checks
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFacts {
    /// True when there is one.
    pub there: bool,
    /// Why it could not be read, and true when it is damaged.
    pub broken: Option<(String, bool)>,
    /// True when it could not be looked into without changing it.
    pub unread: bool,
    /// Its schema.
    pub version: i64,
    /// Its bytes, and those of its log.
    pub bytes: (u64, u64),
    /// Damaged stores that were moved aside.
    pub aside: Vec<PathBuf>,
    /// Records that cannot be read.
    pub unreadable: usize,
}

/// Says how the store is.
pub fn judge_store(facts: &StoreFacts) -> Vec<Check> {
    const ID: &str = "store.integrity";
    let (bytes, log) = facts.bytes;
    let mut checks = Vec::new();
    if !facts.there {
        checks.push(Check::ok(ID, "there is no store yet"));
    } else if let Some((why, damaged)) = &facts.broken {
        let check = Check::fail(ID, why.clone());
        checks.push(match damaged {
            true => check.hint(
                "the next daemon moves it aside and rebuilds it from the trees, the keepers and the trash",
            ),
            false => check.hint("make it readable for you, or move it aside"),
        });
    } else if facts.unread {
        checks.push(Check::note(
            ID,
            "it was not closed, and cannot be looked into without changing it; the next daemon checks it",
        ));
    } else if facts.version > VERSION {
        let message =
            format!("a newer version of lanes wrote it (schema {}, this knows {VERSION})", facts.version);
        checks.push(Check::fail(ID, message).hint("use the newer version of lanes that wrote it"));
    } else {
        let age = match facts.version < VERSION {
            true => format!(", of schema {} (the next daemon brings it to {VERSION})", facts.version),
            false => String::new(),
        };
        let (size, log) = (size_text(bytes), size_text(log));
        checks.push(Check::ok(ID, format!("the store is whole: {size}, its log {log}{age}")));
    }
    if facts.unreadable > 0 {
        let what = count(facts.unreadable, "record", "records");
        checks.push(
            Check::fail(
                "store.records",
                format!("{what} in the store cannot be read; their lanes are left alone"),
            )
            .hint("use the version of lanes that wrote them"),
        );
    }
    if log > LARGE_LOG {
        checks.push(
            Check::warn("store.log", format!("the log of the store has {}", size_text(log)))
                .hint("some program holds the store open for reading; end it"),
        );
    }
    if !facts.aside.is_empty() {
        let paths: Vec<_> = facts.aside.iter().map(|path| path.display()).collect();
        checks.push(
            Check::note("store.aside", format!("damaged stores were moved aside: {}", some(&paths)))
                .hint("remove them when you do not want to look into them"),
        );
    }
    checks
}
