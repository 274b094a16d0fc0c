//! The one place that starts git.
//!
//! A call is a value ([`GitCommand`]) first, so that it can also be run by somebody else (as a supervised
//! task). In the modes [`Mode::Look`] and [`Mode::Write`] nothing runs that the repository's configuration
//! or content names; [`Mode::Checkout`] runs its filters, as plain git does.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

pub use super::call::{GitCommand, GitOutput, Mode, Place, is_transient, parse_version};
use super::call::{
    clean_environment, driver_names, driver_off, fixed_environment, fixed_settings, joined, label,
};
use super::error::WorktreeError;
use super::left_lock;
use crate::fault;

/// The oldest git that has what we use (`worktree list -z` is newer and not used).
pub const MIN_VERSION: (u32, u32) = (2, 34);
/// The same for people.
pub const MIN_VERSION_TEXT: &str = "2.34";
/// What one call may print; a diff of a huge lane fits, a runaway program does not.
pub const MAX_OUTPUT_BYTES: usize = 64 << 20;
/// How long git may take to tidy up its lock files after SIGTERM, before SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(2);
/// How long output is read after git itself has ended: a background process of a hook may keep the pipe.
const PIPE_GRACE: Duration = Duration::from_millis(500);
/// Filters that a configuration may define; each costs four variables of the environment.
const MAX_FILTERS: usize = 256;
/// How often a call is made that fails because another git is in the middle of something, such as writing
/// a new admin entry; such moments last less than a millisecond.
const TRANSIENT_ATTEMPTS: u32 = 30;
/// How many locks one call may find that killed gits left: over a HEAD, its branch, packed refs, and the file
/// that these are being written to.
const LEFT_LOCKS: u32 = 4;
/// The pause between such attempts.
const TRANSIENT_PAUSE: Duration = Duration::from_millis(10);

/// How git is found and how long it may take.
#[derive(Clone, Debug)]
pub struct GitConfig {
    /// The program; `git` on the search path when none.
    pub program: Option<PathBuf>,
    /// For calls that only read or write references and small files.
    pub timeout: Duration,
    /// For calls that write a whole tree.
    pub checkout_timeout: Duration,
    /// The search path; the one of the environment when none.
    pub path: Option<OsString>,
    /// The environment to take from; that of this process when none. `GIT_*` is dropped, but for the
    /// variables that say where the user's own configuration is.
    pub env: Option<Vec<(OsString, OsString)>>,
}

impl Default for GitConfig {
    fn default() -> Self {
        Self {
            program: None,
            timeout: Duration::from_secs(60),
            checkout_timeout: Duration::from_secs(1_800),
            path: None,
            env: None,
        }
    }
}

/// The git program, found and checked once.
#[derive(Clone, Debug)]
pub struct Git {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    program: PathBuf,
    version: String,
    env: BTreeMap<OsString, OsString>,
    timeout: Duration,
    checkout_timeout: Duration,
}

impl Git {
    /// Finds git and checks its version.
    ///
    /// # Errors
    /// `GIT_MISSING` when there is none, `GIT_TOO_OLD` when it is older than [`MIN_VERSION`].
    pub async fn find(config: GitConfig) -> Result<Self, WorktreeError> {
        let mut env = clean_environment(config.env.unwrap_or_else(|| std::env::vars_os().collect()));
        if let Some(path) = config.path {
            let _replaced = env.insert("PATH".into(), path);
        }
        let wanted = config.program.unwrap_or_else(|| PathBuf::from("git"));
        let search = env.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        let Some(program) = find_on_path(&wanted, &search) else {
            return Err(WorktreeError::FindGit { program: wanted });
        };
        let inner = Inner {
            program,
            version: String::new(),
            env,
            timeout: config.timeout,
            checkout_timeout: config.checkout_timeout,
        };
        let mut git = Self { inner: Arc::new(inner) };
        let version = git.ask_version().await?;
        let inner = Arc::get_mut(&mut git.inner).expect("invariant: nobody else has it yet");
        inner.version = version;
        Ok(git)
    }

