//! What a watcher is told: everything but the output.

use super::hear::Ears;
use super::protocol::Reply;
use super::spec::Exit;

/// How one client watches.
pub(super) struct Watch {
    /// The number of the next mark.
    next_mark: u64,
    /// One notice when output is recorded up to here.
    output_at: Option<u64>,
    query: u64,
    throttled: bool,
    size: Option<(u16, u16)>,
    told_exit: bool,
}

/// What there may be to tell.
pub(super) struct News<'a> {
    pub(super) ears: &'a Ears,
    pub(super) end: u64,
    /// The question that somebody who watches should answer.
    pub(super) query: Option<(u64, bool)>,
    pub(super) throttled: bool,
    pub(super) size: Option<(u16, u16)>,
    pub(super) exit: Option<&'a Exit>,
}

impl Watch {
    /// Watches from now on. The first time the size and, when it is so, that output is throttled are told.
    pub(super) fn new(next_mark: u64, output_at: u64) -> Self {
        Self {
            next_mark,
            output_at: Some(output_at),
            query: 0,
            throttled: false,
            size: None,
            told_exit: false,
        }
    }

    /// Goes on with another offset to wait for; what was told is not told again.
    pub(super) const fn again(&mut self, output_at: u64) {
        self.output_at = Some(output_at);
    }

    /// Tells what is new.
    pub(super) fn tell(&mut self, news: &News<'_>, out: &mut Vec<u8>) {
        let (marks, next) = news.ears.marks_from(self.next_mark);
        for mark in marks {
            Reply::Mark(mark.clone()).encode(0, out);
        }
        self.next_mark = next;
        if let Some((offset, private)) = news.query.filter(|(offset, _)| *offset > self.query) {
            self.query = offset;
            Reply::Query { offset, private }.encode(0, out);
        }
        if self.throttled != news.throttled {
            self.throttled = news.throttled;
            Reply::Throttled { offset: news.end, on: news.throttled }.encode(0, out);
        }
        if let Some((cols, rows)) = news.size.filter(|size| self.size != Some(*size)) {
            self.size = Some((cols, rows));
            Reply::Size { cols, rows, owner: false }.encode(0, out);
        }
        if self.output_at.is_some_and(|at| news.end >= at) {
            self.output_at = None;
            Reply::Offset(news.end).encode(0, out);
        }
        if let (Some(exit), false) = (news.exit, self.told_exit) {
            self.told_exit = true;
            Reply::Exited(exit.clone()).encode(0, out);
        }
    }
}
