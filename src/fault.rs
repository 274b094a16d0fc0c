//! Named fail points: where a test has the real program killed, refused or held up. Empty in release builds.
//!
//! `LANES_FAULTS` says what happens, read once: `NAME=ACTION` or `NAME=ACTION@N` for the Nth time only,
//! several with a space between. A call of git has its subcommand as well: `git.run(update-ref)=exit:128`.
//!
//! | action | what happens |
//! |---|---|
//! | `kill` | SIGKILL to this process |
//! | `error:ENOSPC` (`EIO`, `EMFILE`, `EACCES`) | the step fails with this error |
//! | `exit:N` | git is not started, and seems to have ended with N |
//! | `pause:FILE` | writes `FILE.here`, and goes on when `FILE` is there |
//!
//! `LANES_FAULTS_TRACE=FILE` adds a line to the file for each fail point that is passed.

use std::io;

/// Every fail point. A test holds this list against the source.
pub const POINTS: &[&str] = &[
    "aside.held",
    "claim.branch",
    "claim.gitdir",
    "claim.head",
    "claim.moved",
    "claim.token",
    "clean.begin",
    "clean.retired",
    "clean.stopped",
    "clean.told",
    "copy.copied",
    "copy.entered",
    "copy.staged",
    "create.begin",
    "create.hooked",
    "create.made",
    "daemon.lock",
    "daemon.opened",
    "daemon.serve",
    "daemon.serving",
    "daemon.stop",
    "daemon.stopped",
    "empty.begin",
    "empty.taken",
    "empty.vault",
    "file.replace",
    "forget.taken",
    "found.begin",
    "found.entered",
    "found.held",
    "found.pointed",
    "found.staged",
    "gc.done",
    "gc.retired",
    "gc.rubbish",
    "gc.spare",
    "gc.trash",
    "git.ran",
    "git.run",
    "keep.answered",
    "keep.folders",
    "keep.identity",
    "keep.spawned",
    "keeper.spawn",
    "keeper.spawned",
    "keeper.told",
    "lock.entry",
    "lock.workspace",
    "overlay.branch",
    "overlay.entered",
    "overlay.layers",
    "overlay.mounted",
    "overlay.moved",
    "overlay.renewed",
    "overlay.staged",
    "overlay.unmounted",
    "provision.add",
    "provision.added",
    "provision.files",
    "provision.hooked",
    "provision.submodules",
    "provision.token",
    "record.write",
    "recover.begin",
    "recover.done",
    "recover.repair",
    "restore.admin",
    "restore.blobs",
    "restore.branch",
    "restore.intent",
    "restore.moved",
    "restore.published",
    "restore.staged",
    "restore.synced",
    "restore.tree",
    "restore.unpack",
    "restore.unpacked",
    "retarget.aged",
    "retarget.begun",
    "retarget.moved",
    "retire.admin",
    "retire.begin",
    "retire.branch",
    "retire.deleted",
    "retire.deleting",
    "retire.done",
    "retire.held",
    "retire.intent",
    "retire.pin",
    "retire.tree",
    "rollback.admin",
    "rollback.begin",
    "rollback.branch",
    "rollback.tree",
    "save.begin",
    "save.freed",
    "save.half",
    "save.published",
    "save.recorded",
    "save.write",
    "save.written",
    "spare.added",
    "spare.aged",
    "spare.begin",
    "spare.copied",
    "spare.entered",
    "spare.filled",
    "stock.chosen",
    "stock.job",
    "stock.watched",
    "store.aside",
    "store.begin",
    "store.commit",
    "store.committed",
    "store.migrate",
    "store.open",
    "task.asked",
    "task.begin",
    "task.end",
    "task.found",
    "task.started",
    "undo.admin",
    "undo.begin",
    "undo.branch",
    "undo.removed",
    "undo.tree",
    "unspare.entry",
    "unspare.tree",
];

