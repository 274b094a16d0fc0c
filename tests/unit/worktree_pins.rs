//! Which ids are found in what git keeps and prints.

use std::collections::BTreeSet;

use lanes::worktree::pins::{parse_diff_index, parse_stages, scan_ids, tips};

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const NULL: &str = "0000000000000000000000000000000000000000";

fn check(find: impl Fn(&mut BTreeSet<String>), expected: &[&str]) {
    let mut found = BTreeSet::new();
    find(&mut found);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_reflog_gives_its_old_and_new_ids_but_not_the_null_id() {
    let log =
        format!("{NULL} {A} me <me@x> 1 +0000\tcommit\n{A} {} me <me@x> 2 +0000\treset\n", B.to_uppercase());
    check(|found| scan_ids(log.as_bytes(), 40, found), &[A, B]);
}

#[test]
fn longer_or_shorter_runs_are_no_ids() {
    let text = format!("{A}0 {} \u{fc}{B}", &A[1..]);
    check(|found| scan_ids(text.as_bytes(), 40, found), &[B]);
}

#[test]
fn staged_content_is_found_but_submodules_are_not() {
    let raw = format!(
        ":000000 100644 {NULL} {A} A\0name {B}\0:160000 160000 {A} {B} M\0sub\0:100644 000000 {B} {NULL} D\0x\0"
    );
    check(|found| parse_diff_index(raw.as_bytes(), found), &[A]);
    let stages = format!("100644 {A} 1\tx\0100755 {B} 2\tx\0160000 {} 3\tsub\0", "c".repeat(40));
    check(|found| parse_stages(stages.as_bytes(), found), &[A, B]);
}

#[test]
fn only_commits_that_no_other_one_reaches_are_tips() {
    assert_eq!(tips(b"c b\nb a\nd a\n"), ["c", "d"]);
    assert_eq!(tips(b""), Vec::<String>::new());
}
