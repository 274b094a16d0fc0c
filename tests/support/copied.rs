//! A template and a copy of it, as the provisioner makes them, beside a plain `git worktree add`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use lanes::worktree::{Copied, CopyJob, Pace, WorktreeError, copy_tree};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use tokio_util::sync::CancellationToken;

use super::git::Yard;

/// A linked worktree and its admin directory.
#[derive(Clone, Debug)]
pub struct Linked {
    pub tree: PathBuf,
    pub admin: PathBuf,
}

impl Linked {
    pub fn index(&self) -> PathBuf {
        self.admin.join("index")
    }
}

/// `git worktree add` of a commit, with more arguments.
pub fn add(yard: &Yard, name: &str, commit: &str, args: &[&str]) -> Linked {
    let tree = yard.path().join("trees").join(name);
    let mut words: Vec<OsString> = ["worktree", "add", "-q", "--detach"].map(OsString::from).to_vec();
    words.extend(args.iter().map(OsString::from));
    words.extend([tree.clone().into(), commit.into()]);
    yard.git(&words);
    let admin = yard.git_in(&tree, &["rev-parse", "--absolute-git-dir"]);
    Linked { tree, admin: PathBuf::from(admin) }
}

/// A tree as a template is: old enough that lstat says of every file whether it changed.
pub fn template(yard: &Yard, commit: &str) -> Linked {
    let made = add(yard, "template", commit, &[]);
    settle(yard, &made);
    made
}

/// Makes all files older than their index, and has git look at them once more: as when it did so later.
pub fn settle(yard: &Yard, made: &Linked) {
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(100);
    let since = then.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let time = Timespec { tv_sec: since.as_secs().try_into().expect("in range"), tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: time, last_modification: time };
    for path in look(&made.tree).keys() {
        let path = made.tree.join(path);
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("a time");
    }
    yard.git_in(&made.tree, &["update-index", "-q", "--refresh"]);
}

/// A worktree without files, made into a copy of the template.
pub fn copy(yard: &Yard, template: &Linked, name: &str, commit: &str) -> Linked {
    let (made, copied) = try_copy(yard, template, name, commit, &CancellationToken::new());
    let _copied = copied.expect("it is copied");
    made
}

/// The same, when it may fail.
pub fn try_copy(
    yard: &Yard,
    template: &Linked,
    name: &str,
    commit: &str,
    cancel: &CancellationToken,
) -> (Linked, Result<Copied, WorktreeError>) {
    let made = add(yard, name, commit, &["--no-checkout"]);
    let copied = copy_tree(&job(yard, template, &made), &Pace::full(), cancel);
    (made, copied)
}

pub fn job(yard: &Yard, from: &Linked, to: &Linked) -> CopyJob {
    let format = yard.git(&["rev-parse", "--show-object-format"]);
    CopyJob {
        from: from.tree.clone(),
        from_index: from.index(),
        to: to.tree.clone(),
        to_index: to.index(),
        oid_len: if format == "sha256" { 64 } else { 40 },
        threads: 2,
    }
}

/// What a tree looks like: for each path its mode, and its content or target.
pub fn look(tree: &Path) -> BTreeMap<OsString, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![tree.to_path_buf()];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(tree).expect("below");
            if name == Path::new(".git") {
                continue;
            }
            let facts = std::fs::symlink_metadata(&path).expect("facts");
            let content = match facts.file_type() {
                kind if kind.is_dir() => Vec::new(),
                kind if kind.is_symlink() => {
                    std::fs::read_link(&path).expect("a target").into_os_string().into_vec()
                }
                _file => std::fs::read(&path).expect("content"),
            };
            if facts.is_dir() {
                left.push(path.clone());
            }
            found.insert(name.as_os_str().to_owned(), (facts.permissions().mode(), content));
        }
    }
    found
}

/// Holds a copy against a plain `git worktree add` of the same commit: what git says, what lies there, and
/// that git opens no file of it to say so.
#[track_caller]
pub fn assert_same(yard: &Yard, copy: &Linked, plain: &Linked) {
    let stages = |made: &Linked| yard.git_in(&made.tree, &["ls-files", "-s", "-z", "--sparse"]);
    assert_eq!(stages(copy), stages(plain));
    let tags = |made: &Linked| yard.git_in(&made.tree, &["ls-files", "-t", "-z", "-v"]);
    assert_eq!(tags(copy), tags(plain));
    assert!(look(&copy.tree) == look(&plain.tree), "{:?}", differ(&copy.tree, &plain.tree));
    assert_eq!(yard.git_in(&copy.tree, &["fsck", "--strict", "--no-dangling"]), "");
    let is = |made: &Linked| {
        let facts = std::fs::metadata(made.index()).expect("an index");
        (facts.ino(), facts.modified().expect("a time"))
    };
    let before = is(copy);
    let (said, scanned) = traced_status(yard, &copy.tree);
    assert_eq!(said, status(yard, &plain.tree));
    assert_eq!(scanned, 0, "files whose content git had to compare");
    // An entry too young to trust is read as well, and then the index is written again.
    assert!(before == is(copy), "git has read files, and noted it");
}

/// The porcelain status.
pub fn status(yard: &Yard, tree: &Path) -> String {
    yard.git_in(tree, &STATUS)
}

/// Without the notes about untracked files that git would add to an index that has none.
const STATUS: [&str; 6] = ["-c", "core.untrackedCache=false", "status", "--porcelain", "-uall", "--ignored"];

/// The same, and how many files git compared because lstat was not enough.
pub fn traced_status(yard: &Yard, tree: &Path) -> (String, usize) {
    let trace = yard.path().join("trace");
    let mut command = std::process::Command::new("git");
    command.args(STATUS).current_dir(tree).env_clear().envs(yard.env()).env("GIT_TRACE2_EVENT", &trace);
    let output = command.output().expect("git starts");
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(&trace).expect("git writes what it does");
    std::fs::remove_file(trace).expect("removed");
    let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an event"));
    let scans: Vec<_> = events.filter(|event| event["key"] == "refresh/sum_scan").collect();
    assert!(!scans.is_empty(), "git says how many");
    let scanned = scans.iter().map(|event| event["value"].as_str().expect("a value").parse::<usize>());
    let scanned = scanned.map(|number| number.expect("a number")).sum();
    (String::from_utf8_lossy(&output.stdout).trim_end().to_owned(), scanned)
}

fn differ(one: &Path, two: &Path) -> Vec<OsString> {
    let (one, two) = (look(one), look(two));
    let paths = one.keys().chain(two.keys()).filter(|path| one.get(*path) != two.get(*path));
    paths.map(|path| OsString::from_vec(path.as_bytes().to_vec())).take(10).collect()
}
