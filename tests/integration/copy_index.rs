//! What real git wrote is read as it meant it, and git reads what we wrote.

use std::fs;
use std::path::{Path, PathBuf};

use lanes::worktree::index_file::{Entry, IndexFile};

use crate::support::git::Yard;

/// A repository with some files and this configuration.
fn yard(init: &[&str], config: &[(&str, &str)]) -> Yard {
    let yard = Yard::empty("repo", init);
    for (key, value) in config {
        yard.git(&["config", key, value]);
    }
    for path in ["a.txt", "sub/b.txt", "sub/deep/er/c", "sub.txt", "sub-x/d"] {
        yard.write(path, path);
    }
    yard.write(&format!("long/{}", "n".repeat(200)), "long");
    yard.commit("first");
    yard
}

fn index(yard: &Yard) -> PathBuf {
    yard.repo.join(".git/index")
}

fn read(yard: &Yard) -> IndexFile {
    let format = yard.git(&["rev-parse", "--show-object-format"]);
    let index = IndexFile::read(&index(yard), if format == "sha256" { 64 } else { 40 });
    index.expect("it is read")
}

/// As `git ls-files -s --sparse` prints it.
fn line(entry: Entry<'_>) -> String {
    let oid: String = entry.oid().iter().map(|byte| format!("{byte:02x}")).collect();
    let path = String::from_utf8_lossy(entry.path()).into_owned();
    format!("{:06o} {oid} {}\t{path}", entry.mode(), entry.stage())
}

/// Holds what we read against what git says, then has git read what we write.
#[track_caller]
fn check(yard: &Yard, version: u8) {
    let mut index = read(yard);
    let bytes = fs::read(self::index(yard)).expect("an index");
    assert_eq!(bytes[7], version);
    assert!(index.is_sound());
    let said = yard.git(&["ls-files", "-s", "-z", "--sparse"]);
    let said: Vec<&str> = said.split_terminator('\0').collect();
    assert_eq!(index.entries().map(line).collect::<Vec<_>>(), said);
    assert_eq!(index.sealed(), bytes, "what was not touched is the same");
    for number in 0..index.len() {
        let mut stat = index.entry(number).stat();
        stat.ino = stat.ino.wrapping_add(1);
        index.restamp(number, &stat);
        assert_eq!(index.entry(number).stat(), stat);
    }
    index.write(&self::index(yard)).expect("it is written");
    let again: Vec<String> = read(yard).entries().map(line).collect();
    assert_eq!(again, said);
    let fsck = yard.try_git(&yard.repo, &["fsck", "--strict", "--no-dangling"]);
    assert!(fsck.status.success(), "{fsck:?}");
    assert_eq!(String::from_utf8_lossy(&fsck.stderr), "");
    assert_eq!(yard.git(&["status", "--porcelain"]), "");
}

#[test]
fn indexes_of_every_version_and_format() {
    check(&yard(&[], &[]), 2);
    check(&yard(&[], &[("index.version", "4")]), 4);
    check(&yard(&["--object-format=sha256"], &[]), 2);
    check(&yard(&["--object-format=sha256"], &[("index.version", "4")]), 4);
    check(&yard(&[], &[("index.threads", "true"), ("feature.manyFiles", "true")]), 4);
}

#[test]
fn an_index_without_a_checksum_stays_without() {
    let yard = yard(&[], &[("index.skipHash", "true")]);
    yard.git(&["update-index", "--force-write-index"]);
    let bytes = fs::read(index(&yard)).expect("an index");
    assert!(bytes.ends_with(&[0; 20]));
    check(&yard, 2);
    assert!(fs::read(index(&yard)).expect("an index").ends_with(&[0; 20]));
}

#[test]
fn flags_are_told_apart() {
    let yard = yard(&[], &[]);
    yard.git(&["update-index", "--skip-worktree", "a.txt"]);
    yard.git(&["update-index", "--assume-unchanged", "sub.txt"]);
    check(&yard, 3);
    yard.write("new", "x");
    yard.git(&["add", "--intent-to-add", "new"]);
    let index = read(&yard);
    let named = |is: fn(&Entry<'_>) -> bool| -> Vec<String> {
        let entries = index.entries().filter(is);
        entries.map(|entry| String::from_utf8_lossy(entry.path()).into_owned()).collect()
    };
    assert_eq!(named(|entry| entry.is_skipped()), ["a.txt"]);
    assert_eq!(named(|entry| entry.is_assumed_valid()), ["sub.txt"]);
    assert_eq!(named(|entry| entry.is_intent_to_add()), ["new"]);
    assert!(!named(|entry| entry.is_in_tree()).contains(&"a.txt".to_owned()));
}

#[test]
fn the_sides_of_a_conflict_are_stages() {
    let yard = yard(&[], &[]);
    for (branch, text) in [("one", "1"), ("two", "2")] {
        yard.git(&["checkout", "-q", "-b", branch, "main"]);
        yard.write("a.txt", text);
        yard.commit(branch);
    }
    assert!(!yard.try_git(&yard.repo, &["merge", "one"]).status.success());
    let index = read(&yard);
    let sides: Vec<u16> = index.entries().filter(|e| e.path() == b"a.txt").map(|e| e.stage()).collect();
    assert_eq!(sides, [1, 2, 3]);
}

#[test]
fn a_sparse_index_keeps_its_folders() {
    let yard = yard(&[], &[]);
    yard.git(&["config", "advice.sparseIndexExpanded", "false"]);
    yard.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "long"]);
    let index = read(&yard);
    let folders: Vec<_> = index.entries().filter(|entry| entry.mode() == 0o040_000).collect();
    assert!(folders.iter().any(|entry| entry.path() == b"sub/"));
    assert!(folders.iter().all(|entry| !entry.is_in_tree()));
    check(&yard, 3);
}

#[test]
fn a_split_index_is_refused() {
    let yard = yard(&[], &[]);
    yard.git(&["update-index", "--split-index"]);
    let error = IndexFile::read(&index(&yard), 40).expect_err("it is split");
    assert!(error.to_string().contains("split index"), "{error}");
}

#[test]
fn what_holds_for_one_tree_only_is_left_out() {
    let yard = yard(&[], &[("core.untrackedCache", "true"), ("index.threads", "true")]);
    yard.write("untracked", "x");
    yard.git(&["status"]);
    let has = |path: &Path| contains(&fs::read(path).expect("an index"), b"UNTR");
    assert!(has(&index(&yard)), "git keeps notes");
    let mut read = read(&yard);
    read.forget_tree();
    read.write(&index(&yard)).expect("it is written");
    assert!(!has(&index(&yard)));
    assert!(contains(&fs::read(index(&yard)).expect("an index"), b"TREE"));
    let said = yard.try_git(&yard.repo, &["status", "--porcelain"]);
    assert_eq!(String::from_utf8_lossy(&said.stderr), "");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "?? untracked\n");
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
