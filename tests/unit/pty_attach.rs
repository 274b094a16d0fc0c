//! Tests of `src/pty/`.

use lanes::pty::{DetachKey, DetachMatcher, Size};

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
