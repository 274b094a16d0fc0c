//! The keeper as a program of its own, and as a thread of a host.

use std::io::{Read as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use super::error::KeeperError;
use super::files;
use super::group;
use super::hear::Ears;
use super::input::Input;
use super::keep::Keep;
use super::log::LogWriter;
use super::rate::Rate;
use super::reap::Reaper;
use super::socket;
use super::spawn::{self, Spawned};
use super::spec::{Identity, Shape, Spec};
use super::tree::Tree;
use crate::clock;
use crate::failure::Failure;
use crate::fault;
use crate::ids::TaskId;
use crate::memory;
use crate::proc;

/// The first argument of a keeper; the task's id is the second and last.
pub const ARGUMENT: &str = "keeper";
/// A description is not longer than this: the kernel takes no larger arguments and environment.
const MAX_SPEC: u64 = 16 << 20;

/// What a keeper says on its standard output, in one line, before it closes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartResult {
    /// The command runs.
    Started(Box<Identity>),
    /// It does not, and nothing is left.
    Failed(Failure),
}

/// Becomes the keeper of a task when this process was started as one, and then never returns.
///
/// To be called first in `main`, before any runtime, thread or open file: what `<program> keeper
/// <task id>` inherits is closed.
pub fn main_if_invoked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != ARGUMENT) {
        return;
    }
    let id = arguments.next().and_then(|id| id.to_str().and_then(|id| id.parse::<TaskId>().ok()));
    if let (Some(id), None) = (id, arguments.next()) {
        std::process::exit(main(id));
    }
}

fn main(id: TaskId) -> i32 {
    memory::stay_small();
    let started = set_up().and_then(|(signals, umask)| {
        let spec = read_spec(id)?;
        start(spec, Place::Program { signals, umask })
    });
    let (result, keep) = match started {
        Ok(keep) => (StartResult::Started(Box::new(keep.identity.clone())), Some(keep)),
        Err(error) => (StartResult::Failed(error.into()), None),
    };
    answer(&result);
    fault::pass("keep.answered");
    let code = i32::from(keep.is_none());
    if let Some(keep) = keep {
        memory::trim();
        keep.run();
    }
    code
}

/// Says the result and closes what was inherited. Whoever asked may be gone: the task goes on.
fn answer(result: &StartResult) {
    let mut line = serde_json::to_vec(result).unwrap_or_default();
    line.push(b'\n');
    let mut stdout = std::io::stdout();
    let _asker_may_be_gone = stdout.write_all(&line).and_then(|()| stdout.flush());
    if let Ok(null) = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, Mode::empty()) {
        let _still_inherited = rustix::stdio::dup2_stdin(&null);
        let _still_inherited = rustix::stdio::dup2_stdout(&null);
        let _still_inherited = rustix::stdio::dup2_stderr(&null);
    }
}

/// Makes this process a keeper: nothing inherited, in a session of its own, parent of orphans.
///
/// The control group is left as it is: where the daemon is a service that is stopped by group, its unit
/// says `KillMode=process`. (Moving to a scope of our own belongs to the limits of a task.)
fn set_up() -> Result<(OwnedFd, Mode), KeeperError> {
    let failed =
        |attempt: &'static str| move |e: rustix::io::Errno| KeeperError::SetUp { attempt, source: e.into() };
    // SAFETY: nothing in this process owns a descriptor above 2 yet; the kernel checks the rest.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    match rustix::process::setsid() {
        // Already the leader of its session.
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(e) => return Err(failed("begin a session")(e)),
    }
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(failed("become the parent of orphans"))?;
    rustix::process::chdir("/").map_err(failed("enter /"))?;
    let umask = rustix::process::umask(Mode::from_raw_mode(0o077));
    let _only_for_people_who_look = rustix::thread::set_name(c"lanes-keeper");
    let signals = take_signals()?;
    Ok((signals, umask))
}

/// Ignores what would end us, and receives SIGCHLD as bytes.
fn take_signals() -> Result<OwnedFd, KeeperError> {
    spawn::default_signals();
    let ignored = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGPIPE,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGALRM,
        libc::SIGXFSZ,
        libc::SIGXCPU,
    ];
    for number in ignored {
        // SAFETY: sets a disposition; no handler of ours is involved.
        unsafe { libc::signal(number, libc::SIG_IGN) };
    }
    // SAFETY: an all-zero set is a valid value, and is made empty by `sigemptyset` besides.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` lives through all four calls, and no old mask is asked for.
    let fd = unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        let source = std::io::Error::last_os_error();
        return Err(KeeperError::SetUp { attempt: "watch for the end of processes", source });
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn read_spec(id: TaskId) -> Result<Spec, KeeperError> {
    let mut body = Vec::new();
    std::io::stdin().lock().take(MAX_SPEC).read_to_end(&mut body).map_err(KeeperError::ReadSpec)?;
    let spec: Spec = serde_json::from_slice(&body).map_err(KeeperError::ParseSpec)?;
    if spec.id != id {
        return Err(KeeperError::WrongTask);
    }
    Ok(spec)
}

/// Keeps a task in the calling thread: says through `started` whether its command runs, then returns
/// when nobody of it lives.
///
/// Sets nothing of the process: no session, subreaper, signal handler, mask of files or current folder;
/// waits for no child but the command. So the task ends with the process, and a descendant that leaves
/// session, parent *and* environment behind is not found.
pub fn keep_in_thread(spec: Spec, started: impl FnOnce(Result<Identity, KeeperError>)) {
    block_sigpipe();
    match start(spec, Place::Thread) {
        Err(error) => started(Err(error)),
        Ok(keep) => {
            started(Ok(keep.identity.clone()));
            keep.run();
        }
    }
}

