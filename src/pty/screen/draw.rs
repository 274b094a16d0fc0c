//! Draws a model for a terminal that was reset: modes, both screens, cursor, pen.

use super::charset::Charsets;
use super::extra::{Entered, Saved, Side};
use super::model::Model;

impl Model {
    /// What brings a terminal that was reset, of the same size, to the same state. Blank when the model
    /// cannot be drawn.
    ///
    /// A title, colours that the program redefined and pictures are not part of it.
    pub fn draw(&mut self) -> Vec<u8> {
        self.guarded(|model| {
            let mut out = Vec::new();
            let Some(entered) = model.extra.entered.filter(|_| model.screen().alternate_screen()) else {
                let main = model.extra.main.clone();
                model.write_side(&main, &mut out);
                model.write_rest(&main, &mut out);
                return out;
            };
            let main = model.extra.main.clone();
            model.on_main(|model| {
                model.write_side(&main, &mut out);
                match entered {
                    Entered::Saving => {
                        out.extend_from_slice(b"\x1b[r");
                        model.write_saved(&main, &mut out);
                        if let Some((top, bottom)) = main.region {
                            out.extend_from_slice(
                                format!("\x1b7\x1b[{};{}r\x1b8", top + 1, bottom + 1).as_bytes(),
                            );
                        }
                    }
                    Entered::Bare => model.place(model.screen().cursor_position(), None, &mut out),
                }
            });
            out.extend_from_slice(match entered {
                Entered::Saving => b"\x1b[?1049h",
                Entered::Bare => b"\x1b[?47h",
            });
            out.extend_from_slice(b"\x0f\x1b(B\x1b)B");
            let other = model.extra.other.clone();
            model.write_side(&other, &mut out);
            model.write_rest(&other, &mut out);
            out
        })
    }

    /// What the program expects of keys, mouse and pasting.
    pub(super) fn write_input(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.screen().input_mode_formatted().as_bytes());
        self.extra.write_modes(out);
    }

    /// The cells of the screen that is shown, its margins and what was saved on it.
    fn write_side(&self, side: &Side, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\x1b[r\x1b[?6l\x1b[0m");
        let cells = self.screen().contents_formatted();
        out.extend_from_slice(cells.as_bytes());
        let anything = side.saved != Saved::default()
            || !self.extra.saved_pen.is_empty()
            || self.extra.saved_charsets != Charsets::default()
            // Drawing some cells saves the cursor too.
            || cells.contains("\x1b7");
        if anything {
            self.write_saved(side, out);
            out.extend_from_slice(b"\x1b7\x0f\x1b(B\x1b)B");
            if side.saved.origin {
                out.extend_from_slice(b"\x1b[?6l");
            }
        }
        // What was saved is counted from the first row, so the margins come afterwards.
        if let Some((top, bottom)) = side.region {
            out.extend_from_slice(format!("\x1b[{};{}r", top + 1, bottom + 1).as_bytes());
        }
        side.write_keyboards(out);
    }

    /// Brings the cursor where it was saved, with what was saved beside it.
    fn write_saved(&self, side: &Side, out: &mut Vec<u8>) {
        let saved = side.saved;
        if saved.origin {
            out.extend_from_slice(b"\x1b[?6h");
        }
        self.place((saved.row, saved.col), None, out);
        out.extend_from_slice(b"\x1b[0m");
        out.extend_from_slice(&self.extra.saved_pen);
        self.extra.saved_charsets.write(out);
    }

    fn write_rest(&self, side: &Side, out: &mut Vec<u8>) {
        self.write_input(out);
        let top = side.region.map_or(0, |(top, _)| top);
        if side.origin {
            out.extend_from_slice(b"\x1b[?6h");
        }
        self.place(self.screen().cursor_position(), side.origin.then_some(top), out);
        out.extend_from_slice(self.screen().attributes_formatted().as_bytes());
        self.extra.write_writing_modes(out);
        out.extend_from_slice(if self.screen().hide_cursor() { b"\x1b[?25l" } else { b"\x1b[?25h" });
    }

    /// Puts the cursor at a place from 0, also behind the last column, where it stays until the next
    /// letter: that is reached only by writing the last one again. `top` is where rows count from.
    fn place(&self, (row, col): (u16, u16), top: Option<u16>, out: &mut Vec<u8>) {
        let cols = self.screen().size().1.get();
        let line = row.saturating_sub(top.unwrap_or(0)) + 1;
        let go = |col: u16, out: &mut Vec<u8>| {
            out.extend_from_slice(format!("\x1b[{line};{}H", col + 1).as_bytes());
        };
        if col < cols {
            go(col, out);
            return;
        }
        let last = cols - 1;
        let wide = self.screen().cell(row, last).is_some_and(vt100::Cell::is_wide_continuation);
        let at = if wide { last.saturating_sub(1) } else { last };
        go(at, out);
        let Some(cell) = self.screen().cell(row, at) else { return };
        write_pen(cell, out);
        // A cell without a letter shows the same with a blank.
        let letter = if cell.has_contents() { cell.contents() } else { " " };
        out.extend_from_slice(letter.as_bytes());
    }
}

/// The pen that wrote a cell.
pub(super) fn write_pen(cell: &vt100::Cell, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\x1b[0");
    let switches =
        [(cell.bold(), 1), (cell.dim(), 2), (cell.italic(), 3), (cell.underline(), 4), (cell.inverse(), 7)];
    for (_, number) in switches.iter().filter(|(on, _)| *on) {
        out.extend_from_slice(format!(";{number}").as_bytes());
    }
    write_colour(cell.fgcolor(), 38, out);
    write_colour(cell.bgcolor(), 48, out);
    out.push(b'm');
}

fn write_colour(colour: vt100::Color, which: u8, out: &mut Vec<u8>) {
    match colour {
        vt100::Color::Default => {}
        vt100::Color::Idx(index) => out.extend_from_slice(format!(";{which};5;{index}").as_bytes()),
        vt100::Color::Rgb(r, g, b) => out.extend_from_slice(format!(";{which};2;{r};{g};{b}").as_bytes()),
    }
}
