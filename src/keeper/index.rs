//! The shape of a task's log on disk: names of segments and the records of their index.
//!
//! A segment is `<offset of its first byte, 20 digits>.log`; beside it lies `<the same>.idx`, a sequence
//! of records of [`RECORD_BYTES`] bytes. The place of a byte in its segment is its offset minus the
//! segment's, so a byte that could not be kept (full disk, rotation) is a hole between two segments.
//! A byte counts as written when a record covers it.

use crate::clock::Timestamp;

/// Bytes of one record. All numbers are little-endian:
/// offset `u64`, time in ms `u64`, length `u64`, columns `u16`, rows `u16`, kind `u8`, three zeros.
pub const RECORD_BYTES: usize = 32;

/// Where bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// A terminal, where both are one.
    Terminal,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// Bytes of this stream.
    Bytes(Stream),
    /// So many bytes could not be kept just before this offset.
    Lost,
    /// The terminal has this size from here on.
    Resized,
}

/// One record of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it begins.
    pub offset: u64,
    /// When its first byte was read.
    pub at: Timestamp,
    /// How many bytes.
    pub len: u64,
    /// Columns of the terminal; 0 for a run.
    pub cols: u16,
    /// Rows of the terminal; 0 for a run.
    pub rows: u16,
    /// What it is about.
    pub kind: RecordKind,
}

impl Record {
    /// The offset after its last byte.
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(match self.kind {
            RecordKind::Bytes(_) => self.len,
            RecordKind::Lost | RecordKind::Resized => 0,
        })
    }

    /// As it lies in the index.
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[0..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.at.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.len.to_le_bytes());
        bytes[24..26].copy_from_slice(&self.cols.to_le_bytes());
        bytes[26..28].copy_from_slice(&self.rows.to_le_bytes());
        bytes[28] = match self.kind {
            RecordKind::Bytes(Stream::Terminal) => 0,
            RecordKind::Bytes(Stream::Stdout) => 1,
            RecordKind::Bytes(Stream::Stderr) => 2,
            RecordKind::Lost => 3,
            RecordKind::Resized => 4,
        };
        bytes
    }

    /// Reads one back; `None` for what a later version may have written.
    pub fn decode(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let kind = match bytes[28] {
            0 => RecordKind::Bytes(Stream::Terminal),
            1 => RecordKind::Bytes(Stream::Stdout),
            2 => RecordKind::Bytes(Stream::Stderr),
            3 => RecordKind::Lost,
            4 => RecordKind::Resized,
            _unknown => return None,
        };
        Some(Self {
            offset: u64_at(bytes, 0),
            at: Timestamp(u64_at(bytes, 8)),
            len: u64_at(bytes, 16),
            cols: u16::from_le_bytes([bytes[24], bytes[25]]),
            rows: u16::from_le_bytes([bytes[26], bytes[27]]),
            kind,
        })
    }
}

fn u64_at(bytes: &[u8; RECORD_BYTES], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// The name of the segment that begins at `start`.
pub fn segment_name(start: u64) -> String {
    format!("{start:020}.log")
}

/// The name of the index of the segment that begins at `start`.
pub fn index_name(start: u64) -> String {
    format!("{start:020}.idx")
}

/// Where the segment of this name begins; `None` for any other file.
pub fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}
