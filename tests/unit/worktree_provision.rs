//! What git says while a tree is made is read from recorded output.

use lanes::worktree::git::is_transient;
use lanes::worktree::provision::tree_sizes;

fn check(said: &str, expected: bool) {
    assert_eq!(is_transient(said), expected, "{said}");
}

#[test]
fn failures_that_go_by_themselves_are_told_apart() {
    check("error: could not lock config file .git/config: File exists", true);
    check("fatal: Unable to create '/r/.git/packed-refs.lock': File exists.", true);
    check("fatal: failed to read /r/.git/worktrees/n3/commondir: Success", true);
    check("fatal: a branch named 'lanes/a' already exists", false);
    check("fatal: '/r.lanes/a' already exists", false);
    check("error: unable to write file a", false);
}

#[test]
fn sizes_of_files_are_read_and_submodules_have_none() {
    let listing =
        b"100644 blob e69d  12\ta b\x00160000 commit 1234      -\tmod\x00100755 blob aaaa 4097\tx\ty\x00";
    assert_eq!(tree_sizes(listing), [12, 4_097]);
}
