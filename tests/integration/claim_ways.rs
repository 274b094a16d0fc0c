//! A lane's tree is the same whichever way it came: as `git worktree add` makes it.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use lanes::worktree::{Order, Tree, Way, admin_dir_of, probe};

use crate::support::git::Yard;
use crate::support::overlay::Unmounted;
use crate::support::spare::Stocked;
use crate::support::work::picture;

/// What a tree and its entry are, but for names, times and numbers that differ between any two.
#[derive(Debug, PartialEq, Eq)]
struct Looks {
    files: BTreeMap<Vec<u8>, (char, u32, Vec<u8>)>,
    top: u32,
    git: Vec<String>,
    entry: BTreeMap<String, (u32, Vec<u8>)>,
    branch_log: String,
}

/// What plain git says of a tree.
const CALLS: [&[&str]; 8] = [
    &["status", "--porcelain=v2", "--branch", "--ignored", "--untracked-files=all"],
    &["ls-files", "--stage"],
    &["ls-files", "-v"],
    &["diff", "--binary"],
    &["config", "--list", "--worktree"],
    &["rev-parse", "HEAD", "ORIG_HEAD"],
    &["fsck", "--no-progress", "--no-dangling"],
    &["sparse-checkout", "list"],
];

fn looks(stocked: &Stocked, order: &Order, tree: &Path) -> Looks {
    let yard = &stocked.yard;
    let name = &order.name;
    let plain = |text: &str| text.replace(&format!("lanes/{name}"), "lanes/NAME");
    let said = |args: &&[&str]| {
        let output = yard.try_git(tree, args);
        plain(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()))
    };
    let mut files = picture(tree);
    for (kind, _mode, content) in files.values_mut() {
        // Times are those of the template, or of the checkout.
        if *kind == 'f' {
            let end = content.iter().rposition(|byte| *byte == b'@').expect("a time");
            content.truncate(end);
        }
    }
    let admin = admin_dir_of(&stocked.repo, tree).expect("an entry");
    let log = stocked.repo.common_dir.join("logs/refs/heads").join(&order.branch.name);
    let branch_log = std::fs::read_to_string(log).map(|log| plain(&without_times(&log))).unwrap_or_default();
    Looks {
        files,
        top: std::fs::metadata(tree).expect("there").mode(),
        git: CALLS.iter().map(said).collect(),
        entry: entry(&admin, &plain, order),
        branch_log,
    }
}

fn entry(admin: &Path, plain: &dyn Fn(&str) -> String, order: &Order) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for path in below(admin) {
        let name = path.strip_prefix(admin).expect("below").to_str().expect("text").to_owned();
        // What is made for others has its index in one file.
        if name.starts_with("sharedindex.") {
            continue;
        }
        let meta = std::fs::metadata(&path).expect("there");
        let text = match name.as_str() {
            // By git, and as the calls say; our own.
            "index" | "lanes.json" | "COMMIT_EDITMSG" => Vec::new(),
            _folder if meta.is_dir() => Vec::new(),
            "gitdir" => {
                let text = std::fs::read(&path).expect("reads");
                assert_eq!(text, [order.path.as_bytes(), b"/.git\n"].concat());
                Vec::new()
            }
            "locked" => {
                let text = std::fs::read_to_string(&path).expect("reads");
                assert_eq!(text.trim_end(), order.lock_reason);
                // With a line end or without, as git takes both.
                Vec::new()
            }
            _text => plain(&without_times(&std::fs::read_to_string(&path).expect("reads"))).into_bytes(),
        };
        let _new = found.insert(name, (meta.mode(), text));
    }
    found
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}

/// A log without the seconds in it.
fn without_times(log: &str) -> String {
    let line = |line: &str| match line.split_once("> ") {
        Some((before, after)) => {
            let (_seconds, rest) = after.split_once(' ').expect("a time");
            format!("{before}> T {rest}\n")
        }
        None => format!("{line}\n"),
    };
    log.lines().map(line).collect()
}

/// Every shape that has to look the same.
fn shapes() -> Vec<(&'static str, Yard)> {
    let plain = Yard::new();
    let odd = Yard::with("a b\nü", &[]);
    for name in ["new\nline", "tab\there", "-dash", "quote\"", "sp ace/in side", "ünï/中"] {
        odd.write(name, name);
    }
    std::fs::write(odd.repo.join(std::ffi::OsStr::from_bytes(b"not\xffutf8")), "x").expect("written");
    odd.write("CASE", "1");
    odd.write("case", "2");
    std::os::unix::fs::symlink("nowhere/at all", odd.repo.join("dangling")).expect("links");
    std::os::unix::fs::symlink(".", odd.repo.join("loop")).expect("links");
    odd.write("run.sh", "#!/bin/sh\n");
    std::fs::set_permissions(odd.repo.join("run.sh"), PermissionsExt::from_mode(0o755)).expect("mode");
    odd.write("empty", "");
    let _commit = odd.commit("odd");
    let ends = Yard::new();
    ends.write(".gitattributes", "*.crlf text eol=crlf\n*.auto text=auto\n*.bin -text\n*.id ident\n*.u16 text working-tree-encoding=UTF-16\n");
    ends.write("a.crlf", "one\ntwo\n");
    ends.write("b.auto", "one\ntwo\n");
    ends.write("c.bin", "one\r\ntwo\n");
    ends.write("d.id", "$Id$\n");
    let _commit = ends.commit("ends");
    ends.git(&["config", "core.autocrlf", "true"]);
    let filtered = Yard::new();
    filtered.write(".gitattributes", "*.up filter=up\n");
    filtered.git(&["config", "filter.up.smudge", "tr a-z A-Z"]);
    filtered.git(&["config", "filter.up.clean", "tr A-Z a-z"]);
    filtered.git(&["config", "filter.up.required", "true"]);
    filtered.write("x.up", "text\n");
    let _commit = filtered.commit("filtered");
    let sparse = Yard::new();
    for name in ["in/one", "in/deep/two", "out/three", "out/deep/four"] {
        sparse.write(name, name);
    }
    let _commit = sparse.commit("much");
    sparse.git(&["sparse-checkout", "set", "--cone", "in"]);
    let sha256 = Yard::with("sha256", &["--object-format=sha256"]);
    let split = Yard::new();
    split.git(&["config", "core.splitIndex", "true"]);
    split.git(&["config", "core.untrackedCache", "true"]);
    let shared = Yard::with("shared", &["--shared=group"]);
    vec![
        ("plain", plain),
        ("odd names", odd),
        ("line ends", ends),
        ("filters", filtered),
        ("sparse", sparse),
        ("sha256", sha256),
        ("split index", split),
        ("shared", shared),
    ]
}

