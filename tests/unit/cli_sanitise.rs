//! Text from outside cannot drive a terminal, reorder a line or hide.

use lanes::cli::sanitise::{OutputFilter, clean, clean_bytes, clean_lines, is_dangerous};
use proptest::prelude::*;

fn check(input: &str, expected: &str) {
    assert_eq!(clean(input), expected);
}

#[test]
fn what_drives_reorders_or_hides_is_made_visible() {
    check("plain nämé 日本", "plain nämé 日本");
    check("a\u{1b}[2Jb", "a\\u{1b}[2Jb");
    check("a\nb\tc\rd", "a\\nb\\tc\\rd");
    check("\u{9b}31m", "\\u{9b}31m");
    check("x\u{202e}txt.exe", "x\\u{202e}txt.exe");
    check("\u{2066}a\u{2069}", "\\u{2066}a\\u{2069}");
    check("ma\u{200b}in", "ma\\u{200b}in");
    check("\u{feff}main\u{ad}", "\\u{feff}main\\u{ad}");
    check("\u{e0061}", "\\u{e0061}");
}

#[test]
fn bytes_that_are_not_text_are_shown_one_by_one() {
    assert_eq!(clean_bytes(b"caf\xe9/\x1bx"), "caf\\xe9/\\u{1b}x");
    assert_eq!(clean_bytes("caf\u{e9}".as_bytes()), "caf\u{e9}");
}

#[test]
fn a_line_break_in_a_message_cannot_begin_a_line_of_ours() {
    assert_eq!(clean_lines("fatal: x\nlanes: all good\r\n\n"), "fatal: x\n    lanes: all good");
}

fn filtered(bytes: &[u8]) -> String {
    String::from_utf8(OutputFilter::default().feed(bytes)).expect("the filter writes text")
}

#[test]
fn output_keeps_its_looks_and_loses_what_is_dangerous() {
    assert_eq!(filtered(b"\x1b[1;31mred\x1b[0m\n"), "\x1b[1;31mred\x1b[0m\n");
    assert_eq!(filtered(b"a\x1b[2J\x1b[Hb"), "ab");
    assert_eq!(filtered(b"a\x1b]52;c;aGk=\x07b"), "ab");
    assert_eq!(filtered(b"a\x1b]0;title\x1b\\b"), "ab");
    assert_eq!(filtered(b"a\x1bPq...\x1b\\b\x1bcc\x1b(0d"), "abcd");
    assert_eq!(filtered(b"\x1b[?1049h\x1b[>4;1mx\x1b[6n"), "x");
    assert_eq!(filtered("\u{9b}31mx\u{202e}y".as_bytes()), "31mxy");
    assert_eq!(filtered(b"\x9b31m\xff"), "\u{fffd}31m\u{fffd}");
    assert_eq!(filtered("日本 👍🏽 e\u{301}".as_bytes()), "日本 👍🏽 e\u{301}");
}

#[test]
fn a_sequence_that_is_cut_anywhere_is_still_one() {
    let text = "x\x1b[1;32mgrün\x1b[0m\x1b]52;c;aGk=\x07\x1b[2Jy日".as_bytes();
    let whole = OutputFilter::default().feed(text);
    for at in 0..=text.len() {
        let mut filter = OutputFilter::default();
        let mut parts = filter.feed(&text[..at]);
        parts.extend(filter.feed(&text[at..]));
        assert_eq!(parts, whole, "cut at {at}");
    }
}

proptest! {
    #[test]
    fn clean_text_has_nothing_dangerous(text in any::<String>()) {
        prop_assert!(!clean(&text).contains(is_dangerous));
    }

    #[test]
    fn clean_bytes_have_nothing_dangerous(bytes in any::<Vec<u8>>()) {
        prop_assert!(!clean_bytes(&bytes).contains(is_dangerous));
    }

    #[test]
    fn clean_lines_have_nothing_dangerous_but_line_breaks(text in any::<String>()) {
        prop_assert!(!clean_lines(&text).contains(|c| is_dangerous(c) && c != '\n'));
    }

    #[test]
    fn filtered_output_is_text_and_escapes_only_for_looks(
        bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), Just(0x1b), Just(b'['), Just(b']'), Just(b'm'), Just(b'1'), Just(b'?')], 0..200
        )
    ) {
        let mut filter = OutputFilter::default();
        let text = String::from_utf8(filter.feed(&bytes)).expect("the filter writes text");
        for part in text.split('\u{1b}').skip(1) {
            let looks = part.strip_prefix('[').and_then(|rest| rest.split_once('m'));
            let (digits, _) = looks.expect("an escape that is not for looks");
            prop_assert!(digits.chars().all(|c| c.is_ascii_digit() || c == ';' || c == ':'));
        }
        let allowed = |c: char| matches!(c, '\u{1b}' | '\n' | '\r' | '\t' | '\u{8}');
        prop_assert!(!text.contains(|c: char| c.is_control() && !allowed(c)));
        let reorders = text.contains(['\u{202e}', '\u{2066}']);
        prop_assert!(!reorders);
    }
}
