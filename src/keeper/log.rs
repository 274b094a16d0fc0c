//! The writer of a task's log: bytes first, then the record that makes them count.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::index::{RECORD_BYTES, Record, RecordKind, Stream, index_name, parse_segment_name, segment_name};
use crate::clock::Timestamp;

/// A segment is closed when it has so many bytes: small enough that dropping one loses little, large
/// enough that a log has few files.
const SEGMENT_BYTES: u64 = 8 << 20;
/// A segment is not made smaller than this, however small the limit is.
const MIN_SEGMENT_BYTES: u64 = 64 << 10;
/// Reads of one stream within so many milliseconds share a record, as long as it stays small.
const MERGE_MS: u64 = 20;
/// A shared record does not grow over this.
const MERGE_BYTES: u64 = 16 << 10;
/// After a failed write the disk is left alone for so long, and longer each time up to the slowest.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// See [`RETRY_AFTER`].
const SLOWEST_RETRY: Duration = Duration::from_secs(4);
/// What comes meanwhile is held in memory, the newest of it: a full screen of anything, and little beside
/// what makes a disk full.
const HELD_BYTES: u64 = 256 << 10;
/// Small reads are held together up to about so many bytes.
const HELD_PIECE: usize = 4 << 10;

struct Segment {
    start: u64,
    len: u64,
    log: File,
    index: File,
    records: u64,
    last: Option<Record>,
}

struct Held {
    stream: Stream,
    at: Timestamp,
    bytes: Vec<u8>,
}

/// The writer of a task's log. The folder is held open; when somebody removes it, nothing is made anew.
pub(super) struct LogWriter {
    folder: OwnedFd,
    limit: u64,
    cap: u64,
    segment: Option<Segment>,
    closed: VecDeque<(u64, u64)>,
    /// The offset of the next byte that is written.
    at: u64,
    /// What could not be written, from `at` on.
    held: VecDeque<Held>,
    held_bytes: u64,
    lost: u64,
    dropped: Option<(u64, u64)>,
    retry_at: Option<Instant>,
    pause: Duration,
    /// The folder was removed: nothing is written any more.
    removed: bool,
    size: (u16, u16),
}