    /// The version, such as `2.47.3`.
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.inner.program
    }

    /// How long a call that reads or writes references may take.
    pub fn timeout(&self) -> Duration {
        self.inner.timeout
    }

    /// How long a call that writes a tree may take.
    pub fn checkout_timeout(&self) -> Duration {
        self.inner.checkout_timeout
    }

    /// Builds a call. `args` begins with the subcommand; whatever comes from outside in it must stand after
    /// `--` or `--end-of-options`, or be known not to begin with a dash.
    pub fn command<I, S>(&self, mode: Mode, place: &Place, args: I) -> GitCommand
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let label = label(&args);
        let mut all: Vec<OsString> = vec!["--no-pager".into()];
        if mode != Mode::Checkout {
            all.push("--literal-pathspecs".into());
        }
        if let Some(git_dir) = &place.git_dir {
            all.push(joined("--git-dir=", git_dir.as_os_str()));
        }
        if let Some(work_tree) = &place.work_tree {
            all.push(joined("--work-tree=", work_tree.as_os_str()));
        }
        all.extend(args);
        let cwd = place.work_tree.clone().or_else(|| place.git_dir.clone()).unwrap_or_else(|| "/".into());
        let mut env = self.inner.env.clone();
        env.extend(fixed_environment(mode).map(|(name, value)| (name.into(), value.into())));
        let command =
            GitCommand { program: self.inner.program.clone(), args: all, env, cwd, stdin: Vec::new(), label };
        fixed_settings(mode).fold(command, |command, (key, value)| command.config(key, value))
    }

    /// Runs a call in a process group of its own, which is ended when time is up or the caller goes away.
    ///
    /// # Errors
    /// `StartGit`, `GitTimeout`, `GitOutputLimit`. An exit code other than 0 is no error here, see
    /// [`GitOutput::success`]; one that goes by itself ([`is_transient`]) is tried again first, for seconds
    /// when it is the lock over a ref that somebody left, so only calls that may be repeated belong here.
    pub async fn run(&self, command: GitCommand, timeout: Duration) -> Result<GitOutput, WorktreeError> {
        for _attempt in 1..TRANSIENT_ATTEMPTS {
            let output = run(command.clone(), timeout).await?;
            if output.ok() || !is_transient(&String::from_utf8_lossy(&output.stderr)) {
                return Ok(output);
            }
            tokio::time::sleep(TRANSIENT_PAUSE).await;
        }
        for _lock in 0..LEFT_LOCKS {
            let output = run(command.clone(), timeout).await?;
            if output.ok() || !left_lock::clear(&String::from_utf8_lossy(&output.stderr)).await {
                return Ok(output);
            }
        }
        run(command, timeout).await
    }

    /// Runs a reading call with the usual timeout and expects exit code 0.
    ///
    /// # Errors
    /// As [`Git::run`], and `RunGit` for another exit code.
    pub async fn ask<I, S>(&self, mode: Mode, place: &Place, args: I) -> Result<GitOutput, WorktreeError>
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        let command = self.command(mode, place, args);
        let label = command.label.clone();
        self.run(command, self.inner.timeout).await?.success(&label)
    }

    /// The settings that switch off every configured filter and diff driver, for calls that look at the
    /// contents of files.
    ///
    /// # Errors
    /// As [`Git::run`]; `ReadGit` when there are absurdly many.
    pub async fn filters_off(&self, place: &Place) -> Result<Vec<(OsString, OsString)>, WorktreeError> {
        let pattern = r"^(filter\..*\.(clean|smudge|process|required)|diff\..*\.(command|textconv))$";
        let args = ["config", "--includes", "-z", "--name-only", "--get-regexp", pattern];
        let command = self.command(Mode::Look, place, args);
        let label = command.label.clone();
        let keys = self.run(command, self.inner.timeout).await?.found(&label)?;
        let names = driver_names(&keys.map_or_else(Vec::new, |keys| keys.stdout));
        if names.len() > MAX_FILTERS {
            return Err(WorktreeError::ReadGit { command: label, what: "it defines more than 256 filters" });
        }
        Ok(names.iter().flat_map(driver_off).collect())
    }

    async fn ask_version(&self) -> Result<String, WorktreeError> {
        let output = self.ask(Mode::Look, &Place::nowhere(), ["version"]).await?;
        let text = output.text();
        let Some((version, numbers)) = parse_version(&text) else {
            return Err(WorktreeError::ReadGit {
                command: "git version".to_owned(),
                what: "no version in it",
            });
        };
        if numbers < MIN_VERSION {
            return Err(WorktreeError::GitVersion { found: version, wanted: MIN_VERSION_TEXT.to_owned() });
        }
        Ok(version)
    }
}

/// Finds a program as a shell would, but never in the current folder.
pub fn find_on_path(program: &Path, search: &OsStr) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return is_executable(program).then(|| program.to_path_buf());
    }
    std::env::split_paths(search)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Runs a call; see [`Git::run`].
