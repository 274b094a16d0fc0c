//! Trees are removed whole, and nothing else is.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use lanes::worktree::{Pace, WorktreeError, remove_tree};

use crate::support::git::{Mounted, write};

fn identity(path: &Path) -> (u64, u64) {
    let meta = fs::symlink_metadata(path).expect("it is there");
    (meta.dev(), meta.ino())
}

#[test]
fn a_tree_goes_and_what_its_links_point_to_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
    write(&outside.join("kept"), "kept");
    write(&tree.join("a/b/c"), "c");
    symlink(&outside, tree.join("link")).expect("a link");
    symlink(outside.join("kept"), tree.join("a/link")).expect("a link");
    fs::hard_link(outside.join("kept"), tree.join("hard")).expect("a link");
    let removed = remove_tree(&tree, Some(identity(&tree)), &Pace::full()).expect("it goes");
    assert_eq!((removed.files, removed.folders), (4, 3));
    assert!(!tree.exists());
    assert_eq!(fs::read_to_string(outside.join("kept")).expect("it is there"), "kept");
    assert_eq!(remove_tree(&tree, None, &Pace::full()).expect("again is success").files, 0);
}

#[test]
fn a_link_at_the_top_is_removed_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    write(&dir.path().join("outside/kept"), "kept");
    let link = dir.path().join("link");
    symlink(dir.path().join("outside"), &link).expect("a link");
    assert_eq!(remove_tree(&link, None, &Pace::full()).expect("it goes").files, 1);
    assert!(dir.path().join("outside/kept").exists() && !link.is_symlink());
}

#[test]
fn another_folder_in_its_place_is_not_touched() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = dir.path().join("tree");
    write(&tree.join("f"), "");
    let (dev, ino) = identity(&tree);
    let error = remove_tree(&tree, Some((dev, ino + 1)), &Pace::full()).expect_err("it is another one");
    assert!(matches!(error, WorktreeError::NotOurs { .. }));
    assert!(tree.join("f").exists());
}

#[test]
fn depth_is_no_limit() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("made");
    // Deeper than a path may be long, so built through a descriptor that walks down.
    let mut at =
        rustix::fs::open(&tree, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).expect("open");
    for _level in 0..3_000 {
        rustix::fs::mkdirat(&at, "deep", rustix::fs::Mode::RWXU).expect("made");
        at = rustix::fs::openat(&at, "deep", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty())
            .expect("open");
    }
    assert_eq!(remove_tree(&tree, None, &Pace::full()).expect("it goes").folders, 3_001);
}

#[test]
fn read_only_folders_of_ours_are_no_obstacle() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = dir.path().join("tree");
    write(&tree.join("a/f"), "");
    write(&tree.join("b/f"), "");
    fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o555)).expect("set");
    fs::set_permissions(tree.join("b"), fs::Permissions::from_mode(0o000)).expect("set");
    // As root permissions are not asked for; CI runs this as a user.
    let removed = remove_tree(&tree, None, &Pace::full()).expect("it goes");
    assert_eq!(removed.files, 2);
}

#[test]
fn a_mount_is_not_entered() {
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
    write(&tree.join("f"), "");
    write(&outside.join("kept"), "kept");
    fs::create_dir(tree.join("mounted")).expect("made");
    let args = ["--bind".as_ref(), outside.as_os_str()];
    let Some(mounted) = Mounted::new(&args, &tree.join("mounted")) else { return };
    let result = remove_tree(&tree, None, &Pace::full());
    drop(mounted);
    let error = result.expect_err("a mount is in the way");
    assert!(error.to_string().contains("mounted"), "{error}");
    assert!(outside.join("kept").exists() && !tree.join("f").exists());
    remove_tree(&tree, None, &Pace::full()).expect("now it goes");
}

#[test]
fn two_who_remove_the_same_tree_at_once_are_both_done() {
    for _time in 0..20 {
        let dir = tempfile::tempdir().expect("a folder");
        let top = dir.path().join("top");
        for n in 0..40 {
            let folder = top.join(format!("{n}/a/b"));
            std::fs::create_dir_all(&folder).expect("makes");
            std::fs::write(folder.join("file"), "x").expect("writes");
        }
        std::thread::scope(|threads| {
            let both = [0, 1].map(|_| threads.spawn(|| remove_tree(&top, None, &Pace::full())));
            for one in both {
                one.join().expect("no panic").expect("removed, by one of the two");
            }
        });
        assert!(!top.exists());
    }
}