/// Keeps a command that does not read its input from ending a host that was not told to ignore SIGPIPE.
fn block_sigpipe() {
    // SAFETY: an all-zero set is a valid value, and is made empty by `sigemptyset` besides.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` lives through the calls; only the mask of this thread changes, and commands are
    // started with an empty one.
    unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Where the keeper lives.
enum Place {
    Program { signals: OwnedFd, umask: Mode },
    Thread,
}

/// Starts the task; on failure nothing of it is left.
fn start(spec: Spec, place: Place) -> Result<Keep, KeeperError> {
    let (run_dir, log_dir) = (spec.run_dir.to_path_buf(), spec.log_dir.to_path_buf());
    let fresh_run = files::make_folder(&run_dir)?;
    let (fresh_log, result) = match files::make_folder(&log_dir) {
        Ok(fresh) => (fresh, start_in(spec, place)),
        Err(error) => (false, Err(error)),
    };
    if result.is_err() {
        for (folder, fresh) in [(&run_dir, fresh_run), (&log_dir, fresh_log)] {
            if fresh {
                let _not_empty = std::fs::remove_dir(folder);
            }
        }
    }
    result
}

fn start_in(spec: Spec, place: Place) -> Result<Keep, KeeperError> {
    let run_path = spec.run_dir.to_path_buf();
    let run_dir = files::hold(&run_path)?;
    let open_log = LogWriter::open(spec.log_dir.as_path(), spec.log_limit);
    let mut log =
        open_log.map_err(|source| KeeperError::MakeFolder { path: spec.log_dir.to_path_buf(), source })?;
    let listener =
        socket::listen(&run_path).map_err(|source| KeeperError::Listen { path: run_path, source })?;
    let write_failed = |source| KeeperError::WriteRun { path: spec.run_dir.to_path_buf(), source };
    // Before anything is started: who it is and how it ended must be told also when the disk is full by then.
    [files::IDENTITY, files::EXIT].iter().try_for_each(|name| files::make_room(&run_dir, name)).map_err(
        |error| {
            files::clear(&run_dir);
            write_failed(error)
        },
    )?;
    let umask = match &place {
        Place::Program { umask, .. } => Some(*umask),
        Place::Thread => None,
    };
    fault::pass("keep.folders");
    let mut spec = spec;
    spec.groups.keeper = match &place {
        Place::Program { .. } => group::join(&spec.groups.keeper),
        // A host stays where it is.
        Place::Thread => Vec::new(),
    };
    let started = Instant::now();
    let spawned = spawn::spawn(&spec, umask).inspect_err(|_| files::clear(&run_dir))?;
    fault::pass("keep.spawned");
    let identity = identify(&spec, &spawned);
    let attached = attach(&spec, &identity, place)
        .and_then(|parts| files::put(&run_dir, files::IDENTITY, &identity).map(|()| parts));
    let (tree, reaper) = attached.map_err(|error| {
        end_at_once(spawned.pid);
        files::clear(&run_dir);
        KeeperError::WriteRun { path: spec.run_dir.to_path_buf(), source: error }
    })?;
    fault::pass("keep.identity");
    if let Shape::Terminal { cols, rows } = spec.shape {
        log.resized(cols, rows, clock::now());
    }
    // What the command was told is its own from here on; there is one of us for each.
    let spec = Spec { argv: Vec::new(), env: Vec::new(), ..spec };
    let input_open = spawned.terminal.is_some() || spawned.input.is_some();
    let timeout = spec.timeout_ms.map(Duration::from_millis);
    Ok(Keep {
        identity,
        tree,
        reaper,
        run_dir,
        listener,
        log,
        terminal_open: spawned.terminal.is_some(),
        terminal: spawned.terminal,
        outputs: spawned.outputs,
        input_pipe: spawned.input,
        input: Input::new(input_open),
        clients: Vec::new(),
        started,
        timeout_at: timeout.and_then(|t| started.checked_add(t)),
        timed_out: false,
        ending: None,
        exit: None,
        told: false,
        reopened_at: None,
        ears: Ears::default(),
        rate: Rate::new(started),
        claims: 0,
        settled: None,
        asked_size: None,
        attached: 0,
        hurried: false,
        spec,
    })
}

fn attach(spec: &Spec, identity: &Identity, place: Place) -> std::io::Result<(Tree, Reaper)> {
    let command = identity.pid;
    Ok(match place {
        Place::Program { signals, .. } => {
            (Tree::Subreaper, Reaper::Children { signals, command, alone: false })
        }
        Place::Thread => {
            let (secret, group) = (spec.secret.clone(), identity.groups.kill.clone());
            let tree = Tree::Marked { command, start: identity.pid_start, secret, group };
            (tree, Reaper::watch(command)?)
        }
    })
}

fn identify(spec: &Spec, spawned: &Spawned) -> Identity {
    let keeper_pid = std::process::id();
    Identity {
        id: spec.id,
        lane_id: spec.lane_id,
        workspace_id: spec.workspace_id,
        correlation_id: spec.correlation_id,
        pid: spawned.pid,
        pid_start: proc::start_of(spawned.pid).unwrap_or_default(),
        keeper_pid,
        keeper_start: proc::start_of(keeper_pid).unwrap_or_default(),
        boot_id: proc::boot_id(),
        secret: spec.secret.clone(),
        started_at: clock::now(),
        groups: spawned.groups.clone(),
        rlimits: spawned.rlimits,
    }
}

/// Ends a command that was started, but cannot be kept.
fn end_at_once(pid: u32) {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return };
    let _ended_already = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    let _ended_already = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
}
