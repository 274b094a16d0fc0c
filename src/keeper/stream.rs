//! The stream of one attached client: what it was sent, what it took, what comes next.

use std::path::Path;

use super::checkpoint::Checkpoint;
use super::index::Stream as Source;
use super::protocol::{Attach, FRESH, MAX_OUTPUT, Reply, encode_output};
use super::reader::{LogReader, Piece};
use super::spec::Exit;

/// What is put into a client's buffer before the socket has taken it.
const MAX_BUFFERED: usize = 64 << 10;
/// Who is this far behind what is recorded is moved on.
const FAR: u64 = 4 << 20;
/// Where it is moved to without a checkpoint, and where a fresh stream without one begins: so far before
/// the end.
pub(super) const NEAR: u64 = 1 << 20;

/// One attached client's stream.
pub(super) struct Stream {
    /// Columns and rows of its window.
    pub(super) window: (u16, u16),
    pub(super) read_only: bool,
    /// When it last claimed the size: a number that grows; 0 for never.
    pub(super) claimed: u64,
    /// The size it was told, and whether that is its own.
    pub(super) told_size: Option<(u16, u16, bool)>,
    credit: u64,
    acknowledged: u64,
    next: Next,
    told_live: bool,
    told_exit: bool,
}

enum Next {
    /// A screen.
    Screen,
    /// The rest of its drawing, and the offset it is of.
    Drawing(std::vec::IntoIter<u8>, u64),
    /// Output from here on, straight from what is read: everything before was sent.
    Live(u64),
    /// Output from the log.
    Behind(Box<LogReader>),
}

/// What a stream is fed from.
pub(super) struct Feed<'a> {
    pub(super) log_dir: &'a Path,
    /// The end of what is recorded.
    pub(super) end: u64,
    pub(super) size: (u16, u16),
    /// How the command ended, once that may be told.
    pub(super) exit: Option<&'a Exit>,
}

impl Stream {
    pub(super) fn new(asked: &Attach, log_dir: &Path) -> Self {
        let next = match asked.from {
            FRESH => Next::Screen,
            from => Next::Behind(Box::new(LogReader::open(log_dir, from))),
        };
        Self {
            window: (asked.cols, asked.rows),
            read_only: asked.read_only,
            claimed: 0,
            told_size: None,
            credit: u64::from(asked.window),
            acknowledged: if asked.from == FRESH { 0 } else { asked.from },
            next,
            told_live: false,
            told_exit: false,
        }
    }

    /// Begins anew with a screen.
    pub(super) fn refresh(&mut self) {
        self.next = Next::Screen;
        self.told_live = false;
    }

    pub(super) fn acknowledge(&mut self, offset: u64) {
        self.acknowledged = self.acknowledged.max(offset);
    }

    /// True when it was sent everything.
    pub(super) const fn is_done(&self) -> bool {
        self.told_exit
    }

    /// Takes output as it is read, when everything before was sent and there is room.
    pub(super) fn output(&mut self, offset: u64, source: Source, bytes: &[u8], out: &mut Vec<u8>) {
        let Next::Live(at) = &mut self.next else { return };
        let after = offset + bytes.len() as u64;
        let room = *at == offset
            && self.told_live
            && out.len() < MAX_BUFFERED
            && after.saturating_sub(self.acknowledged) <= self.credit;
        if room {
            for (n, piece) in bytes.chunks(MAX_OUTPUT).enumerate() {
                encode_output(offset + (n * MAX_OUTPUT) as u64, source, piece, out);
            }
            *at = after;
        }
    }

    /// Puts what comes next into the client's buffer, as far as there is room.
    pub(super) fn feed(&mut self, from: &Feed<'_>, out: &mut Vec<u8>) {
        while out.len() < MAX_BUFFERED && self.step(from, out) {}
    }

