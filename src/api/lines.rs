//! Lines with a largest length: one that is longer is skipped without being kept.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::Decoder;

/// How much is asked for at once.
const READ_SIZE: usize = 16 << 10;

/// One line, or the news that one was too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its line feed.
    Text(Bytes),
    /// A line of more than the largest length; the rest of it is dropped as it arrives.
    TooLong,
}

/// Cuts bytes into lines of at most so many bytes. What follows the last line feed is not a line.
#[derive(Clone, Debug)]
pub struct Lines {
    max: usize,
    /// How much of the buffer holds no line feed.
    scanned: usize,
    skipping: bool,
}

impl Lines {
    /// Lines of at most `max` bytes, the line feed not counted.
    pub const fn new(max: usize) -> Self {
        Self { max, scanned: 0, skipping: false }
    }

    /// Drops the rest of a line that was too long; true when its end was found.
    fn skip(&mut self, bytes: &mut BytesMut) -> bool {
        match bytes.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                bytes.advance(at + 1);
                self.skipping = false;
                true
            }
            None => {
                bytes.clear();
                false
            }
        }
    }
}

impl Decoder for Lines {
    type Item = Line;
    type Error = io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Line>, io::Error> {
        if self.skipping && !self.skip(bytes) {
            return Ok(None);
        }
        let found = bytes[self.scanned..].iter().position(|byte| *byte == b'\n');
        let len = found.map_or(bytes.len(), |at| self.scanned + at);
        if len > self.max {
            self.scanned = 0;
            self.skipping = true;
            let _its_end_may_be_here = self.skip(bytes);
            return Ok(Some(Line::TooLong));
        }
        if found.is_none() {
            self.scanned = len;
            return Ok(None);
        }
        self.scanned = 0;
        let line = bytes.split_to(len).freeze();
        bytes.advance(1);
        Ok(Some(Line::Text(line)))
    }

    fn decode_eof(&mut self, bytes: &mut BytesMut) -> Result<Option<Line>, io::Error> {
        let line = self.decode(bytes)?;
        if line.is_none() {
            // Half a line at the end was never said.
            bytes.clear();
        }
        Ok(line)
    }
}

/// Reads lines from a stream.
#[derive(Debug)]
pub struct LineReader<R> {
    read: R,
    lines: Lines,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Lines of at most `max` bytes.
    pub fn new(read: R, max: usize) -> Self {
        Self { read, lines: Lines::new(max), buffer: BytesMut::new() }
    }

    /// The next line; `None` at the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// What the stream says.
    pub async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.lines.decode(&mut self.buffer)? {
                return Ok(Some(line));
            }
            self.buffer.reserve(READ_SIZE);
            if self.read.read_buf(&mut self.buffer).await? == 0 {
                return self.lines.decode_eof(&mut self.buffer);
            }
        }
    }
}

impl LineReader<tokio::net::unix::OwnedReadHalf> {
    /// The stream that the lines come from.
    pub fn stream(&self) -> &tokio::net::UnixStream {
        self.read.as_ref()
    }
}
