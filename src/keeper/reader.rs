//! Reads a task's log, while it is written and afterwards.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::index::{RECORD_BYTES, Record, RecordKind, Stream, index_name, parse_segment_name, segment_name};
use crate::clock::Timestamp;

/// At most so many bytes come at once.
const MAX_CHUNK: usize = 64 << 10;

/// A log that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("could not read the log {}: {source}", path.display())]
pub struct ReadLogError {
    /// The folder.
    pub path: PathBuf,
    /// Why not.
    pub source: std::io::Error,
}

impl From<ReadLogError> for crate::failure::Failure {
    fn from(error: ReadLogError) -> Self {
        Self::system(error.to_string(), &error.source)
    }
}

/// Bytes of one stream that were read together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where they begin.
    pub offset: u64,
    /// Where they came from.
    pub stream: Stream,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// When the first of them was read from the task.
    pub at: Timestamp,
    /// Columns and rows they were drawn for; zeros for a run.
    pub size: (u16, u16),
}

/// What comes next in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes.
    Chunk(Chunk),
    /// Bytes that are not there: too old, or the disk was full.
    Gap {
        /// The first offset that is not there.
        from: u64,
        /// The first one that is there again.
        to: u64,
    },
}

/// Reads a task's log from an offset on. Plain blocking files, usually from the page cache.
#[derive(Debug)]
pub struct LogReader {
    folder: PathBuf,
    at: u64,
    segment: Option<Segment>,
    ended: bool,
}

#[derive(Debug)]
struct Segment {
    start: u64,
    log: File,
    index: File,
    next: u64,
}

impl LogReader {
    /// Reads from `from` on. The folder need not be there yet; then there is nothing to read.
    pub fn open(log_dir: &Path, from: u64) -> Self {
        Self { folder: log_dir.to_path_buf(), at: from, segment: None, ended: false }
    }

    /// Where the next piece begins.
    pub const fn offset(&self) -> u64 {
        self.at
    }

    /// The first offset that is kept, and the offset after the last byte.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn bounds(&self) -> Result<(u64, u64), ReadLogError> {
        let starts = self.starts()?;
        let (Some(first), Some(last)) = (starts.first(), starts.last()) else { return Ok((0, 0)) };
        let Some(segment) = self.open_segment(*last)? else { return Ok((*first, *last)) };
        Ok((*first, self.segment_end(&segment)?))
    }

    /// The offset after the last byte.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn end(&self) -> Result<u64, ReadLogError> {
        self.bounds().map(|(_first, end)| end)
    }

    /// Says that nobody writes any more: a last read that its keeper had no time to note down counts too.
    pub const fn writer_is_gone(&mut self) {
        self.ended = true;
    }

    /// The next bytes or gap; `None` when there is nothing more now.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read_chunk(&mut self) -> Result<Option<Piece>, ReadLogError> {
        self.next_piece(MAX_CHUNK)
    }

    /// The same, and of bytes at most so many.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read_at_most(&mut self, most: usize) -> Result<Option<Piece>, ReadLogError> {
        self.next_piece(most.min(MAX_CHUNK))
    }

    fn next_piece(&mut self, most: usize) -> Result<Option<Piece>, ReadLogError> {
        loop {
            if self.segment.is_none() {
                match self.next_segment(None)? {
                    Next::Segment(segment) => self.segment = Some(segment),
                    Next::Gap(to) => return Ok(Some(self.gap_to(to))),
                    Next::Nothing => return Ok(None),
                }
            }
            if let Some(piece) = self.read_here(most)? {
                return Ok(Some(piece));
            }
            // At the end of this segment. Which others are there is looked up before looking here again:
            // one is finished before the next is begun.
            let here = self.segment.as_ref().map_or(0, |s| s.start);
            let newer = self.next_segment(Some(here))?;
            if let Some(piece) = self.read_here(most)? {
                return Ok(Some(piece));
            }
            match newer {
                Next::Segment(segment) => self.segment = Some(segment),
                Next::Gap(to) => {
                    self.segment = None;
                    return Ok(Some(self.gap_to(to)));
                }
                Next::Nothing => return self.unnoted(),
            }
        }
    }

    fn gap_to(&mut self, to: u64) -> Piece {
        let from = self.at;
        self.at = to;
        Piece::Gap { from, to }
    }

    /// Reads on in the open segment; `None` at its end.
    fn read_here(&mut self, most: usize) -> Result<Option<Piece>, ReadLogError> {
        let Some(mut segment) = self.segment.take() else { return Ok(None) };
        let read = read_on(&mut segment, self.at, most);
        self.segment = Some(segment);
        let chunk = read.map_err(|e| self.failed(e))?;
        if let Some(chunk) = &chunk {
            self.at = chunk.offset + chunk.bytes.len() as u64;
        }
        Ok(chunk.map(Piece::Chunk))
    }

    /// Bytes after the last record, once nobody writes any more.
    fn unnoted(&mut self) -> Result<Option<Piece>, ReadLogError> {
        let (true, Some(segment)) = (self.ended, self.segment.as_ref()) else { return Ok(None) };
        let mut bytes = vec![0; MAX_CHUNK];
        let place = self.at.saturating_sub(segment.start);
        let n = read_at(&segment.log, &mut bytes, place).map_err(|e| self.failed(e))?;
        if n == 0 {
            return Ok(None);
        }
        bytes.truncate(n);
        let last = read_record(&segment.index, segment.next).map_err(|e| self.failed(e))?;
        let stream = match last.map(|r| r.kind) {
            Some(RecordKind::Bytes(stream)) => stream,
            Some(RecordKind::Lost | RecordKind::Resized) | None => Stream::Stdout,
        };
        let (at, size) = last.map_or((Timestamp(0), (0, 0)), |r| (r.at, (r.cols, r.rows)));
        let offset = self.at;
        self.at += n as u64;
        Ok(Some(Piece::Chunk(Chunk { offset, stream, bytes, at, size })))
    }

    /// The segment to read next: the one that has our offset, or else the first one after it.
    fn next_segment(&self, after: Option<u64>) -> Result<Next, ReadLogError> {
        let starts = self.starts()?;
        let newer = |start: &&u64| after.is_none_or(|after| **start > after);
        // Without a segment: the last that begins at or before us, when it reaches us.
        if let Some(start) = starts.iter().filter(newer).rev().find(|start| **start <= self.at)
            && let Some(mut segment) = self.open_segment(*start)?
        {
            let is_last = starts.last() == Some(start);
            if is_last || self.at < self.segment_end(&segment)? {
                segment.next = self.find_record(&segment)?;
                return Ok(Next::Segment(segment));
            }
        }
        let ahead = starts.iter().filter(newer).find(|start| **start > self.at);
        Ok(ahead.map_or(Next::Nothing, |start| Next::Gap(*start)))
    }

    /// The number of the last record that begins at or before our offset.
    fn find_record(&self, segment: &Segment) -> Result<u64, ReadLogError> {
        let (mut low, mut high) = (0, self.records(segment)?);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            let record = read_record(&segment.index, middle).map_err(|e| self.failed(e))?;
            // Marks lie at the offset of what follows them, so only bytes may be stepped over.
            if record.is_some_and(|r| r.offset <= self.at) { low = middle } else { high = middle }
        }
        Ok(low)
    }

    fn records(&self, segment: &Segment) -> Result<u64, ReadLogError> {
        let len = segment.index.metadata().map_err(|e| self.failed(e))?.len();
        Ok(len / RECORD_BYTES as u64)
    }

    fn segment_end(&self, segment: &Segment) -> Result<u64, ReadLogError> {
        let count = self.records(segment)?;
        let last = match count.checked_sub(1) {
            Some(last) => read_record(&segment.index, last).map_err(|e| self.failed(e))?,
            None => None,
        };
        Ok(last.map_or(segment.start, |r| r.end()))
    }

    fn starts(&self) -> Result<Vec<u64>, ReadLogError> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(error)),
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        let mut starts: Vec<u64> = names.filter_map(|n| n.to_str().and_then(parse_segment_name)).collect();
        starts.sort_unstable();
        Ok(starts)
    }

    /// Opens a segment; `None` when it has just been dropped.
    fn open_segment(&self, start: u64) -> Result<Option<Segment>, ReadLogError> {
        let open = |name: String| match File::open(self.folder.join(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(error)),
        };
        let (log, index) = (open(segment_name(start))?, open(index_name(start))?);
        Ok(log.zip(index).map(|(log, index)| Segment { start, log, index, next: 0 }))
    }

    fn failed(&self, source: std::io::Error) -> ReadLogError {
        ReadLogError { path: self.folder.clone(), source }
    }
}

