//! What git is told, and what is read from its answers, without running it.

use lanes::failure::{Code, Failure};
use lanes::worktree::WorktreeError;
use lanes::worktree::error::{quoted, tail};
use lanes::worktree::git::parse_version;

fn check_version(text: &str, expected: Option<(u32, u32)>) {
    assert_eq!(parse_version(text).map(|(_text, numbers)| numbers), expected, "{text:?}");
}

#[test]
fn versions_of_all_builds_are_read() {
    check_version("git version 2.47.3", Some((2, 47)));
    check_version("git version 2.39.5 (Apple Git-154)", Some((2, 39)));
    check_version("git version 2.50.0.rc1.2.gabc", Some((2, 50)));
    check_version("git version 3.0-rc0", None);
    check_version("hub version 2", None);
    check_version("", None);
}

#[test]
fn a_quoted_name_cannot_move_the_cursor_or_turn_the_text() {
    assert_eq!(quoted("a\u{1b}[2J\n\u{202e}b"), "'a\\u{1b}[2J\\n\\u{202e}b'");
    assert_eq!(quoted("ü 中"), "'ü 中'");
    assert!(quoted(&"x".repeat(1_000)).chars().count() < 130);
}

#[test]
fn the_tail_of_an_output_is_bounded_text() {
    assert_eq!(tail(b"  fatal: \x1b[31mno\n"), "fatal: \u{FFFD}[31mno");
    assert!(tail(&vec![b'x'; 100_000]).len() <= 2_000);
}

#[test]
fn a_full_disk_is_told_apart_from_other_failures_of_git() {
    let failed = |stderr: &str| {
        Failure::from(WorktreeError::RunGit {
            command: "git worktree add".to_owned(),
            status: "exit 128".to_owned(),
            stderr: stderr.to_owned(),
        })
    };
    assert_eq!(failed("fatal: write error: No space left on device").code, Code::DiskLow);
    assert_eq!(failed("fatal: something else").code, Code::GitFailed);
}
