//! The pseudo-terminal as the system has it: opened and resized by `portable-pty`, held by us.
//!
//! Its spawn hides exec errors and its writer types an end-of-file when dropped, so neither is used: the
//! command is started on the other end, which is had from the descriptor itself (TIOCGPTPEER), never by a
//! path.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use portable_pty::{MasterPty, PtySize, PtySystem as _};
use rustix::pty::OpenptFlags;

use super::Size;

/// A pseudo-terminal, both ends held.
pub(crate) struct Terminal {
    master: Box<dyn MasterPty + Send>,
    io: OwnedFd,
    slave: Option<OwnedFd>,
    size: Size,
}

impl Terminal {
    /// Opens one of this size.
    pub(crate) fn open(size: Size) -> std::io::Result<Self> {
        let system = portable_pty::NativePtySystem::default();
        let pair = system.openpty(pty_size(size)).map_err(std::io::Error::other)?;
        let raw = pair.master.as_raw_fd().ok_or_else(|| std::io::Error::other("no descriptor"))?;
        // SAFETY: `pair.master` is open for all of this function and owns `raw`.
        let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
        let io = rustix::io::fcntl_dupfd_cloexec(borrowed, 3)?;
        rustix::io::ioctl_fionbio(&io, true)?;
        let slave = peer(&io)?;
        Ok(Self { master: pair.master, io, slave: Some(slave), size })
    }

    /// Where output is read and input is written, without waiting.
    pub(crate) fn io(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }

    /// The command's end.
    ///
    /// We hold one as long as the command lives, so that one which closes its terminal for a while does
    /// not look like the end.
    pub(crate) fn slave(&self) -> Option<BorrowedFd<'_>> {
        self.slave.as_ref().map(AsFd::as_fd)
    }

    /// Lets go of the command's end.
    pub(crate) fn release(&mut self) {
        self.slave = None;
    }

    /// Takes the command's end again after somebody hung it up.
    pub(crate) fn reopen(&mut self) -> bool {
        self.slave = peer(&self.io).ok();
        self.slave.is_some()
    }

    /// The size.
    pub(crate) const fn size(&self) -> Size {
        self.size
    }

    /// Sets the size; the foreground group is told when it differs.
    pub(crate) fn resize(&mut self, size: Size) -> std::io::Result<()> {
        self.master.resize(pty_size(size)).map_err(std::io::Error::other)?;
        self.size = size;
        Ok(())
    }

    /// The process group that keys such as ^C reach.
    pub(crate) fn foreground(&self) -> Option<u32> {
        let group = rustix::termios::tcgetpgrp(&self.io).ok()?;
        u32::try_from(group.as_raw_nonzero().get()).ok()
    }
}

fn peer(master: impl AsFd) -> std::io::Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    Ok(rustix::pty::ioctl_tiocgptpeer(master, flags)?)
}

const fn pty_size(size: Size) -> PtySize {
    PtySize { rows: size.rows(), cols: size.cols(), pixel_width: 0, pixel_height: 0 }
}