enum Next {
    Segment(Segment),
    Gap(u64),
    Nothing,
}

/// Reads on in a segment from an offset; `None` at its end.
fn read_on(segment: &mut Segment, at: u64, most: usize) -> std::io::Result<Option<Chunk>> {
    while let Some(record) = read_record(&segment.index, segment.next)? {
        let RecordKind::Bytes(stream) = record.kind else {
            segment.next += 1;
            continue;
        };
        if at < record.end() {
            let from = at.max(record.offset);
            let len = usize::try_from(record.end() - from).unwrap_or(most).min(most);
            let mut bytes = vec![0; len];
            let n = read_at(&segment.log, &mut bytes, from - segment.start)?;
            bytes.truncate(n);
            let size = (record.cols, record.rows);
            return Ok((n > 0).then_some(Chunk { offset: from, stream, bytes, at: record.at, size }));
        }
        // The last record may grow, so it is left only for another one; it has grown to its last before
        // the other was written, so it is looked at once more.
        if read_record(&segment.index, segment.next + 1)?.is_none() {
            return Ok(None);
        }
        if read_record(&segment.index, segment.next)?.is_none_or(|r| at >= r.end()) {
            segment.next += 1;
        }
    }
    Ok(None)
}

/// Reads the record with this number; `None` when it is not (wholly) there yet.
///
/// One of a kind we do not know reads as a mark without bytes.
fn read_record(index: &File, number: u64) -> std::io::Result<Option<Record>> {
    let mut bytes = [0; RECORD_BYTES];
    let n = read_at(index, &mut bytes, number * RECORD_BYTES as u64)?;
    if n < RECORD_BYTES {
        return Ok(None);
    }
    let unknown = Record { offset: 0, at: Timestamp(0), len: 0, cols: 0, rows: 0, kind: RecordKind::Lost };
    Ok(Some(Record::decode(&bytes).unwrap_or(unknown)))
}

fn read_at(file: &File, bytes: &mut [u8], place: u64) -> std::io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], place + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
