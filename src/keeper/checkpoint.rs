//! A drawn screen beside the log, so that nobody reads the whole log to show the screen of now.
//!
//! The file [`CHECKPOINT`] in the log folder: 8 bytes [`MAGIC`], offset `u64`, columns `u16`, rows `u16`,
//! length `u32`, and so many bytes of drawing; numbers are little-endian. A terminal of that size that was
//! reset and is fed the drawing is as the task's was after all output before the offset. It is written by
//! whoever holds a screen, by rename.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The name of the file.
pub const CHECKPOINT: &str = "screen.ckpt";
/// How it begins.
const MAGIC: &[u8; 8] = b"LANESCK1";
const HEADER: usize = 8 + 8 + 2 + 2 + 4;
/// The longest drawing: a screen of 10,000 cells in many colours has a tenth of it.
const MAX_DRAWING: usize = 4 << 20;

/// A drawn screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// All output before it is in the drawing.
    pub offset: u64,
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
    /// For a terminal that was reset.
    pub drawing: Vec<u8>,
}

impl Checkpoint {
    /// The newest one of a log folder; `None` when there is none that can be read.
    pub fn read(log_dir: &Path) -> Option<Self> {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(log_dir.join(CHECKPOINT))
            .ok()?;
        let mut bytes = Vec::new();
        file.take((HEADER + MAX_DRAWING) as u64).read_to_end(&mut bytes).ok()?;
        let rest = bytes.strip_prefix(MAGIC)?;
        let (offset, rest) = rest.split_first_chunk::<8>()?;
        let (cols, rest) = rest.split_first_chunk::<2>()?;
        let (rows, rest) = rest.split_first_chunk::<2>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let drawing = rest.get(..len)?.to_vec();
        let (cols, rows) = (u16::from_le_bytes(*cols), u16::from_le_bytes(*rows));
        Some(Self { offset: u64::from_le_bytes(*offset), cols, rows, drawing })
    }

    /// Puts it in place, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written, or is too large to be read again.
    pub fn write(&self, log_dir: &Path) -> std::io::Result<()> {
        let len = u32::try_from(self.drawing.len()).map_err(std::io::Error::other)?;
        if self.drawing.len() > MAX_DRAWING {
            return Err(std::io::Error::other("the drawing is too large"));
        }
        let mut bytes = Vec::with_capacity(HEADER + self.drawing.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.offset.to_le_bytes());
        bytes.extend_from_slice(&self.cols.to_le_bytes());
        bytes.extend_from_slice(&self.rows.to_le_bytes());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&self.drawing);
        let (path, fresh) = (log_dir.join(CHECKPOINT), log_dir.join(".screen.ckpt.new"));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let written = options.open(&fresh).and_then(|mut file| file.write_all(&bytes));
        let placed = written.and_then(|()| std::fs::rename(&fresh, &path));
        if placed.is_err() {
            let _may_never_have_been = std::fs::remove_file(&fresh);
        }
        placed
    }
}
