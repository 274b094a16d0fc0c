//! A copy is the same as a plain `git worktree add` on real shapes of repositories.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Instant;

use lanes::worktree::{Pace, verify};
use tokio_util::sync::CancellationToken;

use crate::support::copied::{add, assert_same, copy, job, template, try_copy};
use crate::support::git::Yard;

/// Commits what is there and holds a copy of it against a plain worktree.
#[track_caller]
fn check(yard: &Yard) {
    let commit = yard.commit("all");
    let made = template(yard, &commit);
    let copy = copy(yard, &made, "copy", &commit);
    assert_same(yard, &copy, &add(yard, "plain", &commit, &[]));
    let job = job(yard, &made, &copy);
    let strange = verify(&copy.tree, &copy.index(), job.oid_len, None, &Pace::full());
    assert_eq!(strange.expect("it is looked at"), []);
}

#[test]
fn filters_line_endings_and_encodings() {
    let yard = Yard::new();
    for (key, value) in [("clean", "tr a-z A-Z"), ("smudge", "tr A-Z a-z"), ("required", "true")] {
        yard.git(&["config", &format!("filter.low.{key}"), value]);
    }
    yard.write(
        ".gitattributes",
        "*.low filter=low -text\n*.id ident\n*.crlf text eol=crlf\n*.auto text=auto\n*.wide text working-tree-encoding=UTF-16\n",
    );
    yard.write("a.low", "shouted in the repository\n");
    yard.write("a.id", "$Id$\n");
    yard.write("a.crlf", "one\r\ntwo\r\n");
    yard.write("a.auto", "one\ntwo\n");
    let wide: Vec<u8> = "\u{feff}wide\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(yard.repo.join("a.wide"), &wide).expect("written");
    yard.git(&["config", "core.autocrlf", "true"]);
    check(&yard);
    let copy = yard.path().join("trees/copy");
    let read = |name: &str| std::fs::read(copy.join(name)).expect("content");
    assert!(read("a.id").starts_with(b"$Id: "));
    assert_eq!(read("a.crlf"), b"one\r\ntwo\r\n");
    assert_eq!(read("a.low"), b"shouted in the repository\n");
    assert_eq!(yard.git(&["cat-file", "blob", "HEAD:a.low"]), "SHOUTED IN THE REPOSITORY");
}

#[test]
fn submodules_have_their_empty_folders() {
    let yard = Yard::new();
    let inner = Yard::new();
    let from = inner.repo.to_str().expect("text");
    yard.git(&["submodule", "--quiet", "add", from, "deep/inner"]);
    check(&yard);
    let inner = yard.path().join("trees/copy/deep/inner");
    assert_eq!(std::fs::read_dir(inner).expect("a folder").count(), 0);
}

/// Folders of which a sparse checkout leaves some out.
fn sparse(set: &[&str]) {
    let yard = Yard::new();
    for path in ["in/a", "in/deep/b", "out/c", "out/deep/d", "out.txt/e"] {
        yard.write(path, path);
    }
    yard.commit("all");
    yard.git(&[&["sparse-checkout", "set"], set].concat());
    check(&yard);
    assert!(!yard.path().join("trees/copy/out").exists());
    assert!(yard.path().join("trees/copy/in/deep/b").exists());
}

#[test]
fn sparse_checkouts_with_a_cone() {
    sparse(&["--cone", "in"]);
}

#[test]
fn sparse_checkouts_with_a_sparse_index() {
    sparse(&["--cone", "--sparse-index", "in"]);
}

#[test]
fn sparse_checkouts_with_patterns() {
    sparse(&["--no-cone", "/*", "!/out/", "!e"]);
}

#[test]
fn names_of_any_bytes() {
    let yard = Yard::new();
    let long = "n".repeat(255);
    let deep = "deep/".repeat(60) + "file";
    let names: [&[u8]; 22] = [
        b"\xff\xfe",
        b"two\nlines",
        b"tab\there",
        b"-rf",
        b"--",
        b"case",
        b"CASE",
        b"Case/file",
        b" lead and trail ",
        b"quote\"'`$(x)\\",
        b"*?[",
        b"same/x",
        b"same-x",
        b"same.x",
        b"same0/y",
        b"e\xcc\x81",
        b"\xc3\xa9",
        b"...",
        b".hidden/..x",
        b"gi~1",
        long.as_bytes(),
        deep.as_bytes(),
    ];
    for name in names {
        let path = yard.repo.join(OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, name).expect("written");
        let link = yard
            .repo
            .join(OsString::from_vec([name.split(|b| *b == b'/').next().expect("one"), b".l"].concat()));
        if name.len() < 250 {
            let _twice = std::os::unix::fs::symlink(OsStr::from_bytes(name), link);
        }
    }
    check(&yard);
}

#[test]
#[ignore = "a minute in a debug build: cargo test --test integration -- --ignored thirty_thousand --nocapture"]
fn thirty_thousand_files_are_the_same_and_what_it_takes() {
    let yard = Yard::new();
    for number in 0..30_000_u32 {
        let folder = number.wrapping_mul(2_654_435_761) % 13_000;
        let path = format!("d{}/e{}/f{folder}/{number}.txt", folder % 20, folder % 300);
        yard.write(&path, &format!("{number}\n").repeat(1 + (folder % 400) as usize));
    }
    let commit = yard.commit("all");
    let made = template(&yard, &commit);
    let begun = Instant::now();
    let plain = add(&yard, "plain", &commit, &[]);
    println!("git worktree add: {} ms", begun.elapsed().as_millis());
    let (copy, copied) = try_copy(&yard, &made, "copy", &commit, &CancellationToken::new());
    println!("{:?}", copied.expect("it is copied"));
    let begun = Instant::now();
    assert_eq!(verify(&copy.tree, &copy.index(), 40, None, &Pace::full()).expect("it is looked at"), []);
    println!("verify: {} ms", begun.elapsed().as_millis());
    assert_same(&yard, &copy, &plain);
}
