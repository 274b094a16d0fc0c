//! Keeps from a client's own terminal what is not for it: what others answer, and the clipboard.

use super::scan::{Item, Kind, Scanner, body};

/// Who answers questions that only a terminal can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Questions {
    /// This terminal: its answers are typed into the program.
    Pass,
    /// Another, or nobody.
    Drop,
}

/// What a sequence is to a client's terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Question,
    Drop,
}

/// Lets output through to a terminal, sequence by sequence.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    scanner: Scanner,
    /// What becomes of the pieces of the long sequence that goes on.
    long: bool,
}

impl Filter {
    /// Goes on where this scanner is. What it gave out already of a long sequence is missed, so the rest
    /// is dropped.
    pub const fn after(scanner: Scanner) -> Self {
        Self { scanner, long: false }
    }

    /// Appends what the terminal may have of these bytes. A sequence that goes on comes with its end.
    pub fn pass(&mut self, bytes: &[u8], questions: Questions, out: &mut Vec<u8>) {
        let Self { scanner, long } = self;
        scanner.scan(bytes, |item| {
            let passes = match item {
                Item::Text(_) => true,
                Item::Sequence(kind, bytes) => may_pass(kind, bytes, questions),
                Item::Piece { kind, bytes, first, .. } => {
                    if first {
                        *long = may_pass(kind, bytes, questions);
                    }
                    *long
                }
            };
            if passes {
                out.extend_from_slice(item.bytes());
            }
        });
    }
}

fn may_pass(kind: Kind, bytes: &[u8], questions: Questions) -> bool {
    let verdict = match kind {
        Kind::Csi => csi(body(kind, bytes)),
        Kind::Osc => osc(body(kind, bytes)),
        Kind::Dcs => dcs(body(kind, bytes)),
        // What are you?
        Kind::Escape if bytes == b"\x1bZ" => Verdict::Drop,
        Kind::Escape | Kind::Other => Verdict::Pass,
        Kind::Broken => Verdict::Drop,
    };
    match verdict {
        Verdict::Pass => true,
        Verdict::Question => questions == Questions::Pass,
        Verdict::Drop => false,
    }
}

fn csi(body: &[u8]) -> Verdict {
    let Some((&last, rest)) = body.split_last() else { return Verdict::Drop };
    let prefix = rest.first().copied().filter(|b| (b'<'..=b'?').contains(b));
    let middle = rest.last().copied().filter(|b| (0x20..0x30).contains(b));
    match (prefix, middle, last) {
        // Device attributes, version, keyboard, "are you well": the keeper answers, or nobody.
        (None | Some(b'>' | b'='), None, b'c') | (Some(b'>'), None, b'q') | (Some(b'?'), None, b'u') => {
            Verdict::Drop
        }
        (None, None, b'n') if rest == b"5" => Verdict::Drop,
        // Status and cursor; modes; settings of graphics and keys; checksums and other reports.
        (None | Some(b'?'), None, b'n')
        | (_, Some(b'$'), b'p' | b'w')
        | (Some(b'?'), None, b'S' | b'm')
        | (None, None, b'x')
        | (None, Some(b'*'), b'y')
        | (None, Some(b'&'), b'w') => Verdict::Question,
        // What a program does to a window is for the one whose size counts.
        (None, None, b't') => Verdict::Question,
        _other => Verdict::Pass,
    }
}

fn osc(body: &[u8]) -> Verdict {
    let mut parts = body.split(|b| *b == b';');
    let number = parts.next().unwrap_or_default();
    match number {
        // The clipboard, in three dialects.
        b"52" | b"5522" => Verdict::Drop,
        b"1337" if body.get(5..).is_some_and(|said| said.starts_with(b"Copy")) => Verdict::Drop,
        b"1337" if body.get(5..).is_some_and(|said| said.starts_with(b"Re")) => Verdict::Question,
        // Titles, links and folders may have a question mark for a reason of their own.
        b"0" | b"1" | b"2" | b"7" | b"8" | b"9" | b"133" | b"777" => Verdict::Pass,
        _other if parts.any(|part| part.first() == Some(&b'?')) => Verdict::Question,
        _other => Verdict::Pass,
    }
}

fn dcs(body: &[u8]) -> Verdict {
    match body {
        // Capabilities and settings.
        [b'+' | b'$', b'q', ..] => Verdict::Question,
        // A way around this filter, for a multiplexer that the client may be in.
        [b't', b'm', b'u', b'x', b';', ..] => Verdict::Drop,
        _other => Verdict::Pass,
    }
}
