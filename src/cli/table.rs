//! Tables for people: columns as wide as their widest cell, the last cut to the width there is.

use super::sanitise::clean;

/// On which side a column is filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table of cells. What is put in is made harmless here.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

/// Between two columns.
const GAP: &str = "  ";

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; a missing cell is empty.
    pub fn row<I: IntoIterator<Item = S>, S: AsRef<str>>(&mut self, cells: I) {
        let mut row: Vec<String> = cells.into_iter().map(|cell| clean(cell.as_ref()).into_owned()).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, no wider than `limit` columns when there is one. Columns in which no row has anything are
    /// left out.
    pub fn lines(&self, limit: Option<usize>) -> Vec<String> {
        let used: Vec<usize> = (0..self.columns.len())
            .filter(|at| *at == 0 || self.rows.iter().any(|row| !row[*at].is_empty()))
            .collect();
        let widths: Vec<usize> = used
            .iter()
            .map(|at| {
                let cells = self.rows.iter().map(|row| width(&row[*at]));
                cells.max().unwrap_or(0).max(width(self.columns[*at].0))
            })
            .collect();
        let header: Vec<&str> = used.iter().map(|at| self.columns[*at].0).collect();
        let body = self.rows.iter().map(|row| used.iter().map(|at| row[*at].as_str()).collect::<Vec<_>>());
        std::iter::once(header)
            .chain(body)
            .map(|cells| {
                let mut line = String::new();
                for (nth, cell) in cells.iter().enumerate() {
                    let fill = " ".repeat(widths[nth].saturating_sub(width(cell)));
                    let gap = if nth == 0 { "" } else { GAP };
                    match self.columns[used[nth]].1 {
                        Align::Left => line.extend([gap, cell, &fill]),
                        Align::Right => line.extend([gap, &fill, cell]),
                    }
                }
                cut(line.trim_end(), limit)
            })
            .collect()
    }
}

/// The text in at most `limit` columns, with `…` where it was cut.
pub fn cut(text: &str, limit: Option<usize>) -> String {
    let Some(limit) = limit.filter(|limit| width(text) > *limit) else { return text.to_owned() };
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += char_width(c);
        if used + 1 > limit {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept
}

/// How many columns a text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Good enough for names: combining marks take none, wide East Asian characters and emoji two.
fn char_width(c: char) -> usize {
    match c {
        ' '..='~' => 1,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{610}'..='\u{61a}' => 0,
        '\u{64b}'..='\u{65f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' => 0,
        '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}' => 0,
        '\u{1100}'..='\u{115e}' | '\u{2e80}'..='\u{303e}' | '\u{3041}'..='\u{a4cf}' => 2,
        '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' => 2,
        '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{1f300}'..='\u{1faff}' => 2,
        '\u{20000}'..='\u{3fffd}' => 2,
        _other => 1,
    }
}