/// A step that was made to fail.
#[derive(Debug, thiserror::Error)]
#[error("could not pass {name}: {source}")]
pub struct Injected {
    /// The fail point.
    pub name: &'static str,
    /// Why not.
    pub source: io::Error,
}

impl From<Injected> for io::Error {
    fn from(injected: Injected) -> Self {
        injected.source
    }
}

#[cfg(debug_assertions)]
pub use armed::{Action, Rule, at, handed_down, instead_of_git, parse, pass};
#[cfg(not(debug_assertions))]
pub use unarmed::{at, handed_down, instead_of_git, pass};

#[cfg(not(debug_assertions))]
mod unarmed {
    use std::ffi::OsString;

    use super::Injected;

    /// Nothing: this build has no fail points.
    ///
    /// # Errors
    /// None.
    #[inline(always)]
    pub const fn at(_name: &'static str) -> Result<(), Injected> {
        Ok(())
    }

    /// Nothing: this build has no fail points.
    #[inline(always)]
    pub const fn pass(_name: &'static str) {}

    /// None: this build has no fail points.
    ///
    /// # Errors
    /// None.
    #[inline(always)]
    pub const fn instead_of_git(_label: &str) -> Result<Option<i32>, Injected> {
        Ok(None)
    }

    /// Nothing: this build has no fail points.
    #[inline(always)]
    pub fn handed_down() -> impl Iterator<Item = (&'static str, OsString)> {
        std::iter::empty()
    }
}

#[cfg(debug_assertions)]
mod armed {
    use std::ffi::OsString;
    use std::fs::OpenOptions;
    use std::io::{self, Write as _};
    use std::path::{Path, PathBuf};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::{Injected, POINTS};

    /// What happens at the fail points.
    const RULES: &str = "LANES_FAULTS";
    /// Where passed fail points are written down.
    const TRACE: &str = "LANES_FAULTS_TRACE";
    /// How often a held-up step looks whether it may go on.
    const LOOK: Duration = Duration::from_millis(2);

    /// What happens.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Action {
        /// This process is ended by force.
        Kill,
        /// The step fails with this number.
        Error(i32),
        /// git seems to have ended with this code.
        Exit(i32),
        /// The step waits until the file is there.
        Pause(PathBuf),
    }

