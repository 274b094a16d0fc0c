//! The choice of a root, and patterns for `info/exclude`, on values.

use std::path::Path;

use lanes::worktree::Choice;
use lanes::worktree::layout::{Kind, Surroundings, decide, exclude_line};

fn check(parent_writable: bool, parent_in_repository: bool, expected: Choice) {
    let home = Path::new("/w/repo");
    let around = Surroundings { home, name: "repo", parent_writable, parent_in_repository };
    let (path, choice) = decide(around, Path::new("/w/repo/.git"), Path::new("/data"));
    assert_eq!(choice, expected);
    match choice {
        Choice::Sibling => assert_eq!(path, Path::new("/w/repo.lanes")),
        _other => assert!(path.starts_with("/data"), "{}", path.display()),
    }
}

#[test]
fn beside_the_repository_unless_that_is_not_possible() {
    check(true, false, Choice::Sibling);
    check(false, false, Choice::DataFolder);
    check(true, true, Choice::DataFolder);
    check(false, true, Choice::DataFolder);
}

#[test]
fn an_excluded_path_matches_only_itself() {
    let line = |path: &str, kind| {
        exclude_line(Path::new(path), kind).map(|line| String::from_utf8(line).expect("text"))
    };
    assert_eq!(line("a/b", Kind::Folder).as_deref(), Some("/a/b/"));
    assert_eq!(line("a*[x] #!", Kind::Any).as_deref(), Some("/a\\*\\[x\\]\\ \\#\\!"));
    assert_eq!(line("a\nb", Kind::Any), None);
}
