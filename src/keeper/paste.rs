//! Input for a terminal that gathers lines: no line is longer than its line discipline can hold.
//!
//! Such a terminal (`ICANON`) drops what a line has beyond 4,095 bytes, without a word. Its end-of-file
//! character hands over what was gathered and does not end the line, so it is put in between.

use std::os::fd::BorrowedFd;

use rustix::termios::{InputModes, LocalModes, SpecialCodeIndex, tcgetattr};

/// A line is handed over when it has so many bytes: below 4,095, with room for what was typed before we
/// looked.
const MAX_LINE: usize = 4_000;

/// The characters of a terminal that gathers lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Canonical {
    /// Hands over what was gathered; 0 for none.
    pub(super) eof: u8,
    /// End a line besides the newline; 0 for none.
    pub(super) eol: [u8; 2],
    /// A carriage return ends a line as well.
    pub(super) cr_is_newline: bool,
    /// A newline arrives as a carriage return, and ends no line.
    pub(super) newline_is_cr: bool,
    /// The next byte is taken as it is, whatever it is; 0 for none.
    pub(super) quote: u8,
}

/// How the terminal behind this end gathers lines; `None` when it does not.
pub(super) fn gathers(master: BorrowedFd<'_>) -> Option<Canonical> {
    let terminal = tcgetattr(master).ok().filter(|t| t.local_modes.contains(LocalModes::ICANON))?;
    let code = |index| terminal.special_codes[index];
    Some(Canonical {
        eof: code(SpecialCodeIndex::VEOF),
        eol: [code(SpecialCodeIndex::VEOL), code(SpecialCodeIndex::VEOL2)],
        cr_is_newline: terminal.input_modes.contains(InputModes::ICRNL),
        newline_is_cr: terminal.input_modes.contains(InputModes::INLCR),
        quote: if terminal.local_modes.contains(LocalModes::IEXTEN) {
            code(SpecialCodeIndex::VLNEXT)
        } else {
            0
        },
    })
}

/// What to write next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes of what waits.
    Bytes(usize),
    /// The character that hands over.
    HandOver(u8),
}

/// The line that a terminal gathers, as far as we wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    len: usize,
    quoted: bool,
    /// The last byte was a plain one, so the line is not empty: an end-of-file there ends nothing.
    plain: bool,
}

impl Line {
    /// What to write next of `bytes`, which are not empty.
    pub(super) fn next(&self, bytes: &[u8], terminal: Canonical) -> Step {
        let mut line = self.clone();
        for (at, byte) in bytes.iter().enumerate() {
            if terminal.eof != 0 && line.is_full() {
                return if at == 0 { Step::HandOver(terminal.eof) } else { Step::Bytes(at) };
            }
            line.take(*byte, terminal);
        }
        Step::Bytes(bytes.len())
    }

    /// These bytes were written.
    pub(super) fn written(&mut self, bytes: &[u8], terminal: Canonical) {
        for byte in bytes {
            self.take(*byte, terminal);
        }
    }

    /// What was gathered was handed over, or the terminal does not gather.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    const fn is_full(&self) -> bool {
        self.len >= MAX_LINE && self.plain
    }

    fn take(&mut self, byte: u8, terminal: Canonical) {
        let Canonical { eof, eol, cr_is_newline, newline_is_cr, quote } = terminal;
        if std::mem::take(&mut self.quoted) {
            self.plain = byte >= b' ' && byte != 0x7f;
            self.len += 1;
            return;
        }
        let newline = (byte == b'\n' && !newline_is_cr) || (byte == b'\r' && cr_is_newline);
        if newline || (byte != 0 && (byte == eof || eol.contains(&byte))) {
            return self.clear();
        }
        // What erases is counted as well: a line that is handed over early is no harm.
        self.quoted = byte != 0 && byte == quote;
        self.plain = byte >= b' ' && byte != 0x7f;
        self.len += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTY: Canonical =
        Canonical { eof: 4, eol: [0, 0], cr_is_newline: true, newline_is_cr: false, quote: 0x16 };

    /// What is written for these bytes when `most` are taken at once.
    fn written(bytes: &[u8], most: usize) -> Vec<u8> {
        let (mut line, mut out, mut rest) = (Line::default(), Vec::new(), bytes);
        while !rest.is_empty() {
            match line.next(rest, TTY) {
                Step::Bytes(n) => {
                    let (now, later) = rest.split_at(n.min(most));
                    line.written(now, TTY);
                    out.extend_from_slice(now);
                    rest = later;
                }
                Step::HandOver(eof) => {
                    line.clear();
                    out.push(eof);
                }
            }
        }
        out
    }

    #[test]
    fn long_lines_are_handed_over_and_others_left_alone() {
        let short = b"short\nlines\rof\x04all\n".repeat(1_000);
        assert_eq!(written(&short, 7), short);
        let exact = [&[b'x'; MAX_LINE][..], b"\n"].concat();
        let long = [b'x'; 10_000];
        for most in [1, 4_095, 20_000] {
            let out = written(&long, most);
            let pieces: Vec<usize> = out.split(|byte| *byte == 4).map(<[u8]>::len).collect();
            assert_eq!(pieces, [MAX_LINE, MAX_LINE, 2_000]);
            assert_eq!(written(&exact, most).len(), exact.len() + 1);
        }
    }

    #[test]
    fn nothing_is_handed_over_where_the_line_may_be_empty() {
        // Erased to nothing: an end-of-file there would end the program's input.
        let erased = [&[b'x'; MAX_LINE - 1][..], b"\x15"].concat();
        assert_eq!(written(&erased, 100), erased);
        let quoted = [&[b'x'; 10][..], b"\x16\x04", &[b'x'; 10][..]].concat();
        let mut line = Line::default();
        line.written(&quoted, TTY);
        assert_eq!(line.len, 22, "a quoted end-of-file is a letter");
    }
}