///
/// # Errors
/// `StartGit`, `GitTimeout`, `GitOutputLimit`.
pub async fn run(command: GitCommand, timeout: Duration) -> Result<GitOutput, WorktreeError> {
    let label = command.label.clone();
    if let Some(code) = fault::instead_of_git(&label)? {
        let stderr = b"fatal: a fail point".to_vec();
        return Ok(GitOutput { stdout: Vec::new(), stderr, code: Some(code), signal: None });
    }
    let mut child = start(&command)?;
    // Before `child` in the order of dropping: the group is killed while its leader still holds the number.
    let mut group = Group::of(&child);
    let work = talk(&mut child, command.stdin, &label);
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => {
            fault::at("git.ran")?;
            match &result {
                Ok(_output) => group.done(),
                Err(_too_much) => group.kill(),
            }
            result
        }
        Err(_elapsed) => {
            group.signal(Signal::TERM);
            let _ended_or_not = tokio::time::timeout(TERM_GRACE, child_ended(&group)).await;
            group.kill();
            let _reaped = child.wait().await;
            Err(WorktreeError::GitTimeout { command: label, after: timeout })
        }
    }
}

fn start(command: &GitCommand) -> Result<Child, WorktreeError> {
    let stdin = if command.stdin.is_empty() { Stdio::null() } else { Stdio::piped() };
    Command::new(&command.program)
        .args(&command.args)
        .env_clear()
        .envs(&command.env)
        .current_dir(&command.cwd)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| WorktreeError::StartGit { command: command.label.clone(), source })
}

/// Feeds and reads the child until it has ended.
async fn talk(child: &mut Child, stdin: Vec<u8>, label: &str) -> Result<GitOutput, WorktreeError> {
    let input = child.stdin.take();
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let feed = async {
        if let Some(mut pipe) = input {
            // git that does not read to the end says so by its exit code.
            let _closed_early = pipe.write_all(&stdin).await;
        }
        Ok(())
    };
    let (status, fits) = {
        let reading = async {
            let out = read_all(stdout.as_mut(), &mut out);
            let err = read_all(stderr.as_mut(), &mut err);
            tokio::try_join!(feed, out, err).is_ok()
        };
        tokio::pin!(reading);
        wait_and_read(child, reading).await
    };
    if !fits {
        return Err(WorktreeError::GitOutputLimit { command: label.to_owned(), limit: MAX_OUTPUT_BYTES });
    }
    let status = status.map_err(|source| WorktreeError::StartGit { command: label.to_owned(), source })?;
    Ok(output(out, err, status))
}

/// Waits for the end of the child, and for the end of its output or a little while; says whether all fitted.
async fn wait_and_read(
    child: &mut Child,
    mut reading: std::pin::Pin<&mut impl Future<Output = bool>>,
) -> (std::io::Result<ExitStatus>, bool) {
    tokio::select! {
        status = child.wait() => {
            let rest = tokio::time::timeout(PIPE_GRACE, reading).await;
            (status, rest.unwrap_or(true))
        }
        fits = &mut reading => match fits {
            true => (child.wait().await, true),
            false => (Ok(ExitStatus::default()), false),
        },
    }
}

fn output(stdout: Vec<u8>, stderr: Vec<u8>, status: ExitStatus) -> GitOutput {
    GitOutput { stdout, stderr, code: status.code(), signal: status.signal() }
}

/// There is more than the bound.
struct TooMuch;

/// Reads to the end, or until there is more than the bound.
async fn read_all(pipe: Option<&mut (impl AsyncRead + Unpin)>, into: &mut Vec<u8>) -> Result<(), TooMuch> {
    let Some(pipe) = pipe else { return Ok(()) };
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(n) if into.len() + n > MAX_OUTPUT_BYTES => return Err(TooMuch),
            Ok(n) => into.extend_from_slice(&buffer[..n]),
        }
    }
}

/// Waits until nobody but the leader (perhaps a zombie) would receive a signal. Polls: only after a timeout.
async fn child_ended(group: &Group) {
    let pause = Duration::from_millis(20);
    while group.leader_runs() {
        tokio::time::sleep(pause).await;
    }
}

/// A process group that is killed when this is dropped before [`Group::done`].
struct Group {
    pid: Option<Pid>,
}

impl Group {
    fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { pid }
    }

    fn done(&mut self) {
        self.pid = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            // Fails only when nobody is left.
            let _gone = kill_process_group(pid, signal);
        }
    }

    fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.pid = None;
    }

    fn leader_runs(&self) -> bool {
        let Some(pid) = self.pid else { return false };
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_before, after)| after.chars().next());
        !matches!(state, None | Some('Z') | Some('X'))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
