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
/// After a failed write the disk is left alone for so long; what comes meanwhile is lost.
const RETRY_AFTER: Duration = Duration::from_millis(100);

struct Segment {
    start: u64,
    len: u64,
    log: File,
    index: File,
    records: u64,
    last: Option<Record>,
}

/// The writer of a task's log. The folder is held open; when somebody removes it, nothing is made anew.
pub(super) struct LogWriter {
    folder: OwnedFd,
    limit: u64,
    cap: u64,
    segment: Option<Segment>,
    closed: VecDeque<(u64, u64)>,
    end: u64,
    lost: u64,
    retry_at: Option<Instant>,
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
            end,
            lost: 0,
            retry_at: None,
            size: (0, 0),
        })
    }

    /// The offset after the last byte that was read from the task, kept or lost.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// The size that the following bytes are drawn for.
    pub(super) fn resized(&mut self, cols: u16, rows: u16, at: Timestamp) {
        self.size = (cols, rows);
        if self.segment.is_some() {
            let _only_a_mark = self.record(RecordKind::Resized, 0, at);
        }
    }

    /// Appends what was read. Never fails: what cannot be kept becomes a hole.
    pub(super) fn append(&mut self, stream: Stream, bytes: &[u8], at: Timestamp, now: Instant) {
        if self.segment.as_ref().is_some_and(|s| s.len >= self.cap) {
            self.close_segment();
        }
        let kept = if self.segment.is_some() || self.retry_at.is_none_or(|t| now >= t) {
            self.keep(stream, bytes, at)
        } else {
            0
        };
        self.end += bytes.len() as u64;
        if kept == bytes.len() {
            self.retry_at = None;
            return;
        }
        self.lost += (bytes.len() - kept) as u64;
        self.retry_at = Some(self.retry_at.filter(|t| now < *t).unwrap_or(now + RETRY_AFTER));
        self.close_segment();
    }

    /// Writes bytes and their record; says how many bytes count.
    fn keep(&mut self, stream: Stream, bytes: &[u8], at: Timestamp) -> usize {
        if self.segment.is_none() && self.open_segment().is_err() {
            return 0;
        }
        if self.lost > 0 && self.record(RecordKind::Lost, self.lost, at).is_ok() {
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
        let start = self.end;
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
