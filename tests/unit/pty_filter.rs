//! What passes to a client's terminal, and what does not.

use lanes::pty::{Filter, Questions};

/// What passes to the terminal that answers, and to another.
#[track_caller]
fn check(output: &[u8], answering: &[u8], other: &[u8]) {
    for (questions, expected) in [(Questions::Pass, answering), (Questions::Drop, other)] {
        for size in [1, 3, output.len().max(1)] {
            let (mut filter, mut passed) = (Filter::default(), Vec::new());
            output.chunks(size).for_each(|piece| filter.pass(piece, questions, &mut passed));
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            assert_eq!(text(&passed), text(expected), "{questions:?}, {size} at a time");
        }
    }
}

#[track_caller]
fn in_all(sequence: &[u8], answering: bool, other: bool) {
    let all = [b"a", sequence, b"b"].concat();
    let pick = |passes: bool| if passes { all.as_slice() } else { b"ab".as_slice() };
    check(&all, pick(answering), pick(other));
}

#[test]
fn what_the_keeper_answers_never_passes() {
    for query in [
        "\x1b[c", "\x1b[0c", "\x1b[>c", "\x1b[>0c", "\x1b[=c", "\x1b[>q", "\x1b[>0q", "\x1b[5n", "\x1b[?u",
        "\x1bZ",
    ] {
        in_all(query.as_bytes(), false, false);
    }
}

#[test]
fn other_questions_pass_to_the_one_that_answers() {
    for query in [
        "\x1b[6n",
        "\x1b[?6n",
        "\x1b[?996n",
        "\x1b[?2026$p",
        "\x1b[4$p",
        "\x1b]10;?\x07",
        "\x1b]11;?\x1b\\",
        "\x1b]4;1;?\x07",
        "\x1bP+q544e\x1b\\",
        "\x1bP$qm\x1b\\",
        "\x1b[14t",
        "\x1b[16t",
        "\x1b[18t",
        "\x1b[?1;1;0S",
        "\x1b[?4m",
        "\x1b[x",
    ] {
        in_all(query.as_bytes(), true, false);
    }
}

#[test]
fn the_clipboard_does_not_pass_however_long() {
    let long = [b"\x1b]52;c;".as_slice(), &[b'A'; 50_000], b"\x07"].concat();
    for sequence in [
        &b"\x1b]52;c;aGk=\x07"[..],
        b"\x1b]52;c;?\x1b\\",
        b"\x1b]1337;Copy=:aGk=\x07",
        b"\x1bPtmux;\x1b\x1b]52;c;aGk=\x07\x1b\\",
        &long,
    ] {
        let (mut filter, mut passed) = (Filter::default(), Vec::new());
        for piece in [b"a", sequence, b"b"].concat().chunks(1000) {
            filter.pass(piece, Questions::Pass, &mut passed);
        }
        let text = String::from_utf8_lossy(&passed).into_owned();
        assert!(!text.contains("52;") && !text.contains("Copy") && !text.contains("AAAA"), "{text}");
        assert!(text.starts_with('a') && text.ends_with('b'), "{text}");
    }
}

#[test]
fn what_draws_passes_as_it_is() {
    let picture = [b"\x1bPq#0;2;0;0;0".as_slice(), &[b'~'; 20_000], b"\x1b\\"].concat();
    for sequence in [
        &b"\x1b[1;31m"[..],
        b"\x1b]0;title?\x07",
        b"\x1b]8;;http://x/?a\x1b\\",
        b"\x1b[?1049h",
        b"\x1b[>4;1m",
        b"\x1b[!p",
        b"\x1b[2 q",
        b"\x1b(0",
        b"\x1b_Gf=100;AAAA\x1b\\",
        &picture,
    ] {
        in_all(sequence, true, true);
    }
    in_all("日本".as_bytes(), true, true);
}

#[test]
fn what_was_broken_off_is_dropped() {
    check(b"a\x1b[3\x18b", b"ab", b"ab");
    check(b"a\x1b]0;ti\x1b[1mb", b"a\x1b[1mb", b"a\x1b[1mb");
}
