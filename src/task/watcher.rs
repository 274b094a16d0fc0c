//! Watches one keeper: marks, questions, sizes, the end; everything but the output.

use std::io::ErrorKind;
use std::path::Path;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::TaskError;
use crate::keeper::protocol::{Decoder, Reply, Request, VERSIONS};
use crate::keeper::{SocketPath, is_ours};

/// A connection to a keeper that is told what happens.
#[derive(Debug)]
pub struct Watcher {
    stream: UnixStream,
    decoder: Decoder,
    last_id: u32,
}

impl Watcher {
    /// Connects, and watches: marks after an offset, and one notice when output reaches another.
    ///
    /// # Errors
    /// When nobody (or somebody else) listens there.
    pub async fn connect(run_dir: &Path, marks_after: u64, output_at: u64) -> Result<Self, TaskError> {
        let failed = |source| TaskError::Connect { run_dir: run_dir.to_path_buf(), source };
        let path = SocketPath::new(run_dir).map_err(failed)?;
        let stream = UnixStream::connect(path.as_path()).await.map_err(failed)?;
        if !is_ours(&stream) {
            return Err(TaskError::NotOurs { run_dir: run_dir.to_path_buf() });
        }
        let mut watcher = Self { stream, decoder: Decoder::default(), last_id: 0 };
        watcher.send(&Request::Hello { min: VERSIONS.0, max: VERSIONS.1 }).await?;
        watcher.send(&Request::Watch { marks_after, output_at }).await?;
        Ok(watcher)
    }

    /// Asks for another notice, when output reaches this offset.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn output_at(&mut self, offset: u64) -> Result<(), TaskError> {
        // Marks go on where they were.
        self.send(&Request::Watch { marks_after: u64::MAX, output_at: offset }).await
    }

    /// Answers a question; of several answers the keeper takes the first.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn answer(&mut self, offset: u64, bytes: Vec<u8>) -> Result<(), TaskError> {
        self.send(&Request::Answer { offset, bytes }).await
    }

    /// The next notice or reply; `None` when the keeper has gone, or says what cannot be read. Nothing is
    /// lost when the call is dropped.
    pub async fn next(&mut self) -> Option<Reply> {
        let mut buffer = [0; 4096];
        loop {
            while let Some(frame) = self.decoder.frame().ok()? {
                if let Some(reply) = Reply::decode(&frame).ok()? {
                    return Some(reply);
                }
            }
            self.stream.readable().await.ok()?;
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.decoder.feed(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_gone) => return None,
            }
        }
    }

    /// A cut call would cut a frame: not to be dropped on the way.
    async fn send(&mut self, request: &Request) -> Result<(), TaskError> {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let mut frame = Vec::new();
        request.encode(self.last_id, &mut frame);
        self.stream.write_all(&frame).await.map_err(|_gone| TaskError::Gone)
    }
}
