//! The size of a terminal.

/// Columns and rows, each from 1 to [`Size::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    cols: u16,
    rows: u16,
}

impl Size {
    /// The most columns or rows: no screen has more, and a screen model of that size still fits in memory.
    pub const MAX: u16 = 10_000;
    /// What a terminal has that nobody looks at.
    pub const DEFAULT: Self = Self { cols: 80, rows: 24 };

    /// The size, when it is one.
    pub const fn new(cols: u16, rows: u16) -> Option<Self> {
        if cols < 1 || cols > Self::MAX || rows < 1 || rows > Self::MAX {
            return None;
        }
        Some(Self { cols, rows })
    }

    /// Columns.
    pub const fn cols(self) -> u16 {
        self.cols
    }

    /// Rows.
    pub const fn rows(self) -> u16 {
        self.rows
    }
}
