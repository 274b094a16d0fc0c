//! Starting a runtime from a client, once, however many ask for it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{ChildStdout, Command};
use tokio::time::Instant;

use super::detach::{DETACH_MARK, log_path, open_log};
use super::{DaemonError, environment};
use crate::api::{ApiError, socket};
use crate::failure::{Code, Failure};
use crate::home::private_folder;

/// How long a start may take: recovery of fifty lanes on a busy machine.
const START_WAIT: Duration = Duration::from_secs(60);
/// How long the one who holds the home is waited for: it may be in the middle of its recovery.
const OTHER_WAIT: Duration = Duration::from_secs(30);
/// How long before it is tried again whether it still does.
const ANEW: Duration = Duration::from_secs(2);
/// Between two looks whether it is there.
const LOOK: Duration = Duration::from_millis(20);
/// The longest line of a runtime about itself.
const MAX_LINE: u64 = 64 << 10;

/// Says whether this process descends from a keeper of the home.
type Descends<'a> = &'a (dyn Fn() -> bool + Sync);

/// How a runtime is started.
pub struct Launch<'a> {
    home: &'a Path,
    program: &'a Path,
    descends: Descends<'a>,
    wait: Duration,
    set: Vec<(&'a str, &'a OsStr)>,
}

/// Makes sure that a runtime serves `home`; starts `program daemon run --home HOME` when none does.
///
/// # Errors
/// As [`Launch::ensure`].
pub async fn ensure_running(home: &Path, program: &Path) -> Result<(), Failure> {
    Launch::new(home, program).ensure().await
}

impl<'a> Launch<'a> {
    /// Starts `program daemon run --home HOME` when nobody serves `home`.
    pub fn new(home: &'a Path, program: &'a Path) -> Self {
        Self { home, program, descends: &|| false, wait: START_WAIT, set: Vec::new() }
    }

    /// With a look at the ancestors of this process, besides the one at its environment.
    #[must_use]
    pub fn unless_descendant(mut self, descends: Descends<'a>) -> Self {
        self.descends = descends;
        self
    }

    /// With a variable of its own in the environment of what is started.
    #[must_use]
    pub fn env(mut self, name: &'a str, value: &'a OsStr) -> Self {
        self.set.push((name, value));
        self
    }

    /// With another limit than a minute.
    #[must_use]
    pub fn within(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Returns once somebody serves the home. Many may ask at once: one of them starts it.
    ///
    /// # Errors
    /// `DAEMON_DOWN` from inside a lane, or when the runtime does not come up; what it said itself.
    pub async fn ensure(&self) -> Result<(), Failure> {
        if self.is_served().await? {
            return Ok(());
        }
        if self.is_inside_lane() {
            return Err(DaemonError::InsideLane { home: self.home.to_path_buf() }.into());
        }
        private_folder(self.home).map_err(DaemonError::from)?;
        let begun = Instant::now();
        loop {
            let said = match tokio::time::timeout(self.wait, self.start()).await {
                Ok(said) => said?,
                Err(_elapsed) => return Err(self.not_ready().into()),
            };
            match said {
                Some(Said::Ready { pid: _ }) => return Ok(()),
                // Somebody else holds the home: an owner that comes up now, and serves in a moment; or one that
                // was killed, and of which the system has not let go yet.
                Some(Said::Error(failure)) if is_taken(&failure) => {
                    if self.wait_for_served(ANEW.min(self.wait)).await? {
                        return Ok(());
                    }
                    if begun.elapsed() >= OTHER_WAIT.min(self.wait) {
                        return Err(failure);
                    }
                }
                Some(Said::Error(failure)) => return Err(failure),
                None => {
                    let ended = DaemonError::EndedEarly { log: log_path(self.home) };
                    return self.wait_for_served(LOOK).await?.then_some(()).ok_or_else(|| ended.into());
                }
            }
        }
    }

    fn is_inside_lane(&self) -> bool {
        let task_id = std::env::var_os("LANES_TASK_ID");
        let socket = std::env::var_os("LANES_SOCKET");
        environment::starts_from(self.home, task_id.as_deref(), socket.as_deref()) || (self.descends)()
    }

    async fn is_served(&self) -> Result<bool, Failure> {
        match socket::connect(self.home).await {
            Ok(_ours) => Ok(true),
            Err(ApiError::NobodyThere { home: _ }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn start(&self) -> Result<Option<Said>, DaemonError> {
        let failed = |source| DaemonError::Spawn { program: self.program.to_path_buf(), source };
        let mut child = Command::new(self.program)
            .args(["daemon", "run", "--home"])
            .arg(self.home)
            .env_clear()
            .envs(environment::kept(std::env::vars_os()))
            .envs(self.set.iter().copied())
            .env(DETACH_MARK, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(open_log(self.home)?)
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take().expect("invariant: standard output is a pipe");
        listen(stdout).await.map_err(failed)
    }

    async fn wait_for_served(&self, wait: Duration) -> Result<bool, Failure> {
        let deadline = Instant::now() + wait;
        loop {
            if self.is_served().await? {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn not_ready(&self) -> DaemonError {
        DaemonError::NotReady { after: self.wait, log: self.log() }
    }

    fn log(&self) -> PathBuf {
        log_path(self.home)
    }
}

/// What a runtime says about itself, in one line.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    /// Clients are served.
    Ready {
        #[allow(dead_code, reason = "for people who read the pipe")]
        pid: u32,
    },
    /// They will not be.
    Error(Failure),
}

/// The first line that is one of ours; none when the process ended without.
async fn listen(stdout: ChildStdout) -> std::io::Result<Option<Said>> {
    let mut lines = BufReader::new(stdout.take(MAX_LINE)).lines();
    while let Some(line) = lines.next_line().await? {
        if let Ok(said) = serde_json::from_str(&line) {
            return Ok(Some(said));
        }
    }
    Ok(None)
}

/// The home has an owner: its lock is held.
fn is_taken(failure: &Failure) -> bool {
    matches!(failure.code, Code::Busy | Code::DaemonDown)
}
