//! Tests of `src/pty/`.

use lanes::pty::{DetachKey, DetachMatcher, Size, snapshot};
use proptest::prelude::*;

fn typed(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut matcher = DetachMatcher::new(DetachKey::default());
    let mut sent = Vec::new();
    for piece in pieces {
        let typed = matcher.typed(piece);
        sent.extend(typed.send);
        if typed.detach {
            return (sent, true);
        }
    }
    (sent, false)
}

#[test]
fn the_detach_key_is_found_however_it_is_cut() {
    assert_eq!(typed(&[b"ab\x1cdrest"]), (b"ab".to_vec(), true));
    assert_eq!(typed(&[b"ab\x1c", b"d"]), (b"ab".to_vec(), true));
    assert_eq!(typed(&[b"\x1c\x1c", b"d"]), (b"\x1cd".to_vec(), false));
    assert_eq!(typed(&[b"\x1cx"]), (b"\x1cx".to_vec(), false));
    assert_eq!(typed(&[b"dd"]), (b"dd".to_vec(), false));
}

#[test]
fn keys_are_read_from_the_configuration() {
    assert_eq!("ctrl-\\ d".parse(), Ok(DetachKey::default()));
    assert_eq!("  ctrl-\\   d ".parse(), Ok(DetachKey::default()));
    let one: DetachKey = "ctrl-]".parse().expect("a key");
    assert!(DetachMatcher::new(one).typed(b"a\x1d").detach);
    for bad in ["", "d", "d d", "ctrl-", "ctrl-ab", "ctrl-a b c", "ctrl-é", "alt-x"] {
        assert!(bad.parse::<DetachKey>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_size_has_bounds() {
    assert!(Size::new(1, 1).is_some() && Size::new(10_000, 10_000).is_some());
    for (cols, rows) in [(0, 1), (1, 0), (10_001, 1), (1, 10_001)] {
        assert_eq!(Size::new(cols, rows), None);
    }
}

fn redrawn(tail: &[u8]) -> (vt100::Parser, vt100::Parser) {
    let mut original = vt100::Parser::new(10.try_into().expect("not 0"), 40.try_into().expect("not 0"), 0);
    original.process(tail);
    let mut copy = vt100::Parser::new(10.try_into().expect("not 0"), 40.try_into().expect("not 0"), 0);
    copy.process(b"what was there before \x1b[31m\x1b[3;7r");
    copy.process(&snapshot(tail, Size::new(40, 10).expect("a size")));
    (original, copy)
}

#[test]
fn a_snapshot_draws_screen_modes_and_cursor_at_once() {
    let tail =
        b"shell\r\n\x1b[?1049h\x1b[2J\x1b[?2004h\x1b[?1002h\x1b[?1006h\x1b[?25l\x1b[1;32mgreen\x1b[5;7Hx";
    let (original, copy) = redrawn(tail);
    let (original, copy) = (original.screen(), copy.screen());
    assert_eq!(copy.contents_formatted(), original.contents_formatted());
    assert_eq!(copy.cursor_position(), original.cursor_position());
    assert!(copy.alternate_screen() && copy.bracketed_paste() && copy.hide_cursor());
    assert_eq!(copy.mouse_protocol_mode(), original.mouse_protocol_mode());
}

proptest! {
    #[test]
    fn any_text_is_drawn_again(text in "[ -~\\r\\n\\x1b]{0,400}") {
        let (original, copy) = redrawn(text.as_bytes());
        prop_assert_eq!(copy.screen().contents(), original.screen().contents());
        prop_assert_eq!(copy.screen().cursor_position(), original.screen().cursor_position());
    }
}
