//! The screen of a terminal as its output leaves it.

use std::cell::Cell;
use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::charset::line;
use super::extra::{Entered, Extra, Saved, Side};
use super::sequence::Csi;
use crate::pty::scan::{Item, Kind, Scanner};
use crate::pty::{Filter, Size};

thread_local! {
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// True while a panic of this thread is one that a model catches: a hook need not tell of it.
pub fn is_caught() -> bool {
    CAUGHT.get()
}

/// The screen of a terminal: cells, cursor, pen and modes. History is the log's.
pub struct Model {
    pub(super) parser: vt100::Parser,
    scanner: Scanner,
    pub(super) extra: Extra,
    /// The first bytes of a letter whose others have not come yet.
    cut: Vec<u8>,
    /// Bytes of a long sequence that goes on which the scanner holds no more.
    long: usize,
    size: Size,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("size", &self.size).field("extra", &self.extra).finish_non_exhaustive()
    }
}

impl Model {
    /// A blank screen.
    pub fn new(size: Size) -> Self {
        let parser = vt100::Parser::new(at_least_one(size.rows()), at_least_one(size.cols()), 0);
        Self { parser, scanner: Scanner::default(), extra: Extra::default(), cut: Vec::new(), long: 0, size }
    }

    /// Takes output. What the emulation cannot bear leaves a blank screen.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.guarded(|model| {
            let Self { parser, scanner, extra, cut, long, .. } = model;
            let mut take = Take { parser, extra, cut, long };
            scanner.scan(bytes, |item| take.item(item));
        });
    }

    /// Another size: rows that no longer fit leave at the top when the cursor would not fit, else at the
    /// bottom; margins are reset.
    pub fn resize(&mut self, size: Size) {
        if size == self.size {
            return;
        }
        self.guarded(|model| model.resize_all(size));
        self.size = size;
    }

    /// Columns and rows.
    pub const fn size(&self) -> Size {
        self.size
    }

    /// True when what comes next means the same to a terminal that was only drawn: no sequence and no
    /// letter is cut.
    pub fn is_between(&self) -> bool {
        self.scanner.is_between() && self.cut.is_empty()
    }

    /// How many of the last bytes are of a sequence or letter that goes on: none of them shows yet, so a
    /// drawing is of the output before them.
    pub fn pending(&self) -> usize {
        self.scanner.held().len() + self.long + self.cut.len()
    }

    /// A filter that goes on where this model is, and what of a cut letter goes before.
    pub fn hand_over(&self) -> (Filter, &[u8]) {
        (Filter::after(self.scanner.clone()), &self.cut)
    }

    /// The cursor's row and column from 1, as a program is told when it asks.
    pub fn cursor(&mut self) -> (u16, u16) {
        let (row, col) = self.parser.screen().cursor_position();
        let side = self.extra.side();
        let top = if side.origin { side.region.map_or(0, |(top, _)| top) } else { 0 };
        (row.saturating_sub(top) + 1, (col + 1).min(self.size.cols()))
    }

    /// The letters on the screen, a line each.
    pub fn text(&self) -> String {
        self.parser.screen().contents()
    }

    pub(super) fn screen(&self) -> &vt100::Screen {
        self.parser.screen()
    }

    /// Runs something of the emulation; blank when that panics.
    pub(super) fn guarded<T: Default>(&mut self, run: impl FnOnce(&mut Self) -> T) -> T {
        let before = CAUGHT.replace(true);
        let ran = catch_unwind(AssertUnwindSafe(|| run(self)));
        CAUGHT.set(before);
        ran.unwrap_or_else(|_panic| {
            *self = Self::new(self.size);
            T::default()
        })
    }

    fn resize_all(&mut self, size: Size) {
        self.on_main(|model| {
            // Else as many blank rows would come in above as ever left.
            model.parser.screen_mut().clear_scrollback();
            let row = model.parser.screen().cursor_position().0;
            shift(&mut model.extra.main, model.size, size, row);
        });
        if self.parser.screen().alternate_screen() {
            let row = self.parser.screen().cursor_position().0;
            shift(&mut self.extra.other, self.size, size, row);
        }
        self.parser.set_size(at_least_one(size.rows()), at_least_one(size.cols()));
    }

    /// Runs something while the main screen is shown. Mode 47 neither clears nor moves anything.
    pub(super) fn on_main<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> T {
        let other = self.parser.screen().alternate_screen();
        if other {
            self.parser.process(b"\x1b[?47l");
        }
        let done = run(self);
        if other {
            self.parser.process(b"\x1b[?47h");
        }
        done
    }
}

