//! Bytes of an index, also of one that nobody wrote.

use lanes::worktree::index_file::{IndexFile, IndexStat};
use proptest::prelude::*;

/// An index of entries (path, flags besides the length, extended flags), with extensions.
fn index(
    version: u8,
    hash_len: usize,
    entries: &[(&str, u16, u16)],
    extensions: &[(&[u8; 4], &[u8])],
) -> Vec<u8> {
    let mut bytes = b"DIRC\0\0\0".to_vec();
    bytes.push(version);
    bytes.extend_from_slice(&u32::try_from(entries.len()).expect("few").to_be_bytes());
    let mut before = "";
    for (path, flags, extended) in entries {
        let at = bytes.len();
        bytes.extend_from_slice(&[1; 24]);
        bytes.extend_from_slice(&0o100_644_u32.to_be_bytes());
        bytes.extend_from_slice(&[2; 12]);
        bytes.extend(std::iter::repeat_n(3, hash_len));
        let len = u16::try_from(path.len()).expect("short").min(0xFFF);
        bytes.extend_from_slice(&(flags | len).to_be_bytes());
        if flags & 0x4000 != 0 {
            bytes.extend_from_slice(&extended.to_be_bytes());
        }
        if version == 4 {
            let shared = path.bytes().zip(before.bytes()).take_while(|(one, two)| one == two).count();
            bytes.push(u8::try_from(before.len() - shared).expect("short"));
            bytes.extend_from_slice(&path.as_bytes()[shared..]);
            bytes.push(0);
        } else {
            bytes.extend_from_slice(path.as_bytes());
            bytes.push(0);
            while !(bytes.len() - at).is_multiple_of(8) {
                bytes.push(0);
            }
        }
        before = path;
    }
    for (name, content) in extensions {
        bytes.extend_from_slice(*name);
        bytes.extend_from_slice(&u32::try_from(content.len()).expect("short").to_be_bytes());
        bytes.extend_from_slice(content);
    }
    bytes.extend(std::iter::repeat_n(0xEE, hash_len));
    bytes
}

const ENTRIES: [(&str, u16, u16); 4] = [("a", 0, 0), ("a/b", 0, 0), ("a/c", 0x8000, 0), ("b", 0, 0)];

#[track_caller]
fn refused(bytes: Vec<u8>, expected: &str) {
    assert_eq!(IndexFile::parse(bytes, 40).expect_err("it is refused"), expected);
}

#[test]
fn entries_are_read_in_every_version() {
    for (version, hash_len) in [(2, 20), (3, 20), (4, 20), (2, 32), (4, 32)] {
        let parsed = IndexFile::parse(index(version, hash_len, &ENTRIES, &[]), hash_len * 2).expect("read");
        let paths: Vec<_> = parsed.entries().map(|entry| entry.path()).collect();
        assert_eq!(paths, ENTRIES.map(|(path, _, _)| path.as_bytes()));
        assert_eq!(
            parsed.entries().map(|entry| entry.is_assumed_valid()).collect::<Vec<_>>(),
            [false, false, true, false]
        );
        let first = parsed.entry(0);
        assert_eq!((first.mode(), first.oid(), first.stage()), (0o100_644, &vec![3; hash_len][..], 0));
        assert_eq!((first.stat().ctime.0, first.stat().size), (0x0101_0101, 0x0202_0202));
        assert!(!parsed.is_sound());
    }
}

#[test]
fn other_stat_data_changes_nothing_else() {
    let bytes = index(4, 20, &ENTRIES, &[(b"TREE", b"x")]);
    let mut parsed = IndexFile::parse(bytes.clone(), 40).expect("read");
    let stat = IndexStat { mtime: (7, 8), ino: 9, ..IndexStat::default() };
    parsed.restamp(2, &stat);
    assert_eq!(parsed.entry(2).stat(), stat);
    assert_eq!(parsed.entry(2).mode(), 0o100_644);
    parsed.restamp(2, &IndexFile::parse(bytes.clone(), 40).expect("read").entry(2).stat());
    let end = bytes.len() - 20;
    assert_eq!(parsed.sealed()[..end], bytes[..end]);
    assert!(parsed.is_sound());
}

#[test]
fn what_is_remembered_is_compared_as_git_does_it() {
    let said = IndexStat { ctime: (1, 2), mtime: (3, 4), dev: 5, ino: 6, uid: 7, gid: 8, size: 9 };
    assert!(said.agrees(&IndexStat { dev: 0, ..said }));
    for now in [
        IndexStat { ctime: (1, 0), ..said },
        IndexStat { mtime: (3, 5), ..said },
        IndexStat { ino: 0, ..said },
        IndexStat { uid: 0, ..said },
        IndexStat { gid: 0, ..said },
        IndexStat { size: 0, ..said },
    ] {
        assert!(!said.agrees(&now), "{now:?}");
    }
    let coarse = IndexStat { ctime: (1, 0), mtime: (3, 0), ..said };
    assert!(coarse.agrees(&said), "a git without nanoseconds");
    assert!(!coarse.is_unknown() && IndexStat::default().is_unknown());
}

