//! A template's tree is copied whole, or not at all with the reason.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use lanes::worktree::{Pace, WorktreeError, copy_tree};
use tokio_util::sync::CancellationToken;

use crate::support::copied::{Linked, add, assert_same, copy, job, look, template, try_copy};
use crate::support::git::{Mounted, Yard};

/// Says why a copy of the template was refused once something was done to it.
fn refused(change: impl FnOnce(&Yard, &Linked)) -> String {
    let yard = Yard::new();
    let commit = yard.commit("more");
    let made = template(&yard, &commit);
    change(&yard, &made);
    let (copy, copied) = try_copy(&yard, &made, "copy", &commit, &CancellationToken::new());
    assert!(!copy.index().exists(), "no index was written");
    copied.expect_err("it is refused").to_string()
}

#[test]
fn a_copy_is_what_git_would_have_made() {
    let yard = Yard::new();
    yard.write("run.sh", "#!/bin/sh\n");
    std::fs::set_permissions(yard.repo.join("run.sh"), PermissionsExt::from_mode(0o755))
        .expect("permissions");
    symlink("../a.txt", yard.repo.join("sub/link")).expect("a link");
    symlink("nowhere", yard.repo.join("dangling")).expect("a link");
    yard.write("empty", "");
    yard.write("large", &"0123456789abcdef".repeat(1 << 16));
    let commit = yard.commit("more");
    let made = template(&yard, &commit);
    let (copy, copied) = try_copy(&yard, &made, "copy", &commit, &CancellationToken::new());
    let copied = copied.expect("it is copied");
    assert_eq!((copied.files, copied.dirs, copied.bytes), (7, 1, (1 << 20) + 10 + 14 + 2));
    assert_same(&yard, &copy, &add(&yard, "plain", &commit, &[]));
    for path in ["a.txt", "sub", "sub/link", "dangling", "run.sh"] {
        let time = |tree: &Path| {
            let facts = std::fs::symlink_metadata(tree.join(path)).expect("it is there");
            (facts.mtime(), facts.mtime_nsec())
        };
        assert_eq!(time(&copy.tree), time(&made.tree), "{path}");
    }
}

#[test]
fn in_the_background_it_is_the_same() {
    let yard = Yard::new();
    let commit = yard.commit("more");
    let made = template(&yard, &commit);
    let to = add(&yard, "copy", &commit, &["--no-checkout"]);
    let copied = copy_tree(&job(&yard, &made, &to), &Pace::background(), &CancellationToken::new());
    assert_eq!(copied.expect("it is copied").files, 2);
    assert_same(&yard, &to, &add(&yard, "plain", &commit, &[]));
}

#[test]
fn what_git_does_not_know_is_copied_with_its_modes_and_times() {
    let yard = Yard::new();
    yard.write(".gitignore", "out/\n");
    let commit = yard.commit("ignores");
    let made = template(&yard, &commit);
    let out = made.tree.join("out");
    let odd = out.join(OsStr::from_bytes(b"deep/\xff\n"));
    std::fs::create_dir_all(&odd).expect("folders");
    std::fs::create_dir(out.join("empty")).expect("a folder");
    std::fs::write(odd.join("file"), "1").expect("a file");
    std::fs::write(made.tree.join("prepared"), "2").expect("a file");
    symlink("deep", out.join("link")).expect("a link");
    let old = SystemTime::now() - Duration::from_secs(1_000_000);
    std::fs::File::open(odd.join("file")).expect("it opens").set_modified(old).expect("a time");
    for (path, mode) in [("out/deep", 0o2555), ("out/empty", 0o700), ("prepared", 0o4601)] {
        let path = made.tree.join(path);
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("permissions");
    }
    std::fs::File::open(&out).expect("it opens").set_modified(old).expect("a time");
    let copy = copy(&yard, &made, "copy", &commit);
    assert!(look(&copy.tree) == look(&made.tree));
    let time = |path: &Path| std::fs::symlink_metadata(path).expect("there").modified().expect("a time");
    assert_eq!(time(&copy.tree.join("out")), old);
    let copied = copy.tree.join("out").join(OsStr::from_bytes(b"deep/\xff\n/file"));
    assert_eq!(time(&copied), old);
    assert_eq!(yard.git_in(&copy.tree, &["status", "--porcelain"]), "?? prepared");
    std::fs::set_permissions(made.tree.join("out/deep"), PermissionsExt::from_mode(0o755)).expect("mode");
    std::fs::set_permissions(copy.tree.join("out/deep"), PermissionsExt::from_mode(0o755)).expect("mode");
}

#[test]
fn a_very_deep_folder_is_copied() {
    let yard = Yard::new();
    let commit = yard.commit("more");
    let made = template(&yard, &commit);
    // Deeper than any stack of calls should be, and longer than one path may be.
    let name = "d".repeat(100);
    let mut folder = rustix::fs::open(&made.tree, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty())
        .expect("it opens");
    for _level in 0..1_000 {
        rustix::fs::mkdirat(&folder, &name, rustix::fs::Mode::RWXU).expect("a folder");
        folder = rustix::fs::openat(
            &folder,
            &name,
            rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY,
            rustix::fs::Mode::empty(),
        )
        .expect("it opens");
    }
    let (_copy, copied) = try_copy(&yard, &made, "copy", &commit, &CancellationToken::new());
    assert_eq!(copied.expect("it is copied").dirs, 1_001);
}

