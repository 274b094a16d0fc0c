//! Character sets: which letters stand for lines.

/// Which set a terminal writes with: two of them are designated, one is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Charsets {
    /// True where the set is DEC's line drawing: G0 and G1.
    lines: [bool; 2],
    /// True when G1 is in use.
    shifted: bool,
}

impl Charsets {
    /// `ESC ( …` (0) and `ESC ) …` (1).
    pub(super) const fn designate(&mut self, which: usize, set: u8) {
        self.lines[which] = set == b'0';
    }

    /// SO (true) and SI.
    pub(super) const fn shift(&mut self, on: bool) {
        self.shifted = on;
    }

    /// True while letters stand for lines.
    pub(super) const fn draws_lines(self) -> bool {
        self.lines[if self.shifted { 1 } else { 0 }]
    }

    /// What brings a terminal that has ASCII here.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        if self.lines[0] {
            out.extend_from_slice(b"\x1b(0");
        }
        if self.lines[1] {
            out.extend_from_slice(b"\x1b)0");
        }
        if self.shifted {
            out.push(0x0e);
        }
    }
}

/// What a letter of the line drawing set looks like.
pub(super) const fn line(letter: char) -> char {
    match letter {
        '_' => ' ',
        '`' => '◆',
        'a' => '▒',
        'b' => '␉',
        'c' => '␌',
        'd' => '␍',
        'e' => '␊',
        'f' => '°',
        'g' => '±',
        'h' => '␤',
        'i' => '␋',
        'j' => '┘',
        'k' => '┐',
        'l' => '┌',
        'm' => '└',
        'n' => '┼',
        'o' => '⎺',
        'p' => '⎻',
        'q' => '─',
        'r' => '⎼',
        's' => '⎽',
        't' => '├',
        'u' => '┤',
        'v' => '┴',
        'w' => '┬',
        'x' => '│',
        'y' => '≤',
        'z' => '≥',
        '{' => 'π',
        '|' => '≠',
        '}' => '£',
        '~' => '·',
        other => other,
    }
}
