//! Follows a task's log to its end.

use std::path::{Path, PathBuf};

use super::{Link, LogReader, Notice, Piece, Subscription, TaskError, read_exit};
use crate::keeper::Exit;

/// Pieces of a log as they are recorded. Nothing is lost when a call of `next` is dropped.
#[derive(Debug)]
pub struct Follow {
    reader: LogReader,
    run_dir: PathBuf,
    news: Option<Subscription>,
    exit: Option<Exit>,
}

/// Follows the log that `reader` reads until the command of `run_dir` has ended and all it wrote was
/// read. Without a link (the keeper is gone), what is there is read to its end.
///
/// # Errors
/// When the keeper does not answer.
pub async fn follow(reader: LogReader, run_dir: &Path, link: Option<&Link>) -> Result<Follow, TaskError> {
    let news = match link {
        Some(link) => match link.subscribe(reader.offset()).await {
            Ok(news) => Some(news),
            Err(TaskError::Gone) => None,
            Err(error) => return Err(error),
        },
        None => None,
    };
    Ok(Follow { reader, run_dir: run_dir.to_path_buf(), news, exit: None })
}

impl Follow {
    /// The next piece; `None` when the command has ended and all it wrote was given.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn next(&mut self) -> Result<Option<Piece>, TaskError> {
        loop {
            if self.exit.as_ref().is_some_and(|exit| self.reader.offset() >= exit.end) {
                return Ok(None);
            }
            if let Some(piece) = self.reader.read_chunk()? {
                return Ok(Some(piece));
            }
            // All that the command wrote is recorded before its end is told.
            let Some(news) = self.news.as_mut().filter(|_| self.exit.is_none()) else {
                return Ok(self.last_gap());
            };
            match news.next().await {
                Notice::Offset(_newer) => {}
                Notice::Exited(exit) => self.exit = Some(exit),
                Notice::Gone => {
                    self.news = None;
                    self.reader.writer_is_gone();
                    self.exit = self.exit.take().or_else(|| read_exit(&self.run_dir));
                }
            }
        }
    }

    /// How the command ended, once `next` gave `None`; `None` when nobody knows.
    pub fn exit(&self) -> Option<Exit> {
        self.exit.clone().or_else(|| read_exit(&self.run_dir))
    }

    /// Where the next piece begins.
    pub const fn offset(&self) -> u64 {
        self.reader.offset()
    }

    /// What is missing between the last byte that was kept and the end.
    fn last_gap(&mut self) -> Option<Piece> {
        let (from, to) = (self.reader.offset(), self.exit().map_or(0, |exit| exit.end));
        self.exit = self.exit();
        if from >= to {
            return None;
        }
        self.reader = LogReader::open(Path::new(""), to);
        Some(Piece::Gap { from, to })
    }
}
