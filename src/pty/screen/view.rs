//! A model in a window of another size.

use super::draw::write_pen;
use super::model::Model;
use crate::pty::Size;

/// What a window shows of a terminal that has another size: what fits, from the first row and column on.
/// Where the terminal ends, dots begin.
#[derive(Debug)]
pub struct View {
    window: Size,
    rows: Vec<Vec<u8>>,
    input: Vec<u8>,
}

impl View {
    /// A window of which nothing is drawn yet.
    pub const fn new(window: Size) -> Self {
        Self { window, rows: Vec::new(), input: Vec::new() }
    }

    /// What changes the window from what was drawn last to what is shown now; empty for nothing.
    pub fn update(&mut self, model: &mut Model) -> Vec<u8> {
        let window = self.window;
        let (rows, input, cursor) = model.guarded(|model| {
            let mut input = Vec::new();
            model.write_input(&mut input);
            (rows(model, window), input, cursor(model, window))
        });
        let mut out = b"\x1b[?25l".to_vec();
        for (at, row) in rows.iter().enumerate() {
            if self.rows.get(at) != Some(row) {
                out.extend_from_slice(format!("\x1b[{};1H\x1b[0m", at + 1).as_bytes());
                out.extend_from_slice(row);
            }
        }
        if self.input != input {
            out.extend_from_slice(&input);
        }
        (self.rows, self.input) = (rows, input);
        out.extend_from_slice(&cursor);
        out
    }
}

/// Every row of the window as it is drawn from its first column.
fn rows(model: &Model, window: Size) -> Vec<Vec<u8>> {
    let size = model.size();
    let width = size.cols().min(window.cols());
    let dots = |n: u16| "·".repeat(usize::from(n)).into_bytes();
    let beside = [b"\x1b[0;2m".as_slice(), &dots(window.cols() - width), b"\x1b[0m"].concat();
    let mut rows: Vec<Vec<u8>> = (0..size.rows().min(window.rows()))
        .map(|at| {
            let mut drawn = b"\x1b[2K".to_vec();
            write_cells(model, at, width, &mut drawn);
            if width < window.cols() {
                drawn.extend_from_slice(format!("\x1b[{};{}H", at + 1, width + 1).as_bytes());
                drawn.extend_from_slice(&beside);
            }
            drawn
        })
        .collect();
    let below = [b"\x1b[2m".as_slice(), &dots(window.cols()), b"\x1b[0m"].concat();
    rows.resize(usize::from(window.rows()), below);
    rows
}

/// The first cells of a row; a wide letter that does not fit is blank.
fn write_cells(model: &Model, row: u16, width: u16, out: &mut Vec<u8>) {
    let (mut pen, mut before) = (b"\x1b[0m".to_vec(), b"\x1b[0m".to_vec());
    for col in 0..width {
        let Some(cell) = model.screen().cell(row, col).filter(|cell| !cell.is_wide_continuation()) else {
            continue;
        };
        pen.clear();
        write_pen(cell, &mut pen);
        if pen != before {
            out.extend_from_slice(&pen);
            before.clone_from(&pen);
        }
        let cut = cell.is_wide() && col + 1 == width;
        let letter = if cut || !cell.has_contents() { " " } else { cell.contents() };
        out.extend_from_slice(letter.as_bytes());
    }
}

/// The cursor, when it is in the window and shown.
fn cursor(model: &Model, window: Size) -> Vec<u8> {
    let (row, col) = model.screen().cursor_position();
    let col = col.min(model.size().cols() - 1);
    if model.screen().hide_cursor() || row >= window.rows() || col >= window.cols() {
        return Vec::new();
    }
    format!("\x1b[{};{}H\x1b[?25h", row + 1, col + 1).into_bytes()
}
