//! Starts the command of a task, on a terminal or behind pipes.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::fs::{Access, Mode, OFlags};

use super::error::KeeperError;
use super::group::Confine;
use super::index::Stream;
use super::spec::{Groups, Rlimits, Shape, Spec};
use crate::pty::{Size, Terminal};
use crate::raw::Raw;

/// A command that runs. Nobody has waited for it yet, and only its keeper may.
pub(super) struct Spawned {
    pub(super) pid: u32,
    pub(super) terminal: Option<Terminal>,
    pub(super) outputs: Vec<(OwnedFd, Stream)>,
    pub(super) input: Option<OwnedFd>,
    pub(super) groups: Groups,
    pub(super) rlimits: Rlimits,
}

/// Starts the command.
///
/// `umask` is what the command gets, where ours is our own.
pub(super) fn spawn(spec: &Spec, umask: Option<Mode>) -> Result<Spawned, KeeperError> {
    let cwd = spec.cwd.as_path();
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(cwd, folder, Mode::empty())
        .map_err(|e| KeeperError::Enter { path: cwd.to_path_buf(), source: e.into() })?;
    let program = look_up(spec)?;
    let terminal = match spec.shape {
        Shape::Terminal { cols, rows } => {
            let size = Size::new(cols, rows).ok_or(KeeperError::Size { cols, rows })?;
            Some(Terminal::open(size).map_err(KeeperError::OpenTerminal)?)
        }
        Shape::Run { .. } => None,
    };
    let mut command = Command::new(&program);
    command.arg0(spec.argv[0].as_os_str()).args(spec.argv[1..].iter().map(Raw::as_os_str));
    command.current_dir(cwd).env_clear();
    command.envs(spec.env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str())));
    connect(&mut command, spec, terminal.as_ref())?;
    let confine = Arc::new(Confine::prepare(&spec.groups, &spec.rlimits));
    prepare(&mut command, terminal.is_some(), umask, Arc::clone(&confine));
    let name = || spec.argv[0].lossy().into_owned();
    let mut child = command.spawn().map_err(|source| KeeperError::Spawn { program: name(), source })?;
    // Our copies of the command's ends; holding one would hide the end of its output.
    drop(command);
    let (groups, rlimits) = Arc::into_inner(confine).map(Confine::outcome).unwrap_or_default();
    let pid = child.id();
    let mut spawned = Spawned { pid, terminal, outputs: Vec::new(), input: None, groups, rlimits };
    let pipes = [
        (child.stdout.take().map(OwnedFd::from), Stream::Stdout),
        (child.stderr.take().map(OwnedFd::from), Stream::Stderr),
    ];
    for (pipe, stream) in pipes {
        let Some(pipe) = pipe else { continue };
        unblock(&pipe)?;
        spawned.outputs.push((pipe, stream));
    }
    if let Some(pipe) = child.stdin.take().map(OwnedFd::from) {
        unblock(&pipe)?;
        spawned.input = Some(pipe);
    }
    Ok(spawned)
}

fn unblock(fd: &OwnedFd) -> Result<(), KeeperError> {
    rustix::io::ioctl_fionbio(fd, true)
        .map_err(|e| KeeperError::SetUp { attempt: "read a pipe without waiting", source: e.into() })
}

fn connect(command: &mut Command, spec: &Spec, terminal: Option<&Terminal>) -> Result<(), KeeperError> {
    let Some(terminal) = terminal else {
        let stdin = matches!(spec.shape, Shape::Run { stdin: true });
        command.stdin(if stdin { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        return Ok(());
    };
    let slave = || {
        let held = terminal.slave().expect("invariant: a new terminal holds both ends");
        held.try_clone_to_owned().map(Stdio::from).map_err(KeeperError::OpenTerminal)
    };
    command.stdin(slave()?).stdout(slave()?).stderr(slave()?);
    Ok(())
}

/// What the command's process does to itself before it becomes the command.
fn prepare(command: &mut Command, on_terminal: bool, umask: Option<Mode>, confine: Arc<Confine>) {
    let before_exec = move || {
        confine.enter();
        rustix::process::setsid()?;
        if on_terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        if let Some(umask) = umask {
            rustix::process::umask(umask);
        }
        default_signals();
        close_on_exec(3);
        Ok(())
    };
    // SAFETY: runs between fork and exec, where only async-signal-safe calls are allowed; each of the
    // calls above is one system call (or a loop of them), and none allocates, locks or panics.
    unsafe { command.pre_exec(before_exec) };
}

/// Gives every signal its default: an ignored one would stay ignored in the command.
pub(super) fn default_signals() {
    for number in 1..=64 {
        // SAFETY: only sets a disposition to the default; numbers that cannot be set are refused.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// Makes the kernel close every descriptor from `first` on at exec.
fn close_on_exec(first: libc::c_uint) {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: only sets a flag on descriptors; no memory is involved. An old kernel refuses, and then
    // what was opened with the flag (all of ours is) is closed anyway.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
}

/// Finds the program in the `PATH` of the task, as `execvp` would.
fn look_up(spec: &Spec) -> Result<PathBuf, KeeperError> {
    let name = spec.argv.first().filter(|name| !name.0.is_empty()).ok_or(KeeperError::NoCommand)?;
    let mut texts = spec.argv.iter().chain(spec.env.iter().flat_map(|(n, v)| [n, v])).chain([&spec.cwd]);
    if texts.any(|text| text.0.contains(&0)) {
        return Err(KeeperError::NulByte);
    }
    let cwd = spec.cwd.as_path();
    let mut found_file = false;
    for candidate in candidates(name, path_of(spec), cwd) {
        match std::fs::metadata(&candidate) {
            Ok(file) if file.is_file() && rustix::fs::access(&candidate, Access::EXEC_OK).is_ok() => {
                return Ok(candidate);
            }
            Ok(file) => found_file |= file.is_file() || name.0.contains(&b'/'),
            Err(_not_there) => {}
        }
    }
    let program = name.lossy().into_owned();
    Err(if found_file {
        KeeperError::NotExecutable { program }
    } else {
        KeeperError::CommandNotFound { program }
    })
}

fn path_of(spec: &Spec) -> &[u8] {
    let path = spec.env.iter().rev().find(|(name, _)| name.as_bytes() == b"PATH");
    path.map_or(b"/usr/local/bin:/usr/bin:/bin", |(_, value)| value.as_bytes())
}

/// Where a program of this name may be; relative places count from `cwd`.
fn candidates(name: &Raw, path: &[u8], cwd: &Path) -> Vec<PathBuf> {
    if name.0.contains(&b'/') {
        return vec![cwd.join(name.as_path())];
    }
    path.split(|b| *b == b':')
        .map(|folder| cwd.join(OsStr::from_bytes(folder)).join(name.as_path()))
        .collect()
}