#[test]
fn a_template_that_is_not_as_made_is_refused() {
    let edited = refused(|_yard, made| std::fs::write(made.tree.join("a.txt"), "other").expect("written"));
    assert!(edited.ends_with("a.txt': it is not what the index of its tree says"), "{edited}");
    let same_size =
        refused(|_yard, made| std::fs::write(made.tree.join("a.txt"), "ONE\ntwo\nthree\n").expect("written"));
    assert!(same_size.ends_with("a.txt': it is not what the index of its tree says"), "{same_size}");
    let gone = refused(|_yard, made| std::fs::remove_file(made.tree.join("sub/b.txt")).expect("removed"));
    assert!(gone.ends_with("sub/b.txt': it is not there any more"), "{gone}");
    let gone = refused(|_yard, made| std::fs::remove_dir_all(made.tree.join("sub")).expect("removed"));
    assert!(gone.ends_with("sub/b.txt': it is not there any more"), "{gone}");
    let folder = refused(|_yard, made| {
        std::fs::remove_file(made.tree.join("a.txt")).expect("removed");
        std::fs::create_dir(made.tree.join("a.txt")).expect("a folder");
    });
    assert!(folder.ends_with("a.txt': it is not what the index of its tree says"), "{folder}");
    let file = refused(|_yard, made| {
        std::fs::remove_dir_all(made.tree.join("sub")).expect("removed");
        std::fs::write(made.tree.join("sub"), "x").expect("written");
    });
    assert!(file.ends_with("sub/b.txt': it is not there any more"), "{file}");
    let pipe = refused(|_yard, made| {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            made.tree.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .expect("a pipe");
    });
    assert!(pipe.ends_with("pipe': it is neither a file nor a folder nor a link"), "{pipe}");
    let linked = refused(|yard, made| {
        yard.git(&["worktree", "add", "-q", "--detach", made.tree.join("inner").to_str().expect("text")]);
    });
    assert!(linked.ends_with(".git': it leads to a repository that is somewhere else"), "{linked}");
    let damaged = refused(|_yard, made| {
        let mut bytes = std::fs::read(made.index()).expect("an index");
        let at = bytes.len() - 22;
        bytes[at] ^= 1;
        std::fs::write(made.index(), bytes).expect("written");
    });
    assert!(damaged.ends_with("index': its index is damaged"), "{damaged}");
}

#[test]
fn a_folder_that_leads_out_of_the_template_is_not_followed() {
    let edited = refused(|yard, made| {
        std::fs::rename(made.tree.join("sub"), yard.path().join("outside")).expect("moved");
        symlink(yard.path().join("outside"), made.tree.join("sub")).expect("a link");
    });
    assert!(edited.ends_with("sub/b.txt': it is not there any more"), "{edited}");
}

#[test]
fn a_target_with_something_in_it_is_refused() {
    let yard = Yard::new();
    let commit = yard.commit("more");
    let made = template(&yard, &commit);
    let to = add(&yard, "copy", &commit, &["--no-checkout"]);
    std::fs::write(to.tree.join("mine"), "x").expect("written");
    let copied = copy_tree(&job(&yard, &made, &to), &Pace::full(), &CancellationToken::new());
    assert!(matches!(copied, Err(WorktreeError::PathTaken { path }) if path == to.tree.join("mine")));
}

#[test]
fn a_copy_that_is_cancelled_says_so() {
    let yard = Yard::new();
    let commit = yard.commit("more");
    let made = template(&yard, &commit);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let (copy, copied) = try_copy(&yard, &made, "copy", &commit, &cancel);
    assert!(matches!(copied, Err(WorktreeError::Stopped { .. })));
    assert!(!copy.index().exists());
}

#[test]
fn a_full_disk_is_said() {
    let yard = Yard::new();
    yard.write("large", &"0123456789abcdef".repeat(1 << 17));
    let commit = yard.commit("more");
    let made = template(&yard, &commit);
    let to = add(&yard, "copy", &commit, &["--no-checkout"]);
    let small = yard.path().join("small");
    std::fs::create_dir(&small).expect("a folder");
    let args = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"].map(OsStr::new);
    let Some(_mounted) = Mounted::new(&args, &small) else { return };
    let mut job = job(&yard, &made, &to);
    job.to = small;
    let copied = copy_tree(&job, &Pace::full(), &CancellationToken::new());
    let failure = lanes::failure::Failure::from(copied.expect_err("there is no room"));
    assert_eq!(failure.code, lanes::failure::Code::DiskLow, "{failure:?}");
    assert!(!to.index().exists());
}

#[test]
fn files_as_young_as_their_index_are_told_by_content() {
    let yard = Yard::new();
    let commit = yard.commit("more");
    let made = template(&yard, &commit);
    // As if git had written the files and the index in one tick of the clock.
    let young = std::fs::metadata(made.tree.join("a.txt")).expect("a file").modified().expect("a time");
    let index = std::fs::File::options().write(true).open(made.index()).expect("it opens");
    index.set_modified(young).expect("a time");
    let copied = copy(&yard, &made, "copy", &commit);
    assert_same(&yard, &copied, &add(&yard, "plain", &commit, &[]));
}
