//! What the manifest of an archive says.

use lanes::raw::Raw;
use lanes::worktree::archive::{
    Content, Item, Manifest, Stamp, Tracked, blob_oid, is_inside, mode_agrees, parse_ls_tree, read_manifest,
    write_manifest,
};
use proptest::prelude::*;

#[test]
fn a_blob_has_the_id_that_git_gives_it() {
    let check = |len, expected: Option<&str>| assert_eq!(blob_oid(b"hello\n", len).as_deref(), expected);
    check(40, Some("ce013625030ba8dba906f756967f9e9ca394464a"));
    check(64, Some("2cf8d83d9ee29543b34a87727421fdecb7e3f3a183d337639025de576db9ebb4"));
    check(48, None);
}

#[test]
fn a_path_may_not_leave_the_tree_or_touch_its_git_file() {
    for path in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", ".git", ".git/config", "a\0b"] {
        assert!(!is_inside(path.as_bytes()), "{path:?}");
    }
    for path in ["a", "a/b", "...", ".gitignore", "a/.gitx", "-rf", "a\nb"] {
        assert!(is_inside(path.as_bytes()), "{path:?}");
    }
}

#[test]
fn only_the_owners_execute_bit_counts() {
    let entry = |mode| Tracked { mode, oid: String::new() };
    assert!(mode_agrees(&entry(0o100_644), 0o100_664));
    assert!(mode_agrees(&entry(0o100_755), 0o100_700));
    assert!(!mode_agrees(&entry(0o100_644), 0o100_755));
    assert!(!mode_agrees(&entry(0o100_755), 0o100_655));
    assert!(!mode_agrees(&entry(0o120_000), 0o100_644));
}

#[test]
fn a_listing_with_odd_names_is_parsed() {
    let listed =
        parse_ls_tree(b"100644 blob aa\tx\ty\n\xff\x00120000 blob bb\tlink\x00160000 commit cc\tsub\0");
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[b"x\ty\n\xff".as_slice()], Tracked { mode: 0o100_644, oid: "aa".to_owned() });
}

#[test]
fn a_manifest_of_another_version_or_with_a_path_outside_is_refused() {
    for text in ["", "{}", "{\"version\":99,\"top_mode\":0}\n", "no json\n"] {
        assert!(read_manifest(text.as_bytes()).is_err(), "{text:?}");
    }
    let outside = Item { path: Raw::from("../x"), content: Content::Dir, stamp: Stamp::default() };
    let mut text = Vec::new();
    write_manifest(&mut text, &Manifest { top_mode: 0o755, items: vec![outside] }).expect("written");
    assert!(read_manifest(text.as_slice()).is_err());
}

proptest! {
    #[test]
    fn a_manifest_is_read_as_it_was_written(
        name in proptest::collection::vec(1u8..=255, 1..40),
        target in proptest::collection::vec(1u8..=255, 1..40),
        size in any::<u64>(),
        mtime in any::<i64>(),
        mode in any::<u32>(),
    ) {
        let stamp = Stamp { mode, size, mtime, ..Stamp::default() };
        let contents = [
            Content::Dir, Content::File, Content::Link { target: Raw(target) }, Content::Blob { oid: "ab".to_owned() },
        ];
        prop_assume!(is_inside(&name));
        let items: Vec<_> =
            contents.into_iter().map(|content| Item { path: Raw(name.clone()), content, stamp }).collect();
        let manifest = Manifest { top_mode: 0o700, items };
        let mut text = Vec::new();
        write_manifest(&mut text, &manifest).expect("written");
        prop_assert_eq!(read_manifest(text.as_slice()).expect("read"), manifest);
    }
}
