//! Rebuilds the screen of a terminal from what is on disk: the newest checkpoint and the log after it.

use std::path::Path;

use super::{LogReader, Piece, TaskError};
use crate::keeper::Checkpoint;
use crate::pty::Size;
use crate::pty::screen::Model;

/// The most output that is read to get at a screen: many full repaints of a large one.
pub const MAX_TAIL: u64 = 4 << 20;

/// The screen of a terminal after a part of its output.
#[derive(Debug)]
pub struct Screen {
    /// What is shown.
    pub model: Model,
    /// All output before this is in it.
    pub offset: u64,
}

/// The screen of a terminal from its newest checkpoint and what was recorded since, up to an offset. When
/// more than [`MAX_TAIL`] came since, the modes are the checkpoint's and the rest is a guess.
///
/// # Errors
/// When the log cannot be read.
pub fn rebuild(log_dir: &Path, until: u64) -> Result<Screen, TaskError> {
    let end = LogReader::open(log_dir, 0).end()?.min(until);
    let checkpoint = Checkpoint::read(log_dir).filter(|found| found.offset <= end);
    let (mut model, mut from) = match checkpoint {
        Some(found) => {
            let mut model = Model::new(Size::new(found.cols, found.rows).unwrap_or(Size::DEFAULT));
            model.feed(&found.drawing);
            (model, found.offset)
        }
        None => (Model::new(Size::DEFAULT), 0),
    };
    from = from.max(end.saturating_sub(MAX_TAIL));
    let mut offset = from;
    let mut reader = LogReader::open(log_dir, from);
    while let Some(piece) = reader.read_chunk()? {
        match piece {
            Piece::Chunk(chunk) if chunk.offset >= end => break,
            Piece::Chunk(chunk) => {
                if let Some(size) = Size::new(chunk.size.0, chunk.size.1) {
                    model.resize(size);
                }
                let len = chunk.bytes.len().min(usize::try_from(end - chunk.offset).unwrap_or(usize::MAX));
                model.feed(&chunk.bytes[..len]);
                offset = chunk.offset + len as u64;
            }
            Piece::Gap { from: _, to } => offset = to.min(end),
        }
        if offset >= end {
            break;
        }
    }
    Ok(Screen { model, offset })
}
