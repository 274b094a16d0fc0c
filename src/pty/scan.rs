//! Cuts terminal output into text and control sequences, however it arrives in pieces.
//!
//! After ECMA-48 and the state machine of <https://vt100.net/emu/dec_ansi_parser>, 7-bit forms only: in
//! UTF-8 the bytes of the 8-bit forms are parts of letters.

/// A sequence longer than this (a picture, a clipboard) is given in pieces.
pub const MAX_SEQUENCE: usize = 4 << 10;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;

/// What a sequence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ESC` and a character or two.
    Escape,
    /// `ESC [` … a control sequence.
    Csi,
    /// `ESC ]` … `BEL` or `ESC \`: an operating system command.
    Osc,
    /// `ESC P` … `ESC \`: a device control string.
    Dcs,
    /// `ESC X`, `ESC ^`, `ESC _` … `ESC \`: strings that most terminals drop.
    Other,
    /// One that was broken off, by another or by `CAN` or `SUB`; terminals drop it.
    Broken,
}

/// A piece of output. Pieces follow one another without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Text and control characters outside of any sequence.
    Text(&'a [u8]),
    /// A whole sequence.
    Sequence(Kind, &'a [u8]),
    /// A piece of a sequence that is too long to be held.
    Piece {
        /// What it is a piece of.
        kind: Kind,
        /// The bytes; of the first piece [`MAX_SEQUENCE`] or a little more.
        bytes: &'a [u8],
        /// True for the first.
        first: bool,
        /// True for the last.
        last: bool,
    },
}

impl Item<'_> {
    /// The bytes as they were written.
    pub const fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(bytes) | Self::Sequence(_, bytes) | Self::Piece { bytes, .. } => bytes,
        }
    }
}

