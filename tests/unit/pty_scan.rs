//! Tests of `src/pty/scan.rs`.

use lanes::pty::scan::{Item, Kind, MAX_SEQUENCE, Scanner, body};
use proptest::prelude::*;

/// The pieces of what arrives in these cuts: text joined, sequences with their kind.
fn cut(chunks: &[&[u8]]) -> Vec<(Option<Kind>, Vec<u8>)> {
    let mut scanner = Scanner::default();
    let mut found: Vec<(Option<Kind>, Vec<u8>)> = Vec::new();
    for chunk in chunks {
        scanner.scan(chunk, |item| match item {
            Item::Text(text) => match found.last_mut() {
                Some((None, before)) => before.extend_from_slice(text),
                Some(_) | None => found.push((None, text.to_vec())),
            },
            Item::Sequence(kind, bytes) => found.push((Some(kind), bytes.to_vec())),
            Item::Piece { kind, bytes, first, .. } => {
                if first {
                    found.push((Some(kind), Vec::new()));
                }
                found.last_mut().expect("a first piece").1.extend_from_slice(bytes);
            }
        });
    }
    found
}

#[test]
fn sequences_are_told_from_text_and_from_one_another() {
    let text =
        b"a\x1b[1;31mb\x1b]0;title\x07c\x1b]7;file:///x\x1b\\d\x1b(Be\x1bP+q544e\x1b\\\x1b_app\x1b\\\x1b7f\n";
    let kinds: Vec<_> = cut(&[text])
        .into_iter()
        .map(|(kind, bytes)| (kind, String::from_utf8(bytes).expect("text")))
        .collect();
    let seen = |kind, text: &str| (kind, text.to_owned());
    assert_eq!(
        kinds,
        [
            seen(None, "a"),
            seen(Some(Kind::Csi), "\x1b[1;31m"),
            seen(None, "b"),
            seen(Some(Kind::Osc), "\x1b]0;title\x07"),
            seen(None, "c"),
            seen(Some(Kind::Osc), "\x1b]7;file:///x\x1b\\"),
            seen(None, "d"),
            seen(Some(Kind::Escape), "\x1b(B"),
            seen(None, "e"),
            seen(Some(Kind::Dcs), "\x1bP+q544e\x1b\\"),
            seen(Some(Kind::Other), "\x1b_app\x1b\\"),
            seen(Some(Kind::Escape), "\x1b7"),
            seen(None, "f\n"),
        ]
    );
    assert_eq!(body(Kind::Osc, b"\x1b]7;file:///x\x1b\\"), b"7;file:///x");
    assert_eq!(body(Kind::Osc, b"\x1b]0;title\x07"), b"0;title");
    assert_eq!(body(Kind::Csi, b"\x1b[?6n"), b"?6n");
}

#[test]
fn broken_sequences_do_not_swallow_what_follows() {
    let broken = |text: &[u8]| cut(&[text]);
    assert_eq!(
        broken(b"\x1b[1\x1b[2J"),
        [(Some(Kind::Broken), b"\x1b[1".to_vec()), (Some(Kind::Csi), b"\x1b[2J".to_vec())]
    );
    assert_eq!(
        broken(b"\x1b]0;x\x1b[mY"),
        [
            (Some(Kind::Broken), b"\x1b]0;x".to_vec()),
            (Some(Kind::Csi), b"\x1b[m".to_vec()),
            (None, b"Y".to_vec())
        ]
    );
    assert_eq!(broken(b"\x1b[3\x18Y"), [(Some(Kind::Broken), b"\x1b[3\x18".to_vec()), (None, b"Y".to_vec())]);
    let letter = "\x1b[3\u{e9}".as_bytes();
    assert_eq!(broken(letter)[0].0, Some(Kind::Broken));
}

#[test]
fn a_sequence_without_end_is_not_held() {
    let mut scanner = Scanner::default();
    let mut given = 0;
    scanner.scan(b"\x1b]52;c;", |item| given += item.bytes().len());
    for _ in 0..1_000 {
        scanner.scan(&[b'x'; 1_000], |item| given += item.bytes().len());
        assert!(scanner.held().len() <= MAX_SEQUENCE + 1_000);
    }
    assert!(!scanner.is_between());
    scanner.scan(b"\x07", |item| given += item.bytes().len());
    assert!(scanner.is_between());
    assert_eq!(given, 7 + 1_000_000 + 1);
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..6),
        2 => Just(b"\x1b[".to_vec()),
        2 => Just(b"\x1b]0;".to_vec()),
        1 => Just(b"\x1bP".to_vec()),
        2 => Just(b"\x1b\\".to_vec()),
        1 => Just(b"\x07".to_vec()),
        1 => Just(b"\x1b".to_vec()),
        2 => Just(b"12;3m".to_vec()),
        1 => Just(vec![b'y'; MAX_SEQUENCE]),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_byte_is_lost_and_cuts_do_not_matter(bytes in pieces(), cuts in prop::collection::vec(1_usize..40, 0..20)) {
        let mut chunks = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts {
            let (head, tail) = rest.split_at(cut.min(rest.len()));
            chunks.push(head);
            rest = tail;
        }
        chunks.push(rest);
        let mut scanner = Scanner::default();
        let mut given = Vec::new();
        for chunk in &chunks {
            scanner.scan(chunk, |item| given.extend_from_slice(item.bytes()));
        }
        given.extend_from_slice(scanner.held());
        prop_assert_eq!(&given, &bytes);
        prop_assert_eq!(cut(&chunks), cut(&[&bytes]));
    }
}
