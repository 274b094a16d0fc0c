//! A screen from the tail of a log, drawn at once.

use std::num::NonZeroU16;

use super::Size;

/// At most so much of a tail is read: several full repaints of a large screen.
const MAX_TAIL: usize = 4 << 20;

/// Draws what a terminal of this size shows after `tail`: modes, screen and cursor.
///
/// What is shown is a guess as long as the program has not cleared its screen inside the tail, as it is
/// with every terminal that was not there from the beginning.
pub fn snapshot(tail: &[u8], size: Size) -> Vec<u8> {
    let tail = &tail[tail.len().saturating_sub(MAX_TAIL)..];
    let mut parser = vt100::Parser::new(at_least_one(size.rows()), at_least_one(size.cols()), 0);
    parser.process(tail);
    let screen = parser.screen();
    // Into the state `state_formatted` assumes, then the other screen first, so that detaching can leave it.
    let mut out = b"\x1b[0m\x1b[r".to_vec();
    if screen.alternate_screen() {
        out.extend_from_slice(b"\x1b[?1049h");
    }
    out.extend_from_slice(screen.state_formatted().as_bytes());
    out
}

fn at_least_one(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap_or(NonZeroU16::MIN)
}
