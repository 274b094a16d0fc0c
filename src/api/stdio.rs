//! The bridge between standard streams and the runtime's socket, for clients behind SSH.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::{ApiError, socket};
use crate::failure::Failure;

/// So much is always taken by a pipe that says it has room.
const PIECE: usize = 4096;

/// Copies `input` to the runtime of `home` and what it says to `output`, until either side is done. An
/// `input` that ends lets the runtime answer what it was asked.
///
/// Blocks; starts no thread, and leaves the modes of both streams as they are.
///
/// # Errors
/// `DAEMON_DOWN` when nobody serves the home, `IO`.
pub fn bridge(home: &Path, input: impl AsFd, output: impl AsFd) -> Result<(), Failure> {
    let stream = connect(home)?;
    let (input, output) = (input.as_fd(), output.as_fd());
    copy(&stream, input, output)
        .map_err(|source| ApiError::Bridge { attempt: "copy between the streams", source }.into())
}

fn connect(home: &Path) -> Result<UnixStream, ApiError> {
    let failed = |source| ApiError::Bridge { attempt: "prepare the connection", source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    // Stays non-blocking, as `copy` wants it.
    runtime.block_on(async { socket::connect(home).await?.into_std().map_err(failed) })
}

fn copy(stream: &UnixStream, input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> io::Result<()> {
    let mut up = Pipe::default();
    let mut down = Pipe::default();
    loop {
        let (up_wants, down_wants) = (up.wants(), down.wants());
        let socket_flags = only(PollFlags::OUT, up_wants.write) | only(PollFlags::IN, down_wants.read);
        let out_flags = only(PollFlags::OUT, down_wants.write);
        let at_out = PollFd::from_borrowed_fd(output, out_flags);
        // A stream we want nothing of is left out: once it hangs up it would wake us for ever. The output
        // is always looked at: when nobody reads it, there is nothing left to do.
        let mut fds = [at_out.clone(), at_out.clone(), at_out];
        if up_wants.read {
            fds[0] = PollFd::from_borrowed_fd(input, PollFlags::IN);
        }
        if !socket_flags.is_empty() {
            fds[1] = PollFd::from_borrowed_fd(stream.as_fd(), socket_flags);
        }
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = PollFlags::HUP | PollFlags::ERR;
        let (from_in, at_socket, at_out) = (fds[0].revents(), fds[1].revents(), fds[2].revents());
        if up_wants.read && from_in.intersects(PollFlags::IN | ended) {
            up.read(input)?;
        }
        if up_wants.write && at_socket.intersects(PollFlags::OUT | ended) {
            up.write(stream.as_fd())?;
        }
        if up.is_done() && !up.told {
            up.told = true;
            let _gone_already = stream.shutdown(Shutdown::Write);
        }
        if down_wants.read && at_socket.intersects(PollFlags::IN | ended) {
            down.read(stream.as_fd())?;
        }
        if down_wants.write && at_out.intersects(PollFlags::OUT | ended) {
            down.write(output)?;
        } else if at_out.intersects(ended) {
            return Ok(());
        }
        if down.is_done() {
            return Ok(());
        }
    }
}

const fn only(flags: PollFlags, wanted: bool) -> PollFlags {
    if wanted { flags } else { PollFlags::empty() }
}

/// One direction: what was read and not yet written.
#[derive(Default)]
struct Pipe {
    held: Vec<u8>,
    ended: bool,
    /// The other side knows that it ended.
    told: bool,
}

struct Wants {
    read: bool,
    write: bool,
}

impl Pipe {
    fn wants(&self) -> Wants {
        Wants { read: self.held.is_empty() && !self.ended, write: !self.held.is_empty() }
    }

    fn is_done(&self) -> bool {
        self.ended && self.held.is_empty()
    }

    fn read(&mut self, from: BorrowedFd<'_>) -> io::Result<()> {
        let mut piece = [0; PIECE];
        match rustix::io::read(from, &mut piece) {
            Ok(0) | Err(Errno::CONNRESET) => self.ended = true,
            Ok(count) => self.held.extend_from_slice(&piece[..count]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn write(&mut self, to: BorrowedFd<'_>) -> io::Result<()> {
        match rustix::io::write(to, &self.held) {
            Ok(count) => drop(self.held.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Nobody reads any more: there is nothing left to do in this direction.
            Err(Errno::PIPE) => {
                self.held.clear();
                self.ended = true;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