async fn plain_git(stocked: &Stocked, name: &str) -> (Order, PathBuf) {
    let order = stocked.order(name, None).await;
    let (path, reason) = (order.path.to_path_buf(), order.lock_reason.clone());
    let place = path.as_os_str().to_owned();
    let args: Vec<std::ffi::OsString> = [
        "worktree",
        "add",
        "-q",
        "--lock",
        "--reason",
        &reason,
        "--no-track",
        "-b",
        &order.branch.name,
        "--",
    ]
    .into_iter()
    .map(Into::into)
    .chain([place, order.base.sha.clone().into()])
    .collect();
    stocked.yard.git(&args);
    (order, path)
}

async fn by(stocked: &Stocked, name: &str, way: Way) -> (Order, Tree) {
    let order = stocked.order(name, None).await;
    let backend = way.name();
    let tree = stocked.make(&order, way).await.unwrap_or_else(|error| panic!("{backend}: {error}"));
    assert_eq!((tree.backend.as_str(), tree.notes.as_slice()), (backend, [].as_slice()));
    (order, tree)
}

#[track_caller]
fn assert_same(shape: &str, way: &str, one: &Looks, mut other: Looks) {
    // Only we have one; everything else is the same.
    let token = other.entry.remove("lanes.json");
    assert!(token.is_some_and(|(mode, _text)| mode & 0o777 == 0o600), "{shape} by {way}");
    assert_eq!(one, &other, "{shape} by {way}");
}

#[tokio::test]
async fn every_way_makes_what_git_makes() {
    for (shape, yard) in shapes() {
        let stocked = Stocked::of(yard).await;
        let (order, path) = plain_git(&stocked, "plain").await;
        let git = looks(&stocked, &order, &path);
        let (order, tree) = by(&stocked, "by-git", Way::Git).await;
        assert_same(shape, "git", &git, looks(&stocked, &order, tree.path.as_path()));
        let _mounts = Unmounted(stocked.yard.path());
        let template = stocked.template().await;
        let pooled = stocked.pooled_of(&template).await.expect("a pooled tree");
        // Where this user may mount.
        if probe(&stocked.root.path).is_ok() {
            let (order, tree) = by(&stocked, "by-overlay", Way::Overlay(template.clone())).await;
            assert_same(shape, "overlay", &git, looks(&stocked, &order, tree.path.as_path()));
        }
        let (order, tree) = by(&stocked, "by-copy", Way::Copy(template)).await;
        assert_same(shape, "copy", &git, looks(&stocked, &order, tree.path.as_path()));
        let (order, tree) = by(&stocked, "by-pool", Way::Pool(pooled)).await;
        assert_same(shape, "pool", &git, looks(&stocked, &order, tree.path.as_path()));
        assert_eq!((tree.dev, tree.ino), numbers(tree.path.as_path()));
    }
}

fn numbers(path: &Path) -> (u64, u64) {
    let meta = std::fs::metadata(path).expect("there");
    (meta.dev(), meta.ino())
}

/// `cargo test --release --test integration -- --ignored --nocapture what_a_claim_costs`
#[tokio::test]
#[ignore = "figures"]
async fn what_a_claim_costs() {
    const CLAIMS: usize = 1_000;
    let stocked = Stocked::new().await;
    let template = stocked.template().await;
    let mut micros = Vec::new();
    for number in 0..CLAIMS {
        let kept = stocked.pooled_of(&template).await.expect("a pooled tree");
        let order = stocked.order(&format!("n{number}"), None).await;
        let begun = std::time::Instant::now();
        lanes::worktree::claim(&stocked.git, &stocked.repo, &kept, &order).await.expect("claimed");
        micros.push(begun.elapsed().as_micros());
    }
    micros.sort_unstable();
    let at = |share: usize| micros[(CLAIMS - 1) * share / 100];
    println!("{CLAIMS} claims: p50 {} µs, p95 {} µs, p99 {} µs, max {} µs", at(50), at(95), at(99), at(100));
}
