//! A terminal of our own with a program at it, as a user's window is.

use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// How long a program at a window has to end when asked to.
const GRACE: Duration = Duration::from_secs(3);

/// Both ends of a new terminal of 80 x 24.
pub(super) fn open_pty() -> Result<(OwnedFd, OwnedFd), String> {
    let failed = |errno: Errno| format!("no terminal: {errno}");
    let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(failed)?;
    grantpt(&main).map_err(failed)?;
    unlockpt(&main).map_err(failed)?;
    let name = ptsname(&main, Vec::new()).map_err(failed)?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).map_err(failed)?;
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&slave, size).map_err(failed)?;
    Ok((main, slave))
}

/// The thread that takes what is drawn.
struct Drain {
    thread: JoinHandle<()>,
    count: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
}

/// A window; its program is ended when dropped.
pub(super) struct Window {
    pub main: Arc<OwnedFd>,
    child: Child,
    drain: Option<Drain>,
    buffer: Vec<u8>,
}

impl Window {
    /// Starts a program at a new terminal.
    pub(super) fn open(mut command: Command) -> Result<Self, String> {
        let (main, slave) = open_pty()?;
        let end = || slave.try_clone().map(Stdio::from).map_err(|error| error.to_string());
        command.stdin(end()?).stdout(end()?).stderr(end()?);
        let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        Ok(Self { main: Arc::new(main), child, drain: None, buffer: vec![0; 64 << 10] })
    }

    /// Types.
    pub(super) fn type_in(&self, keys: &[u8]) -> Result<(), String> {
        rustix::io::write(&*self.main, keys).map(drop).map_err(|errno| format!("could not type: {errno}"))
    }

    /// Reads until a text is drawn; false when it is not by then.
    pub(super) fn until_drawn(&mut self, text: &[u8], patience: Duration) -> Result<bool, String> {
        let deadline = Instant::now() + patience;
        let mut tail: Vec<u8> = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(n) = read_within(&self.main, &mut self.buffer, left)? else { return Ok(false) };
            tail.extend_from_slice(&self.buffer[..n]);
            if memchr::memmem::find(&tail, text).is_some() {
                return Ok(true);
            }
            let cut = tail.len().saturating_sub(text.len());
            tail.drain(..cut);
        }
    }

    /// From now on a thread takes what is drawn.
    pub(super) fn drain(&mut self) {
        let (main, count, done) = (Arc::clone(&self.main), Arc::default(), Arc::default());
        let (counted, stop): (Arc<AtomicU64>, Arc<AtomicBool>) = (Arc::clone(&count), Arc::clone(&done));
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while !stop.load(Ordering::Relaxed) {
                // Some leave a process behind that holds the other side open: no end to wait for.
                match read_within(&main, &mut buffer, Duration::from_millis(50)) {
                    Ok(Some(n)) => drop(counted.fetch_add(n as u64, Ordering::Relaxed)),
                    Ok(None) => {}
                    Err(_gone) => return,
                }
            }
        });
        self.drain = Some(Drain { thread, count, done });
    }

    /// How many bytes the thread has taken.
    pub(super) fn drained(&self) -> u64 {
        self.drain.as_ref().map_or(0, |drain| drain.count.load(Ordering::Relaxed))
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            // Somebody has to take what it draws last.
            if self.drain.is_none() {
                let _nothing = read_within(&self.main, &mut self.buffer, Duration::from_millis(1));
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let (_killed, _reaped) = (self.child.kill(), self.child.wait());
        if let Some(drain) = self.drain.take() {
            drain.done.store(true, Ordering::Relaxed);
            let _panicked = drain.thread.join();
        }
    }
}

/// Reads once; `None` when there was nothing until then or the other side is closed.
pub(super) fn read_within(
    main: &OwnedFd,
    buffer: &mut [u8],
    patience: Duration,
) -> Result<Option<usize>, String> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|error| error.to_string())?;
        match poll(&mut [PollFd::new(main, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Ok(None),
            Ok(_ready) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.to_string()),
        }
        return match rustix::io::read(main, &mut *buffer) {
            Ok(0) | Err(Errno::IO) => Ok(None),
            Ok(n) => Ok(Some(n)),
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(errno) => Err(errno.to_string()),
        };
    }
}