impl LogWriter {
    /// Opens the folder and goes on where an earlier log ends.
    pub(super) fn open(folder: &Path, limit: u64) -> std::io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(folder, flags, Mode::empty())?;
        let mut closed = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if let Some(start) = entry.file_name().to_str().and_then(parse_segment_name) {
                closed.push((start, entry.metadata()?.len()));
            }
        }
        closed.sort_unstable();
        let end = closed.last().map_or(0, |(start, len)| start + len);
        let cap = SEGMENT_BYTES.min(limit / 4).max(MIN_SEGMENT_BYTES);
        Ok(Self {
            folder: fd,
            limit,
            cap,
            segment: None,
            closed: closed.into(),
            at: end,
            held: VecDeque::new(),
            held_bytes: 0,
            lost: 0,
            dropped: None,
            retry_at: None,
            pause: RETRY_AFTER,
            removed: false,
            size: (0, 0),
        })
    }

    /// The offset after the last byte that was read from the task, kept, held or lost.
    pub(super) const fn end(&self) -> u64 {
        self.at + self.held_bytes
    }

    /// The offset up to which nothing more is to come: what is before it is in the log, or lost.
    pub(super) const fn recorded(&self) -> u64 {
        self.at
    }

    /// The size that the following bytes are drawn for.
    pub(super) fn resized(&mut self, cols: u16, rows: u16, at: Timestamp) {
        self.size = (cols, rows);
        if self.segment.is_some() {
            let _only_a_mark = self.record(RecordKind::Resized, 0, at);
        }
    }

    /// Adds what was read from the task. What cannot be written now is held; what is too much to be held
    /// becomes a hole.
    pub(super) fn append(&mut self, stream: Stream, bytes: &[u8], at: Timestamp, now: Instant) {
        self.retry(now);
        let kept = if self.held.is_empty() && self.retry_at.is_none() && !self.removed {
            self.keep_or_wait(stream, bytes, at, now)
        } else {
            0
        };
        if kept < bytes.len() && self.removed {
            self.lose((bytes.len() - kept) as u64);
        } else if kept < bytes.len() {
            self.hold(Held { stream, at, bytes: bytes[kept..].to_vec() });
        }
    }

    /// When to try again to write what is held.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at.filter(|_| !self.held.is_empty())
    }

    /// Writes what is held, when it is time to try.
    pub(super) fn retry(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = None;
        self.write_held(now);
    }

    /// Writes what is held, whatever the time is: there is no later.
    pub(super) fn retry_last(&mut self) {
        self.retry_at = None;
        self.write_held(Instant::now());
    }

    /// What could not be recorded, once the log goes on behind it: from, to.
    pub(super) const fn take_dropped(&mut self) -> Option<(u64, u64)> {
        self.dropped.take()
    }

    fn write_held(&mut self, now: Instant) {
        while let Some(held) = self.held.pop_front() {
            self.held_bytes -= held.bytes.len() as u64;
            let kept = self.keep_or_wait(held.stream, &held.bytes, held.at, now);
            if kept < held.bytes.len() {
                let rest = held.bytes[kept..].to_vec();
                self.held_bytes += rest.len() as u64;
                self.held.push_front(Held { bytes: rest, ..held });
                if self.removed {
                    let held = std::mem::take(&mut self.held_bytes);
                    self.lose(held);
                    break;
                }
                return;
            }
        }
        self.held = VecDeque::new();
    }

    fn hold(&mut self, held: Held) {
        self.held_bytes += held.bytes.len() as u64;
        match self.held.back_mut() {
            Some(last) if last.stream == held.stream && last.bytes.len() < HELD_PIECE => {
                last.bytes.extend_from_slice(&held.bytes);
            }
            Some(_) | None => self.held.push_back(held),
        }
        while self.held_bytes > HELD_BYTES
            && let Some(oldest) = self.held.pop_front()
        {
            let gone = oldest.bytes.len() as u64;
            self.held_bytes -= gone;
            self.lose(gone);
        }
    }

    const fn lose(&mut self, bytes: u64) {
        self.lost += bytes;
        self.at += bytes;
    }

    /// Writes what can be written and says how much that was; when it was not all, the disk is left alone
    /// for a while, and the next segment begins behind what is missing.
    fn keep_or_wait(&mut self, stream: Stream, bytes: &[u8], at: Timestamp, now: Instant) -> usize {
        if self.segment.as_ref().is_some_and(|s| s.len >= self.cap) {
            self.close_segment();
        }
        let kept = self.keep(stream, bytes, at);
        self.at += kept as u64;
        if kept < bytes.len() {
            self.removed = rustix::fs::fstat(&self.folder).is_ok_and(|folder| folder.st_nlink == 0);
            self.retry_at = Some(now + self.pause).filter(|_| !self.removed);
            self.pause = (self.pause * 2).min(SLOWEST_RETRY);
            self.close_segment();
        } else {
            self.pause = RETRY_AFTER;
        }
        kept
    }

    /// Writes bytes and their record; says how many bytes count.
    fn keep(&mut self, stream: Stream, bytes: &[u8], at: Timestamp) -> usize {
        if self.segment.is_none() && self.open_segment().is_err() {
            return 0;
        }
        if self.lost > 0 && self.record(RecordKind::Lost, self.lost, at).is_ok() {
            self.dropped = Some((self.at - self.lost, self.at));
            self.lost = 0;
        }
        let Some(segment) = self.segment.as_mut() else { return 0 };
        let mut kept = 0;
        while kept < bytes.len() {
            match segment.log.write(&bytes[kept..]) {
                Ok(0) => break,
                Ok(n) => kept += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_full_or_gone) => break,
            }
        }
        if kept == 0 {
            return 0;
        }
        if self.record(RecordKind::Bytes(stream), kept as u64, at).is_err() {
            // Bytes that no record covers must not lie where the next ones are expected.
            if let Some(segment) = self.segment.as_ref() {
                let _closed_next = segment.log.set_len(segment.len);
            }
            return 0;
        }
        if let Some(segment) = self.segment.as_mut() {
            segment.len += kept as u64;
        }
        kept
    }

    /// Writes a record at the current end, or widens the last one.
    fn record(&mut self, kind: RecordKind, len: u64, at: Timestamp) -> std::io::Result<()> {
        let Some(segment) = self.segment.as_mut() else { return Ok(()) };
        let (cols, rows) = self.size;
        let offset = segment.start + segment.len;
        let fresh = Record { offset, at, len, cols, rows, kind };
        let widened = segment.last.and_then(|last| widen(last, fresh));
        let (place, record) = match widened {
            Some(record) => (segment.records - 1, record),
            None => (segment.records, fresh),
        };
        segment.index.write_all_at(&record.encode(), place * RECORD_BYTES as u64)?;
        segment.records = place + 1;
        segment.last = Some(record);
        Ok(())
    }

    fn open_segment(&mut self) -> std::io::Result<()> {
        self.trim();
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let start = self.at;
        // The index first: a reader that sees a segment can open its index.
        let index = rustix::fs::openat(&self.folder, index_name(start), flags, mode)?;
        let log = rustix::fs::openat(&self.folder, segment_name(start), flags | OFlags::APPEND, mode)?;
        self.segment =
            Some(Segment { start, len: 0, log: log.into(), index: index.into(), records: 0, last: None });
        Ok(())
    }

    fn close_segment(&mut self) {
        let Some(segment) = self.segment.take() else { return };
        if segment.len == 0 {
            self.remove(segment.start);
        } else {
            self.closed.push_back((segment.start, segment.len));
        }
    }

    /// Drops the oldest segments until a full new one fits under the limit.
    fn trim(&mut self) {
        let mut total: u64 = self.closed.iter().map(|(_start, len)| len).sum();
        while total.saturating_add(self.cap) > self.limit {
            let Some((start, len)) = self.closed.pop_front() else { return };
            self.remove(start);
            total -= len;
        }
    }

    fn remove(&self, start: u64) {
        let _may_be_gone = rustix::fs::unlinkat(&self.folder, segment_name(start), AtFlags::empty());
        let _may_be_gone = rustix::fs::unlinkat(&self.folder, index_name(start), AtFlags::empty());
    }
}

/// One record for both, when that says the same.
fn widen(last: Record, next: Record) -> Option<Record> {
    let bytes = matches!(next.kind, RecordKind::Bytes(_));
    let same = last.kind == next.kind && (last.cols, last.rows) == (next.cols, next.rows);
    let soon = next.at.0.saturating_sub(last.at.0) < MERGE_MS && next.at >= last.at;
    let small = last.len + next.len <= MERGE_BYTES;
    (bytes && same && soon && small && last.end() == next.offset)
        .then_some(Record { len: last.len + next.len, ..last })
}