    /// One step; false when there is nothing more to do now.
    fn step(&mut self, from: &Feed<'_>, out: &mut Vec<u8>) -> bool {
        match &mut self.next {
            Next::Screen => {
                let found = Checkpoint::read(from.log_dir).filter(|found| found.offset <= from.end);
                self.begin(found, from, out);
                true
            }
            Next::Drawing(rest, start) => {
                let piece: Vec<u8> = rest.take(MAX_OUTPUT).collect();
                if piece.is_empty() {
                    self.next = Next::Behind(Box::new(LogReader::open(from.log_dir, *start)));
                } else {
                    Reply::Draw(piece).encode(0, out);
                }
                true
            }
            Next::Live(at) if *at < from.end => {
                self.next = Next::Behind(Box::new(LogReader::open(from.log_dir, *at)));
                true
            }
            Next::Live(at) => {
                let at = *at;
                if !self.told_live {
                    self.told_live = true;
                    Reply::Live(at).encode(0, out);
                    return true;
                }
                self.tell_exit(from, at, out);
                false
            }
            Next::Behind(reader) => {
                let at = reader.offset();
                if at >= from.end {
                    self.next = Next::Live(at);
                    return true;
                }
                let credit = (self.acknowledged + self.credit).saturating_sub(at);
                if credit == 0 {
                    return false;
                }
                if from.end - at > FAR && from.exit.is_none() {
                    self.move_on(at, from, out);
                    return true;
                }
                self.send(from, at, credit, out)
            }
        }
    }

    /// A fresh screen: what a checkpoint has drawn, or nothing where the log is begun near its end.
    fn begin(&mut self, checkpoint: Option<Checkpoint>, from: &Feed<'_>, out: &mut Vec<u8>) {
        let (offset, (cols, rows), drawing) = match checkpoint {
            Some(found) => (found.offset, (found.cols, found.rows), found.drawing),
            None => {
                let mut log = LogReader::open(from.log_dir, 0);
                let first = log.bounds().map_or(0, |(first, _end)| first);
                let offset = from.end.saturating_sub(NEAR).max(first).min(from.end);
                // What was drawn for another size is drawn for it again.
                log = LogReader::open(from.log_dir, offset);
                let size = match log.read_at_most(1) {
                    Ok(Some(Piece::Chunk(chunk))) => chunk.size,
                    Ok(Some(Piece::Gap { .. }) | None) | Err(_) => from.size,
                };
                (offset, size, Vec::new())
            }
        };
        Reply::Screen { offset, cols, rows }.encode(0, out);
        self.acknowledged = self.acknowledged.max(offset);
        self.next = Next::Drawing(drawing.into_iter(), offset);
    }

    /// Moves one on that is far behind: to a screen that is newer, or over a gap.
    fn move_on(&mut self, at: u64, from: &Feed<'_>, out: &mut Vec<u8>) {
        let near = at.max(from.end - FAR)..=from.end;
        let newer = Checkpoint::read(from.log_dir).filter(|found| near.contains(&found.offset));
        if newer.is_some() {
            self.told_live = false;
            return self.begin(newer, from, out);
        }
        let to = from.end - NEAR;
        Reply::Gap { from: at, to }.encode(0, out);
        self.acknowledged = self.acknowledged.max(to);
        self.next = Next::Behind(Box::new(LogReader::open(from.log_dir, to)));
    }

    /// Sends a piece of the log; true when there may be more.
    fn send(&mut self, from: &Feed<'_>, at: u64, credit: u64, out: &mut Vec<u8>) -> bool {
        let Next::Behind(reader) = &mut self.next else { return false };
        let most = usize::try_from(credit).unwrap_or(usize::MAX).min(MAX_OUTPUT);
        match reader.read_at_most(most) {
            Ok(Some(Piece::Chunk(chunk))) => {
                encode_output(chunk.offset, chunk.stream, &chunk.bytes, out);
                true
            }
            Ok(Some(Piece::Gap { from, to })) => {
                Reply::Gap { from, to }.encode(0, out);
                true
            }
            // What is held in memory because the disk is full cannot be read; it goes out live or later.
            Ok(None) | Err(_) => {
                let to = from.end;
                Reply::Gap { from: at, to }.encode(0, out);
                self.next = Next::Live(to);
                true
            }
        }
    }

    fn tell_exit(&mut self, from: &Feed<'_>, at: u64, out: &mut Vec<u8>) {
        if let (Some(exit), false) = (from.exit, self.told_exit)
            && at >= exit.end
        {
            self.told_exit = true;
            Reply::Exited(exit.clone()).encode(0, out);
        }
    }
}
