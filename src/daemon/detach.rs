//! Leaving the caller: what a runtime that was started by a client does first.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::DaemonError;
use crate::failure::Failure;
use crate::home::private_folder;

/// Set by [`super::Launch`] in the environment of what it starts: detach, and say on standard output when
/// you are ready.
pub const DETACH_MARK: &str = "LANES_DETACH";
/// The log in its home.
const LOG: &str = "daemon.log";
/// A log of this size is put aside when a runtime starts; one older is kept. Months of an idle runtime.
const MAX_LOG: u64 = 8 << 20;

/// True when this process was started by [`super::Launch`] and is to call [`detach`].
pub fn asked_to_detach() -> bool {
    std::env::var_os(DETACH_MARK).is_some()
}

/// The promise to say when the runtime is ready, or why it will not be.
#[derive(Debug)]
pub struct Readiness {
    /// None in the foreground, where nobody waits.
    pipe: Option<File>,
}

impl Readiness {
    /// Nobody waits: a runtime in the foreground.
    pub const fn nobody() -> Self {
        Self { pipe: None }
    }

    /// Says that clients are served from now on.
    pub fn ready(self) {
        self.say(&json!({ "ready": { "pid": std::process::id() } }));
    }

    /// Says why not.
    pub fn failed(self, failure: &Failure) {
        self.say(&json!({ "error": failure }));
    }

    fn say(self, what: &Value) {
        if let Some(mut pipe) = self.pipe {
            let _whoever_waited_is_gone = pipe.write_all(format!("{what}\n").as_bytes());
        }
    }
}

/// Leaves the caller: a session of its own, `/` as the current folder, nothing readable by others, no
/// inherited descriptor, standard output and error to the log. The environment was chosen by the caller
/// ([`super::kept`]).
///
/// To be called first in `main`, before threads, runtimes and anything that opens a file: every
/// descriptor above 2 is closed.
///
/// # Errors
/// [`DaemonError::Detach`], [`DaemonError::OpenLog`], and those of [`private_folder`]. The caller has been
/// told then.
pub fn detach(home: &Path) -> Result<Readiness, DaemonError> {
    close_inherited();
    // Standard output is the pipe of whoever waits; it is kept before the log takes its place.
    let pipe = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)
        .map_err(|error| detach_error("keep the pipe to the caller", error))?;
    let readiness = Readiness { pipe: Some(File::from(pipe)) };
    match leave(home) {
        Ok(()) => Ok(readiness),
        Err(error) => {
            let failure = Failure::new(crate::failure::Code::DaemonDown, error.to_string());
            readiness.failed(&failure);
            Err(error)
        }
    }
}

fn leave(home: &Path) -> Result<(), DaemonError> {
    // The umask stays the user's: it is for the files of lanes; ours are made with modes of their own.
    match rustix::process::setsid() {
        Ok(_session) => {}
        // The leader of its group already is in nobody else's way.
        Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(detach_error("start a session", error)),
    }
    private_folder(home)?;
    let log = open_log(home)?;
    let null = File::open("/dev/null")
        .map_err(|source| DaemonError::Detach { attempt: "open /dev/null", source })?;
    rustix::stdio::dup2_stdin(&null).map_err(|error| detach_error("replace standard input", error))?;
    rustix::stdio::dup2_stdout(&log).map_err(|error| detach_error("replace standard output", error))?;
    rustix::stdio::dup2_stderr(&log).map_err(|error| detach_error("replace standard error", error))?;
    std::env::set_current_dir("/").map_err(|source| DaemonError::Detach { attempt: "go to /", source })
}

fn detach_error(attempt: &'static str, error: rustix::io::Errno) -> DaemonError {
    DaemonError::Detach { attempt, source: error.into() }
}

/// Opens the log of a home for appending (0600); one that has grown large is put aside.
pub(super) fn open_log(home: &Path) -> Result<OwnedFd, DaemonError> {
    let path = log_path(home);
    let failed = |source: io::Error| DaemonError::OpenLog { path: path.clone(), source };
    if std::fs::symlink_metadata(&path).is_ok_and(|found| found.size() > MAX_LOG) {
        std::fs::rename(&path, home.join(format!("{LOG}.1"))).map_err(failed)?;
    }
    let flags = rustix::fs::OFlags::NOFOLLOW.bits();
    let flags = i32::try_from(flags).expect("invariant: the flag is a small number");
    let log = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(&path);
    log.map(OwnedFd::from).map_err(failed)
}

pub(super) fn log_path(home: &Path) -> PathBuf {
    home.join(LOG)
}

/// Closes every descriptor above standard error.
fn close_inherited() {
    // SAFETY: the call touches no memory. `detach` runs before anything is opened, so no object of ours
    // owns any of these descriptors.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    if closed != 0 {
        tracing::debug!("inherited descriptors could not be closed; the kernel is older than 5.9");
    }
}