fn at_least_one(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap_or(NonZeroU16::MIN)
}

/// What another size does to a screen whose cursor is in this row, as vt100 does it.
fn shift(side: &mut Side, from: Size, to: Size, row: u16) {
    side.region = None;
    let lost = from.rows().saturating_sub(to.rows());
    let below = from.rows().saturating_sub(row + 1);
    let up = lost.saturating_sub(below);
    side.saved.row = side.saved.row.saturating_sub(up).min(to.rows() - 1);
    side.saved.col = side.saved.col.min(to.cols() - 1);
}

/// Takes output apart: what vt100 understands goes on to it, the rest is kept or said in its words.
struct Take<'a> {
    parser: &'a mut vt100::Parser,
    extra: &'a mut Extra,
    cut: &'a mut Vec<u8>,
    long: &'a mut usize,
}

impl Take<'_> {
    fn item(&mut self, item: Item<'_>) {
        match item {
            Item::Text(bytes) if self.cut.is_empty() => self.text(bytes),
            Item::Text(bytes) => {
                let mut joined = std::mem::take(self.cut);
                joined.extend_from_slice(bytes);
                self.text(&joined);
            }
            Item::Sequence(kind, bytes) => {
                if !self.cut.is_empty() {
                    let cut = std::mem::take(self.cut);
                    self.write_text(&cut);
                }
                match kind {
                    Kind::Csi => self.csi(bytes),
                    Kind::Escape => self.escape(bytes),
                    // Titles, colours, pictures: nothing of it is on the screen.
                    Kind::Osc | Kind::Dcs | Kind::Other | Kind::Broken => {}
                }
            }
            Item::Piece { bytes, last, .. } => *self.long = if last { 0 } else { *self.long + bytes.len() },
        }
    }

    fn text(&mut self, bytes: &[u8]) {
        let whole = bytes.len() - cut_letter(bytes);
        self.write_text(&bytes[..whole]);
        self.cut.extend_from_slice(&bytes[whole..]);
    }

    fn write_text(&mut self, mut bytes: &[u8]) {
        while let Some(at) = memchr::memchr2(0x0e, 0x0f, bytes) {
            self.write_run(&bytes[..at]);
            self.extra.charsets.shift(bytes[at] == 0x0e);
            bytes = &bytes[at + 1..];
        }
        self.write_run(bytes);
    }

    /// Text in one character set.
    fn write_run(&mut self, bytes: &[u8]) {
        let (lines, insert) = (self.extra.charsets.draws_lines(), self.extra.insert);
        let stays = self.extra.stays_in_line();
        if !lines && !insert && !stays {
            self.parser.process(bytes);
            return;
        }
        for letter in String::from_utf8_lossy(bytes).chars() {
            let letter = if lines { line(letter) } else { letter };
            if !letter.is_control() {
                let (_, col) = self.parser.screen().cursor_position();
                let cols = self.parser.screen().size().1.get();
                if stays && col >= cols {
                    self.parser.process(format!("\x1b[{cols}G").as_bytes());
                }
                if insert {
                    self.parser.process(b"\x1b[@");
                }
            }
            self.parser.process(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    fn escape(&mut self, bytes: &[u8]) {
        match bytes.get(1..).unwrap_or_default() {
            b"7" => self.save(),
            b"8" => self.restore(),
            b"c" => {
                *self.extra = Extra::default();
                self.parser.process(b"\x1bc");
            }
            b"D" => self.parser.process(b"\n"),
            b"E" => self.parser.process(b"\r\n"),
            [b'(', set] => self.extra.charsets.designate(0, *set),
            [b')', set] => self.extra.charsets.designate(1, *set),
            _other => self.parser.process(bytes),
        }
    }

    fn csi(&mut self, bytes: &[u8]) {
        let Some(csi) = Csi::parse(bytes) else {
            self.parser.process(bytes);
            return;
        };
        match (csi.prefix, csi.middle, csi.last) {
            (b'?', 0, b'h' | b'l') => self.private_modes(&csi),
            (0, 0, b'h' | b'l') if csi.params.contains(&Some(4)) => self.extra.insert = csi.last == b'h',
            (0, 0, b'r') => {
                let rows = self.parser.screen().size().0.get();
                let bottom = csi.param(1, 0);
                let bottom = if bottom == 0 { rows } else { bottom.min(rows) } - 1;
                let top = csi.param(0, 1).max(1) - 1;
                let all = top >= bottom || (top == 0 && bottom == rows - 1);
                self.extra.side().region = (!all).then_some((top, bottom));
                self.parser.process(bytes);
                // vt100 goes to the first row of the margins in any case.
                self.parser.process(b"\x1b[H");
            }
            (0, 0, b'd') if self.extra.side().origin => {
                let col = self.parser.screen().cursor_position().1;
                self.parser.process(format!("\x1b[{};{}H", csi.param(0, 1), col + 1).as_bytes());
            }
            (0, 0, b's') if csi.params.is_empty() => self.save(),
            (0, 0, b'u') if csi.params.is_empty() => self.restore(),
            (b'>', 0, b'u') => self.extra.side().push_keyboard(csi.param(0, 0)),
            (b'<', 0, b'u') => self.extra.side().pop_keyboards(csi.param(0, 1)),
            (b'=', 0, b'u') => self.extra.side().set_keyboard(csi.param(0, 0), csi.param(1, 1)),
            (b'>', 0, b'm') if csi.param(0, 4) == 4 => self.extra.other_keys = csi.param(1, 0),
            (0, b'!', b'p') => self.soft_reset(),
            _other => self.parser.process(bytes),
        }
    }

    fn private_modes(&mut self, csi: &Csi) {
        let on = csi.last == b'h';
        for mode in csi.params.iter().flatten().copied() {
            match (mode, on) {
                (6, _) => self.extra.side().origin = on,
                (47 | 1047, true) if self.extra.entered.is_none() => {
                    self.extra.entered = Some(Entered::Bare);
                }
                (47 | 1047, true) => {}
                (47, false) => self.extra.entered = None,
                (1047, false) => {
                    if self.extra.entered.take().is_some() {
                        self.parser.process(b"\x1b[2J");
                    }
                }
                (1048, true) => self.save(),
                (1048, false) => self.restore(),
                (1049, true) => {
                    self.note_saved();
                    self.extra.entered = Some(Entered::Saving);
                    self.extra.other.clear();
                }
                (1049, false) => {
                    self.extra.entered = None;
                    self.parser.process(b"\x1b[?1049l");
                    self.restored();
                    continue;
                }
                (other, _) => self.extra.set_mode(other, on),
            }
            let said: &[u8] = match (mode, on) {
                (66, true) => b"\x1b=",
                (66, false) => b"\x1b>",
                (1047, true) => b"\x1b[?47h",
                (1047, false) => b"\x1b[?47l",
                (1048, _) => b"",
                _same => {
                    self.parser.process(format!("\x1b[?{mode}{}", char::from(csi.last)).as_bytes());
                    continue;
                }
            };
            self.parser.process(said);
        }
    }

    fn save(&mut self) {
        self.note_saved();
        self.parser.process(b"\x1b7");
    }

    fn note_saved(&mut self) {
        let (row, col) = self.parser.screen().cursor_position();
        let pen = self.parser.screen().attributes_formatted().into_bytes();
        self.extra.saved_pen = if pen == b"\x1b[m" { Vec::new() } else { pen };
        self.extra.saved_charsets = self.extra.charsets;
        let side = self.extra.side();
        side.saved = Saved { row, col, origin: side.origin };
    }

    fn restore(&mut self) {
        self.parser.process(b"\x1b8");
        self.restored();
    }

    fn restored(&mut self) {
        self.extra.charsets = self.extra.saved_charsets;
        let (row, col) = self.parser.screen().cursor_position();
        let side = self.extra.side();
        side.origin = side.saved.origin;
        // The margins may have changed since: where rows count from them, the cursor is in between.
        if let (true, Some((top, bottom))) = (side.origin, side.region)
            && !(top..=bottom).contains(&row)
        {
            let line = row.clamp(top, bottom) - top + 1;
            self.parser.process(format!("\x1b[{line};{}H", col + 1).as_bytes());
        }
    }

    /// All that `CSI ! p` resets, in words that vt100 knows; the cursor stays.
    fn soft_reset(&mut self) {
        self.extra.soft_reset();
        let (row, col) = self.parser.screen().cursor_position();
        // Saves the reset state at the first place, as a terminal does.
        self.parser.process(b"\x1b[r\x1b[?6l\x1b[0m\x1b[?25h\x1b[?1l\x1b>\x1b[H\x1b7");
        self.parser.process(format!("\x1b[{};{}H", row + 1, col + 1).as_bytes());
    }
}

/// How many bytes at the end are the beginning of a letter.
fn cut_letter(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let length = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _no_beginning => return 0,
        };
        return if length > back { back } else { 0 };
    }
    0
}
