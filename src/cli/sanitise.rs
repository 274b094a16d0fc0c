//! Makes text that came from outside harmless for a terminal and unambiguous for a reader.
//!
//! Names of branches, lanes and files, messages of git and of agents may hold anything. All human output
//! of such text goes through here: control characters would drive the terminal, bidirectional ones show
//! another order than the bytes have, invisible ones make two names look the same.

use std::borrow::Cow;

/// True for a character that must not reach a terminal as it is.
pub fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// The text on one line, with everything dangerous made visible.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push(&mut safe, c);
    }
    Cow::Owned(safe)
}

/// The same for bytes that are usually text; what is not UTF-8 is shown byte by byte.
pub fn clean_bytes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return clean(text);
    }
    let mut safe = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(&mut safe, c);
        }
        for byte in chunk.invalid() {
            safe.push_str(&format!("\\x{byte:02x}"));
        }
    }
    Cow::Owned(safe)
}

/// The text with its line breaks kept; every line after the first is indented, so that it cannot pass
/// for a line of ours.
pub fn clean_lines(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().split('\n').map(|line| clean(line.trim_end_matches('\r'))).collect();
    lines.join("\n    ")
}

fn push(safe: &mut String, c: char) {
    match c {
        '\n' => safe.push_str("\\n"),
        '\r' => safe.push_str("\\r"),
        '\t' => safe.push_str("\\t"),
        other if is_dangerous(other) => safe.extend(other.escape_unicode()),
        plain => safe.push(plain),
    }
}

/// Takes dangerous escape sequences out of recorded output that goes to a terminal: colours and other
/// looks (`CSI … m`) stay, as do tabs, line breaks and backspaces; the rest is dropped.
#[derive(Debug, Default)]
pub struct OutputFilter {
    state: State,
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    /// After `ESC` and intermediates such as `(`: one more byte.
    Designate,
    Csi,
    /// A string (OSC, DCS, SOS, PM, APC) until BEL or ST.
    Text,
    TextEscape,
    /// Inside a character of several bytes.
    Utf8,
}

/// A sequence longer than this is dropped; looks are a few bytes.
const MAX_HELD: usize = 64;

impl OutputFilter {
    /// The harmless part of `bytes`. A sequence or a character that is cut off is held for the next call.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut safe = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.byte(*byte, &mut safe);
        }
        safe
    }

    fn byte(&mut self, byte: u8, safe: &mut Vec<u8>) {
        // CAN and SUB end any sequence; ESC begins a new one.
        match (self.state, byte) {
            (State::Ground | State::Utf8, _) => self.ground(byte, safe),
            (_, 0x18 | 0x1a) => self.reset(),
            (State::Text, 0x1b) => self.state = State::TextEscape,
            (State::Text, 0x07) => self.reset(),
            (State::Text, _) => {}
            (State::TextEscape, b'\\') => self.reset(),
            (State::TextEscape, _) => {
                self.state = State::Escape;
                self.byte(byte, safe);
            }
            (State::Escape | State::Csi | State::Designate, 0x1b) => self.begin(),
            (State::Escape, b'[') => {
                self.held.push(byte);
                self.state = State::Csi;
            }
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => self.state = State::Text,
            (State::Escape, 0x20..=0x2f) => self.state = State::Designate,
            (State::Escape, _) => self.reset(),
            (State::Designate, 0x20..=0x2f) => {}
            (State::Designate, _) => self.reset(),
            (State::Csi, 0x40..=0x7e) => {
                let looks = byte == b'm'
                    && self.held[2..].iter().all(|c| c.is_ascii_digit() || matches!(c, b';' | b':'));
                if looks {
                    safe.append(&mut self.held);
                    safe.push(byte);
                }
                self.reset();
            }
            (State::Csi, 0x20..=0x3f) => {
                if self.held.len() < MAX_HELD {
                    self.held.push(byte);
                } else {
                    // Too long for looks: no longer `m` of digits alone.
                    self.held[2] = b'?';
                }
            }
            (State::Csi, _) => {
                self.reset();
                self.ground(byte, safe);
            }
        }
    }

    fn ground(&mut self, byte: u8, safe: &mut Vec<u8>) {
        if self.state == State::Utf8 {
            if byte & 0xc0 == 0x80 {
                self.held.push(byte);
                self.whole_character(safe);
                return;
            }
            // Cut off in the middle: shown as what it is, never as a C1 control.
            safe.extend_from_slice("\u{fffd}".as_bytes());
            self.reset();
        }
        match byte {
            0x1b => self.begin(),
            b'\n' | b'\t' | b'\r' | 0x08 | 0x20..=0x7e => safe.push(byte),
            0xc2..=0xf4 => {
                self.held = vec![byte];
                self.state = State::Utf8;
            }
            0x00..=0x1f | 0x7f => {}
            0x80..=0xc1 | 0xf5..=0xff => safe.extend_from_slice("\u{fffd}".as_bytes()),
        }
    }

    fn whole_character(&mut self, safe: &mut Vec<u8>) {
        let wanted = match self.held[0] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            _four => 4,
        };
        if self.held.len() < wanted {
            return;
        }
        match std::str::from_utf8(&self.held) {
            Ok(text) if !text.contains(is_control_or_bidi) => safe.append(&mut self.held),
            Ok(_dangerous) => {}
            Err(_not_text) => safe.extend_from_slice("\u{fffd}".as_bytes()),
        }
        self.reset();
    }

    fn begin(&mut self) {
        self.held = vec![0x1b];
        self.state = State::Escape;
    }

    fn reset(&mut self) {
        self.held.clear();
        self.state = State::Ground;
    }
}

/// In output, joiners and selectors belong to emoji and scripts; only what drives or reorders is dropped.
fn is_control_or_bidi(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
