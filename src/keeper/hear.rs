//! What a program says to its terminal that the keeper understands: questions, and news for others.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::protocol::{Mark, Said};
use crate::pty::scan::{Item, Kind, Scanner, body};

/// Marks that a watcher who was away finds again.
const KEPT_MARKS: usize = 32;
/// The longest text of a mark.
const MAX_TEXT: usize = 1 << 10;
/// Titles change with every frame of an animation: one is told in this time, the newest.
const TITLE_PAUSE: Duration = Duration::from_secs(1);
/// A question about the cursor is remembered so long for somebody who can answer it: programs give up
/// after a second or two, and an answer after that is typed text to them.
const QUERY_PATIENCE: Duration = Duration::from_secs(2);

/// What was understood.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// What a terminal answers to it.
    pub(super) answers: Vec<u8>,
    /// The last question about the cursor: the offset after it, and whether it was the private form.
    pub(super) query: Option<(u64, bool)>,
}

/// Listens to the output of one terminal.
#[derive(Debug, Default)]
pub(super) struct Ears {
    scanner: Scanner,
    marks: VecDeque<Mark>,
    /// How many marks there were before those that are kept.
    forgotten: u64,
    title: Option<String>,
    cwd: Option<String>,
    told_title_at: Option<Instant>,
    waiting_title: Option<String>,
    query: Option<(u64, bool, Instant)>,
    answered: u64,
}

impl Ears {
    /// Takes output that begins at `offset`.
    pub(super) fn hear(&mut self, offset: u64, bytes: &[u8], now: Instant) -> Heard {
        let mut heard = Heard::default();
        let mut said = Vec::new();
        let mut at = offset - self.scanner.held().len() as u64;
        self.scanner.scan(bytes, |item| {
            at += item.bytes().len() as u64;
            match item {
                Item::Sequence(Kind::Csi, whole) => match body(Kind::Csi, whole) {
                    b"6n" => heard.query = Some((at, false)),
                    b"?6n" => heard.query = Some((at, true)),
                    other => heard.answers.extend_from_slice(answer(other)),
                },
                Item::Sequence(Kind::Osc, whole) => {
                    said.extend(said_by(body(Kind::Osc, whole)).map(|said| (at, said)));
                }
                Item::Text(_) | Item::Sequence(..) | Item::Piece { .. } => {}
            }
        });
        for (offset, said) in said {
            self.note(offset, said, now);
        }
        if let Some((offset, private)) = heard.query {
            self.query = Some((offset, private, now));
        }
        heard
    }

    /// Notes what the program said.
    fn note(&mut self, offset: u64, said: Said, now: Instant) {
        match &said {
            Said::Title { title } => {
                let newest = self.waiting_title.as_ref().or(self.title.as_ref());
                if newest == Some(title) {
                    return;
                }
                if self.told_title_at.is_some_and(|at| now < at + TITLE_PAUSE) {
                    self.waiting_title = Some(title.clone());
                    return;
                }
                self.title = Some(title.clone());
                self.told_title_at = Some(now);
            }
            Said::Cwd { cwd } => {
                if self.cwd.as_ref() == Some(cwd) {
                    return;
                }
                self.cwd = Some(cwd.clone());
            }
            Said::Prompt { .. } | Said::Notification { .. } | Said::Dropped { .. } => {}
        }
        self.keep(Mark { offset, said });
    }

    /// Notes what we know ourselves, or what has waited.
    pub(super) fn keep(&mut self, mark: Mark) {
        self.marks.push_back(mark);
        if self.marks.len() > KEPT_MARKS {
            self.marks.pop_front();
            self.forgotten += 1;
        }
    }

    /// When a title that waits is due.
    pub(super) fn title_at(&self) -> Option<Instant> {
        self.waiting_title.as_ref().and(self.told_title_at).map(|at| at + TITLE_PAUSE)
    }

    /// Notes the title that waited, when it is time.
    pub(super) fn on_time(&mut self, end: u64, now: Instant) {
        if self.title_at().is_some_and(|at| now >= at)
            && let Some(title) = self.waiting_title.take()
        {
            self.title = Some(title.clone());
            self.told_title_at = Some(now);
            self.keep(Mark { offset: end, said: Said::Title { title } });
        }
    }

    /// The marks from a number on, with the number of the next.
    pub(super) fn marks_from(&self, number: u64) -> (impl Iterator<Item = &Mark>, u64) {
        let skip = usize::try_from(number.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        (self.marks.iter().skip(skip), self.forgotten + self.marks.len() as u64)
    }

    /// The number of the first mark after an offset.
    pub(super) fn first_after(&self, offset: u64) -> u64 {
        self.forgotten + self.marks.iter().take_while(|mark| mark.offset <= offset).count() as u64
    }

    /// The question that nobody has answered yet, while an answer is of use.
    pub(super) fn open_query(&self, now: Instant) -> Option<(u64, bool)> {
        let (offset, private, asked) = self.query?;
        let open = offset > self.answered && now < asked + QUERY_PATIENCE;
        open.then_some((offset, private))
    }

    /// Takes an answer; false when there was one already, or no such question.
    pub(super) fn answered(&mut self, offset: u64) -> bool {
        let open = offset > self.answered && self.query.is_some_and(|(asked, ..)| offset <= asked);
        if open {
            self.answered = offset;
        }
        open
    }

    /// The last title.
    pub(super) fn title(&self) -> Option<&String> {
        self.waiting_title.as_ref().or(self.title.as_ref())
    }

    /// The last folder.
    pub(super) fn cwd(&self) -> Option<&String> {
        self.cwd.as_ref()
    }
}

/// What is said to a question that needs no screen.
///
/// A VT220 with colours (`22`), as <https://vt100.net/docs/vt510-rm/DA1.html> and xterm's control sequences
/// have it; a version that no terminal has, so that nobody takes us for one with other abilities.
fn answer(question: &[u8]) -> &'static [u8] {
    match question {
        b"c" | b"0c" => b"\x1b[?62;22c",
        b">c" | b">0c" => b"\x1b[>1;10;0c",
        b">q" | b">0q" => concat!("\x1bP>|lanes(", env!("CARGO_PKG_VERSION"), ")\x1b\\").as_bytes(),
        b"5n" => b"\x1b[0n",
        _other => b"",
    }
}