/// What a whole sequence says, without what begins and ends it.
pub fn body(kind: Kind, bytes: &[u8]) -> &[u8] {
    match kind {
        Kind::Escape | Kind::Broken => bytes.get(1..).unwrap_or_default(),
        Kind::Csi => bytes.get(2..).unwrap_or_default(),
        Kind::Osc | Kind::Dcs | Kind::Other => {
            let inner = bytes.get(2..).unwrap_or_default();
            inner.strip_suffix(b"\x1b\\").or_else(|| inner.strip_suffix(b"\x07")).unwrap_or(inner)
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    Csi,
    /// Inside of a string; `true` after an `ESC` in it.
    Text(Str, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Str {
    Osc,
    Dcs,
    Other,
}

impl State {
    const fn kind(self) -> Kind {
        match self {
            Self::Ground | Self::Escape => Kind::Escape,
            Self::Csi => Kind::Csi,
            Self::Text(Str::Osc, _) => Kind::Osc,
            Self::Text(Str::Dcs, _) => Kind::Dcs,
            Self::Text(Str::Other, _) => Kind::Other,
        }
    }
}

/// What a byte does.
enum Step {
    /// Goes on, in this state.
    To(State),
    /// Is the last of its sequence.
    Ends(Kind),
    /// Breaks the sequence off and is the first of the next.
    Breaks,
    /// Breaks the sequence off from the byte before on: an `ESC` in a string that did not end it.
    BreaksBefore,
}

fn step(state: State, byte: u8) -> Step {
    match (state, byte) {
        (State::Text(string, true), b'\\') => Step::Ends(State::Text(string, true).kind()),
        (State::Text(..), CAN | SUB) => Step::Ends(Kind::Broken),
        (State::Text(string, _), ESC) => Step::To(State::Text(string, true)),
        (State::Text(_, true), _) => Step::BreaksBefore,
        (State::Text(Str::Osc, false), BEL) => Step::Ends(Kind::Osc),
        (State::Text(string, false), _) => Step::To(State::Text(string, false)),
        (State::Escape | State::Csi, CAN | SUB) => Step::Ends(Kind::Broken),
        (State::Escape | State::Csi, ESC) => Step::Breaks,
        (State::Escape, b'[') => Step::To(State::Csi),
        (State::Escape, b']') => Step::To(State::Text(Str::Osc, false)),
        (State::Escape, b'P') => Step::To(State::Text(Str::Dcs, false)),
        (State::Escape, b'X' | b'^' | b'_') => Step::To(State::Text(Str::Other, false)),
        // Control characters do what they always do, also in between.
        (State::Escape, 0x20..=0x2f | 0x00..=0x1f | 0x7f) => Step::To(State::Escape),
        (State::Escape, _) => Step::Ends(Kind::Escape),
        (State::Csi, 0x40..=0x7e) => Step::Ends(Kind::Csi),
        // Not in any sequence: a letter that is not ASCII.
        (State::Csi, 0x80..) => Step::Ends(Kind::Broken),
        (State::Csi, _) => Step::To(State::Csi),
        (State::Ground, _) => Step::To(State::Ground),
    }
}

/// Cuts a stream of output.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    state: State,
    held: Vec<u8>,
    long: bool,
}

impl Scanner {
    /// True between sequences: what comes next means the same to a terminal that has seen nothing.
    pub fn is_between(&self) -> bool {
        self.state == State::Ground
    }

    /// Bytes of a sequence that has not ended yet, and were not given out.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Cuts what arrived. Bytes of a sequence that goes on are kept for the next call.
    pub fn scan(&mut self, bytes: &[u8], mut give: impl FnMut(Item<'_>)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = if self.state == State::Ground {
                self.text(rest, &mut give)
            } else {
                self.sequence(rest, &mut give)
            };
        }
    }

    /// Gives the text up to the next sequence; the rest begins with that.
    fn text<'a>(&mut self, bytes: &'a [u8], give: &mut impl FnMut(Item<'_>)) -> &'a [u8] {
        let end = memchr::memchr(ESC, bytes).unwrap_or(bytes.len());
        let (text, rest) = bytes.split_at(end);
        if !text.is_empty() {
            give(Item::Text(text));
        }
        if rest.is_empty() {
            return rest;
        }
        self.state = State::Escape;
        self.held.push(ESC);
        &rest[1..]
    }

    /// Goes on with the sequence; the rest is what follows it.
    fn sequence<'a>(&mut self, bytes: &'a [u8], give: &mut impl FnMut(Item<'_>)) -> &'a [u8] {
        for (at, &byte) in bytes.iter().enumerate() {
            match step(self.state, byte) {
                Step::To(state) => self.state = state,
                Step::Ends(kind) => {
                    self.held.extend_from_slice(&bytes[..=at]);
                    self.finish(kind, give);
                    return &bytes[at + 1..];
                }
                Step::Breaks => {
                    self.held.extend_from_slice(&bytes[..at]);
                    self.finish(Kind::Broken, give);
                    return &bytes[at..];
                }
                Step::BreaksBefore => {
                    self.held.extend_from_slice(&bytes[..at]);
                    let escape = self.held.pop();
                    debug_assert_eq!(escape, Some(ESC), "only an ESC leads here");
                    self.finish(Kind::Broken, give);
                    self.state = State::Escape;
                    self.held.push(ESC);
                    return &bytes[at..];
                }
            }
        }
        self.held.extend_from_slice(bytes);
        // An `ESC` at the end may belong to what follows.
        if self.held.len() > MAX_SEQUENCE && !matches!(self.state, State::Text(_, true)) {
            let first = !self.long;
            give(Item::Piece { kind: self.state.kind(), bytes: &self.held, first, last: false });
            self.long = true;
            self.held.clear();
        }
        &[]
    }

    fn finish(&mut self, kind: Kind, give: &mut impl FnMut(Item<'_>)) {
        let long = std::mem::take(&mut self.long);
        self.state = State::Ground;
        if long {
            give(Item::Piece { kind, bytes: &self.held, first: false, last: true });
        } else if !self.held.is_empty() {
            give(Item::Sequence(kind, &self.held));
        }
        self.held.clear();
        if self.held.capacity() > 2 * MAX_SEQUENCE {
            self.held.shrink_to(0);
        }
    }
}
