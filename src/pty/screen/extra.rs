//! The part of a terminal's state that vt100 does not tell or does not know.

use std::collections::BTreeMap;

use super::charset::Charsets;

/// A program pushes its keyboard once or twice; more are dropped from below, as terminals do.
const MAX_KEYBOARDS: usize = 16;

/// The modes that are carried over: what is on (or, for wrapping and scrolling by arrows, off).
/// Left out are the ones that vt100 keeps, and synchronised output, which would freeze a drawing.
const CARRIED: [u16; 10] = [5, 7, 1004, 1007, 1015, 1016, 1036, 2027, 2031, 2048];

/// How the other screen was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// By mode 47 or 1047: nothing is saved.
    Bare,
    /// By mode 1049: cursor saved, screen cleared.
    Saving,
}

/// A position with what `ESC 7` saves beside it for one screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) row: u16,
    pub(super) col: u16,
    pub(super) origin: bool,
}

/// What one of the two screens has for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Side {
    /// First and last row that scroll, from 0; `None` for all.
    pub(super) region: Option<(u16, u16)>,
    /// Positions count from the region.
    pub(super) origin: bool,
    /// What `ESC 7` saved.
    pub(super) saved: Saved,
    /// The kitty keyboard: the flags in force, and those below them.
    keyboards: Vec<u16>,
}

impl Side {
    /// As it is when the screen is cleared; the keyboard stays.
    pub(super) fn clear(&mut self) {
        (self.region, self.origin, self.saved) = (None, false, Saved::default());
    }

    /// `CSI > flags u`.
    pub(super) fn push_keyboard(&mut self, flags: u16) {
        if self.keyboards.is_empty() {
            self.keyboards.push(0);
        }
        if self.keyboards.len() >= MAX_KEYBOARDS {
            self.keyboards.remove(0);
        }
        self.keyboards.push(flags);
    }

    /// `CSI < n u`.
    pub(super) fn pop_keyboards(&mut self, count: u16) {
        let left = self.keyboards.len().saturating_sub(usize::from(count.max(1)));
        self.keyboards.truncate(left);
    }

    /// `CSI = flags ; how u`.
    pub(super) fn set_keyboard(&mut self, flags: u16, how: u16) {
        if self.keyboards.is_empty() {
            self.keyboards.push(0);
        }
        if let Some(top) = self.keyboards.last_mut() {
            *top = match how {
                2 => *top | flags,
                3 => *top & !flags,
                _replaces => flags,
            };
        }
    }

    pub(super) fn write_keyboards(&self, out: &mut Vec<u8>) {
        for (at, flags) in self.keyboards.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(format!("\x1b[>{flags}u").as_bytes());
            } else if *flags > 0 {
                out.extend_from_slice(format!("\x1b[={flags};1u").as_bytes());
            }
        }
    }
}

/// What vt100 leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extra {
    pub(super) main: Side,
    pub(super) other: Side,
    pub(super) entered: Option<Entered>,
    pub(super) charsets: Charsets,
    /// Saved by `ESC 7`, for both screens, as vt100 does: the pen as a sequence, and the sets.
    pub(super) saved_pen: Vec<u8>,
    pub(super) saved_charsets: Charsets,
    /// New characters push the rest of the line.
    pub(super) insert: bool,
    /// `CSI > 4 ; n m`.
    pub(super) other_keys: u16,
    modes: BTreeMap<u16, bool>,
}

impl Extra {
    /// The screen that is shown.
    pub(super) const fn side(&mut self) -> &mut Side {
        match self.entered {
            Some(_) => &mut self.other,
            None => &mut self.main,
        }
    }

    /// A private mode is switched.
    pub(super) fn set_mode(&mut self, mode: u16, on: bool) {
        if !CARRIED.contains(&mode) {
            return;
        }
        let default = mode == 7;
        // Scrolling by arrows is on in some terminals and off in others: what was said counts.
        if on == default && mode != 1007 {
            self.modes.remove(&mode);
        } else {
            self.modes.insert(mode, on);
        }
    }

    /// True while a character after the last column goes over the last one.
    pub(super) fn stays_in_line(&self) -> bool {
        self.modes.contains_key(&7)
    }

    /// The modes that change nothing about how a drawing is drawn.
    pub(super) fn write_modes(&self, out: &mut Vec<u8>) {
        for (mode, on) in self.modes.iter().filter(|(mode, _)| **mode != 7) {
            out.extend_from_slice(format!("\x1b[?{mode}{}", if *on { 'h' } else { 'l' }).as_bytes());
        }
        if self.other_keys > 0 {
            out.extend_from_slice(format!("\x1b[>4;{}m", self.other_keys).as_bytes());
        }
    }

    /// Those that do, for the end of a drawing.
    pub(super) fn write_writing_modes(&self, out: &mut Vec<u8>) {
        if self.stays_in_line() {
            out.extend_from_slice(b"\x1b[?7l");
        }
        if self.insert {
            out.extend_from_slice(b"\x1b[4h");
        }
        self.charsets.write(out);
    }

    /// `CSI ! p`, as far as it is ours.
    pub(super) fn soft_reset(&mut self) {
        self.side().clear();
        self.insert = false;
        self.modes.remove(&7);
        self.charsets = Charsets::default();
        self.saved_charsets = Charsets::default();
        self.saved_pen.clear();
    }
}