/// What an operating system command tells, when it is one of those that are news.
fn said_by(command: &[u8]) -> Option<Said> {
    let (number, rest) = split(command);
    match number {
        b"0" | b"2" => Some(Said::Title { title: clean(rest) }),
        b"7" => Some(Said::Cwd { cwd: clean(rest) }),
        b"9" => {
            // `9;4;…` is progress, `9;9;…` a folder: of other terminals, and no notifications.
            let (first, more) = split(rest);
            let numbered = !more.is_empty() && first.iter().all(u8::is_ascii_digit);
            (!numbered && !rest.is_empty()).then(|| Said::Notification { title: None, body: clean(rest) })
        }
        b"777" => {
            let rest = rest.strip_prefix(b"notify;")?;
            let (title, body) = split(rest);
            Some(Said::Notification { title: Some(clean(title)), body: clean(body) })
        }
        b"133" => {
            let (mark, rest) = split(rest);
            let mark = char::from(*mark.first()?);
            let exit = std::str::from_utf8(split(rest).0).ok().and_then(|n| n.parse().ok());
            matches!(mark, 'A' | 'B' | 'C' | 'D')
                .then(|| Said::Prompt { mark, exit: exit.filter(|_| mark == 'D') })
        }
        _other => None,
    }
}

/// Up to the first semicolon, and after it.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b';', text) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[]),
    }
}

/// Text of a program as it may be shown and written down.
fn clean(text: &[u8]) -> String {
    let mut clean: String = String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect();
    let mut end = clean.len().min(MAX_TEXT);
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    clean.truncate(end);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(ears: &mut Ears, offset: u64, bytes: &[u8]) -> Heard {
        ears.hear(offset, bytes, Instant::now())
    }

    #[test]
    fn questions_are_answered_however_they_arrive() {
        let mut ears = Ears::default();
        let whole = heard(&mut ears, 0, b"a\x1b[cb\x1b[5n\x1b[>c");
        assert_eq!(whole.answers, b"\x1b[?62;22c\x1b[0n\x1b[>1;10;0c");
        assert!(heard(&mut ears, 12, b"\x1b[").answers.is_empty());
        assert_eq!(heard(&mut ears, 14, b"0c").answers, b"\x1b[?62;22c");
        assert_eq!(heard(&mut ears, 16, b"xx\x1b[6n").query, Some((22, false)));
        assert_eq!(ears.open_query(Instant::now()), Some((22, false)));
        assert!(!ears.answered(23), "no question was there");
        assert!(ears.answered(22) && !ears.answered(22), "answered once");
        assert_eq!(ears.open_query(Instant::now()), None);
    }

    #[test]
    fn news_is_kept_in_order_and_titles_are_not_told_with_every_frame() {
        let mut ears = Ears::default();
        let begun = Instant::now();
        ears.hear(0, b"\x1b]0;one\x07\x1b]2;two\x07\x1b]2;three\x07", begun);
        let title = |mark: &Mark| match &mark.said {
            Said::Title { title } => Some(title.clone()),
            _other => None,
        };
        let titles = |ears: &Ears| ears.marks_from(0).0.filter_map(title).collect::<Vec<_>>();
        assert_eq!(titles(&ears), ["one"]);
        assert_eq!(ears.title().map(String::as_str), Some("three"));
        ears.on_time(100, begun + TITLE_PAUSE / 2);
        assert_eq!(titles(&ears), ["one"]);
        ears.on_time(100, begun + TITLE_PAUSE);
        assert_eq!(titles(&ears), ["one", "three"]);
        assert_eq!(ears.title_at(), None);
        ears.hear(200, b"\x1b]9;done\x1b\\\x1b]9;4;1;50\x07\x1b]777;notify;T;b\x1b[0m\x07", begun);
        let number = ears.first_after(100);
        let (marks, next) = ears.marks_from(number);
        let marks: Vec<_> = marks.map(|mark| mark.said.clone()).collect();
        assert_eq!(marks, [Said::Notification { title: None, body: "done".into() }]);
        assert_eq!((number, next), (2, 3));
    }

    #[test]
    fn what_a_program_says_is_cleaned() {
        assert_eq!(said_by(b"0;a\nb\x9b\xff"), Some(Said::Title { title: "ab\u{fffd}\u{fffd}".into() }));
        assert_eq!(said_by(b"133;D;7"), Some(Said::Prompt { mark: 'D', exit: Some(7) }));
        assert_eq!(said_by(b"133;A;aid=3"), Some(Said::Prompt { mark: 'A', exit: None }));
        assert_eq!(said_by(b"52;c;aGk="), None);
        let long = [b"2;".as_slice(), "\u{e9}".repeat(2_000).as_bytes()].concat();
        let Some(Said::Title { title }) = said_by(&long) else { panic!("a title") };
        assert!(title.len() <= MAX_TEXT);
    }
}