#[test]
fn extensions_are_told_apart() {
    refused(index(2, 20, &ENTRIES, &[(b"TREE", b"x"), (b"link", b"")]), "it is a split index");
    refused(index(2, 20, &ENTRIES, &[(b"odd1", b"")]), "it has an extension that is not known");
    assert!(IndexFile::parse(index(3, 20, &ENTRIES, &[(b"sdir", b""), (b"ZZZZ", b"x")]), 40).is_ok());
    let tree_bound: &[(&[u8; 4], &[u8])] =
        &[(b"TREE", b"x"), (b"UNTR", b"yy"), (b"FSMN", b"z"), (b"sdir", b""), (b"EOIE", b"e")];
    let mut parsed = IndexFile::parse(index(2, 20, &ENTRIES, tree_bound), 40).expect("read");
    parsed.forget_tree();
    let end = parsed.sealed().len() - 20;
    let expected = index(2, 20, &ENTRIES, &[(b"TREE", b"x"), (b"sdir", b"")]);
    assert_eq!(parsed.sealed()[..end], expected[..end]);
}

#[test]
fn damaged_bytes_are_refused_with_the_reason() {
    refused(Vec::new(), "the index is cut off");
    refused(index(5, 20, &[], &[]), "it is no index of a known version");
    refused(b"DIRC\0\0\0\x02\xff\xff\xff\xff".to_vec(), "the index is cut off");
    refused([b"DIRC\0\0\0\x02\xff\xff\xff\xff".as_slice(), &[0; 4096]].concat(), "the index is cut off");
    refused(index(2, 20, &[("b", 0, 0), ("a", 0, 0)], &[]), "the entries are not in order");
    refused(index(2, 20, &[("a", 0, 0), ("a", 0, 0)], &[]), "the entries are not in order");
    refused(index(2, 20, &[("", 0, 0)], &[]), "a path is empty, as in a split index, or too long");
    refused(
        index(3, 20, &[(&"x".repeat(4097), 0, 0)], &[]),
        "a path is empty, as in a split index, or too long",
    );
    refused(index(2, 20, &[("a", 0x4000, 0)], &[]), "an entry has flags that its version does not know");
    refused(index(2, 20, &[("a", 2, 0)], &[]), "a path has another length than its entry says");
    assert!(IndexFile::parse(index(2, 20, &[("a", 0x1000, 0), ("a", 0x2000, 0)], &[]), 40).is_ok());
    assert_eq!(
        IndexFile::parse(index(2, 20, &[], &[]), 50).expect_err("odd"),
        "object ids of this length are not known"
    );
    let mut strips = index(4, 20, &[("ab", 0, 0), ("b", 0, 0)], &[]);
    let at = strips.len() - 20 - 3;
    assert_eq!(strips[at], 2);
    strips[at] = 3;
    refused(strips, "a path takes away too much");
}

#[test]
fn an_index_that_is_cut_off_anywhere_is_never_read_as_another() {
    for version in [2, 3, 4] {
        let bytes = index(version, 20, &ENTRIES, &[(b"TREE", b"content")]);
        for len in 0..bytes.len() {
            if let Ok(parsed) = IndexFile::parse(bytes[..len].to_vec(), 40) {
                assert!(!parsed.is_sound(), "{version} {len}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), version in 2..5_u8, count in 0..8_u8) {
        let head = [b'D', b'I', b'R', b'C', 0, 0, 0, version, 0, 0, 0, count];
        for (at, byte) in head.iter().enumerate().take(bytes.len()) {
            bytes[at] = *byte;
        }
        check_whole(bytes);
    }

    #[test]
    fn no_changed_byte_makes_reading_panic(version in 2..5_u8, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = index(version, 20, &ENTRIES, &[(b"TREE", b"x"), (b"UNTR", b"yy")]);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        check_whole(bytes);
    }
}

/// What is read can be used.
fn check_whole(bytes: Vec<u8>) {
    let Ok(mut parsed) = IndexFile::parse(bytes, 40) else { return };
    for number in 0..parsed.len() {
        let entry = parsed.entry(number);
        assert!(!entry.path().is_empty() && entry.oid().len() == 20);
        let _any = (entry.mode(), entry.stage(), entry.is_racy(), entry.is_in_tree(), entry.is_gitlink());
        parsed.restamp(number, &IndexStat::default());
    }
    parsed.forget_tree();
    let _sealed = parsed.sealed();
}