    /// What happens where, and which time.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Rule {
        /// One of the fail points.
        pub name: String,
        /// The subcommand of git.
        pub of: Option<String>,
        /// What happens.
        pub action: Action,
        /// The only time that it happens, from 1; every time when none.
        pub nth: Option<u64>,
    }

    /// Reads the rules of `LANES_FAULTS`.
    ///
    /// # Errors
    /// The rule that cannot be read, and why.
    pub fn parse(text: &str) -> Result<Vec<Rule>, String> {
        text.split_ascii_whitespace()
            .map(|rule| parse_one(rule).map_err(|why| format!("{rule}: {why}")))
            .collect()
    }

    fn parse_one(text: &str) -> Result<Rule, &'static str> {
        let (place, what) = text.split_once('=').ok_or("there is no = in it")?;
        let (name, of) = match place.strip_suffix(')').and_then(|place| place.split_once('(')) {
            Some((name, of)) => (name, Some(of.to_owned())),
            None => (place, None),
        };
        if !POINTS.contains(&name) {
            return Err("there is no such fail point");
        }
        let (what, nth) = match what.rsplit_once('@') {
            Some((what, nth)) => (what, Some(nth.parse().map_err(|_| "after @ comes a number")?)),
            None => (what, None),
        };
        let action = match what.split_once(':') {
            None if what == "kill" => Action::Kill,
            Some(("error", "ENOSPC")) => Action::Error(libc::ENOSPC),
            Some(("error", "EIO")) => Action::Error(libc::EIO),
            Some(("error", "EMFILE")) => Action::Error(libc::EMFILE),
            Some(("error", "EACCES")) => Action::Error(libc::EACCES),
            Some(("exit", code)) => Action::Exit(code.parse().map_err(|_| "an exit code is a number")?),
            Some(("pause", file)) => Action::Pause(file.into()),
            Some(_) | None => return Err("the action is not known"),
        };
        Ok(Rule { name: name.to_owned(), of, action, nth })
    }

    struct Plan {
        rules: Vec<(Rule, AtomicU64)>,
        trace: Option<PathBuf>,
    }

    fn plan() -> &'static Plan {
        static PLAN: OnceLock<Plan> = OnceLock::new();
        PLAN.get_or_init(|| {
            let text = std::env::var(RULES).unwrap_or_default();
            let rules = parse(&text).unwrap_or_else(|why| {
                eprintln!("{RULES}: {why}");
                std::process::abort()
            });
            let rules = rules.into_iter().map(|rule| (rule, AtomicU64::new(0))).collect();
            Plan { rules, trace: std::env::var_os(TRACE).map(PathBuf::from) }
        })
    }

    /// Passes a fail point of a step that may fail.
    ///
    /// # Errors
    /// The error of the action, if there is one for this time.
    pub fn at(name: &'static str) -> Result<(), Injected> {
        match due(name, None) {
            Some(Action::Error(number)) => {
                Err(Injected { name, source: io::Error::from_raw_os_error(*number) })
            }
            Some(action) => {
                act(action);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Passes a fail point of a step that cannot fail; errors do not happen there.
    pub fn pass(name: &'static str) {
        if let Some(action) = due(name, None) {
            act(action);
        }
    }

    /// Passes the fail point before a call of git; what it is to have ended with, if it is not to be made.
    ///
    /// # Errors
    /// The error of the action: git cannot be started.
    pub fn instead_of_git(label: &str) -> Result<Option<i32>, Injected> {
        let name = "git.run";
        match due(name, label.split(' ').nth(1)) {
            Some(Action::Error(number)) => {
                Err(Injected { name, source: io::Error::from_raw_os_error(*number) })
            }
            Some(Action::Exit(code)) => Ok(Some(*code)),
            Some(action) => {
                act(action);
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// The variables for a program of ours whose environment is made anew.
    pub fn handed_down() -> impl Iterator<Item = (&'static str, OsString)> {
        [RULES, TRACE].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
    }

    fn due(name: &str, of: Option<&str>) -> Option<&'static Action> {
        let plan = plan();
        if let Some(trace) = &plan.trace {
            write_down(trace, name, of);
        }
        let mut found = None;
        for (rule, passed) in &plan.rules {
            let fits = rule.name == name && (rule.of.is_none() || rule.of.as_deref() == of);
            if !fits {
                continue;
            }
            let time = passed.fetch_add(1, Ordering::Relaxed) + 1;
            if rule.nth.is_none_or(|nth| nth == time) {
                found = found.or(Some(&rule.action));
            }
        }
        found
    }

    /// One write a line, so that those of several processes do not mix.
    fn write_down(trace: &Path, name: &str, of: Option<&str>) {
        let line = match of {
            Some(of) => format!("{name}({of})\n"),
            None => format!("{name}\n"),
        };
        let file = OpenOptions::new().append(true).create(true).open(trace);
        let _only_for_the_test = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }

    fn act(action: &Action) {
        match action {
            Action::Kill => {
                let own = rustix::process::getpid();
                let _never_returns = rustix::process::kill_process(own, rustix::process::Signal::KILL);
                loop {
                    std::thread::park();
                }
            }
            Action::Pause(file) => {
                let mut here = file.clone().into_os_string();
                here.push(".here");
                let _the_test_waits_for_it = std::fs::write(here, "");
                while !file.exists() {
                    std::thread::sleep(LOOK);
                }
            }
            // Only where a step says what they would mean.
            Action::Error(_) | Action::Exit(_) => {}
        }
    }
}
