//! The connection of one client to one keeper, without a runtime: what is typed goes out with one call.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::TaskError;
use crate::keeper::protocol::{Attach, Decoder, Reply, Request, VERSIONS};
use crate::keeper::{SocketPath, is_ours};

/// Bytes that are read at once.
const READ: usize = 64 << 10;

/// A connection to a keeper, for one who waits for its descriptor.
#[derive(Debug)]
pub struct Stream {
    socket: UnixStream,
    decoder: Decoder,
    unsent: VecDeque<u8>,
    last_id: u32,
    buffer: Vec<u8>,
}

impl Stream {
    /// Connects and asks for the stream at once: the first answers are on their way when this returns.
    ///
    /// # Errors
    /// When nobody (or somebody else) listens there.
    pub fn attach(run_dir: &Path, asked: Attach) -> Result<Self, TaskError> {
        let failed = |source| TaskError::Connect { run_dir: run_dir.to_path_buf(), source };
        let path = SocketPath::new(run_dir).map_err(failed)?;
        let socket = UnixStream::connect(path.as_path()).map_err(failed)?;
        if !is_ours(&socket) {
            return Err(TaskError::NotOurs { run_dir: run_dir.to_path_buf() });
        }
        socket.set_nonblocking(true).map_err(failed)?;
        let (decoder, unsent) = (Decoder::default(), VecDeque::new());
        let mut stream = Self { socket, decoder, unsent, last_id: 0, buffer: vec![0; READ] };
        stream.queue(&Request::Hello { min: VERSIONS.0, max: VERSIONS.1 });
        stream.queue(&Request::Attach(asked));
        stream.flush()?;
        Ok(stream)
    }

    /// Sends a request as far as the keeper takes it now; the number that its answer has.
    ///
    /// # Errors
    /// The connection is over, but what the keeper said before can still be read.
    pub fn send(&mut self, request: &Request) -> Result<u32, TaskError> {
        let id = self.queue(request);
        self.flush()?;
        Ok(id)
    }

    fn queue(&mut self, request: &Request) -> u32 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let mut frame = Vec::new();
        request.encode(self.last_id, &mut frame);
        self.unsent.extend(frame);
        self.last_id
    }

    /// Sends what is left.
    ///
    /// # Errors
    /// As [`Stream::send`].
    pub fn flush(&mut self) -> Result<(), TaskError> {
        while !self.unsent.is_empty() {
            let (bytes, _rest_comes_next) = self.unsent.as_slices();
            match self.socket.write(bytes) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_gone) => {
                    self.unsent.clear();
                    return Err(TaskError::Gone);
                }
            }
        }
        Ok(())
    }

    /// True while something is left to send.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads once and gives what arrived, each with the number of what it answers (0 for none); false when
    /// the connection is over.
    ///
    /// # Errors
    /// What arrived is not what a keeper says.
    pub fn read(&mut self, give: &mut impl FnMut(u32, Reply)) -> Result<bool, TaskError> {
        match self.socket.read(&mut self.buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => self.decoder.feed(&self.buffer[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(true);
            }
            Err(_gone) => return Ok(false),
        }
        while let Some(frame) = self.decoder.frame().map_err(|_garbage| TaskError::Gone)? {
            if let Some(reply) = Reply::decode(&frame).map_err(|_garbage| TaskError::Gone)? {
                give(frame.id, reply);
            }
        }
        Ok(true)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
