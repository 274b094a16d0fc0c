//! Random trees with random histories: a copy is the same as a plain `git worktree add`, and an edit is seen.
//!
//! `LANES_TEST_CASES=1000 cargo test --test integration -- copy_random --nocapture` for longer.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use lanes::worktree::{Pace, copy_tree, verify};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio_util::sync::CancellationToken;

use crate::support::copied::{add, assert_same, job, template};
use crate::support::git::Yard;

/// Each takes about a second in a debug build.
const CASES: u32 = 12;

/// What one commit does to one path.
#[derive(Clone, Debug)]
enum Step {
    File { path: String, size: usize, executable: bool },
    Link { path: String, target: String },
    Remove { path: String },
    Attributes { line: &'static str },
}

/// A repository and which of its commits is copied.
#[derive(Clone, Debug)]
struct Case {
    history: Vec<Vec<Step>>,
    commit: usize,
    config: Vec<(&'static str, &'static str)>,
    sha256: bool,
    threads: usize,
    edited: usize,
}

/// Few names, so that paths meet: files become folders, folders links.
fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "a.b", "a-b", "A", "\u{e9}", " x", "-n", "\n", "z.crlf"]);
    prop::collection::vec(name, 1..5).prop_map(|names| names.join("/"))
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => 0..200_usize, 1 => 4_000..70_000_usize];
    let attributes = vec!["*.crlf text eol=crlf", "* text=auto", "a ident", "* filter=low", "a* -text"];
    prop_oneof![
        8 => (path(), size, any::<bool>()).prop_map(|(path, size, executable)| Step::File { path, size, executable }),
        2 => (path(), path()).prop_map(|(path, target)| Step::Link { path, target }),
        2 => path().prop_map(|path| Step::Remove { path }),
        1 => prop::sample::select(attributes).prop_map(|line| Step::Attributes { line }),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let settings = vec![
        ("index.version", "4"),
        ("index.skipHash", "true"),
        ("core.untrackedCache", "true"),
        ("core.autocrlf", "true"),
        ("core.fileMode", "false"),
        ("core.symlinks", "false"),
        ("index.threads", "true"),
    ];
    let config = prop::sample::subsequence(settings, 0..4);
    let history = prop::collection::vec(prop::collection::vec(step(), 1..12), 1..4);
    (history, any::<prop::sample::Index>(), config, any::<bool>(), 1..4_usize, any::<prop::sample::Index>())
        .prop_map(|(history, commit, config, sha256, threads, edited)| Case {
            commit: commit.index(history.len()),
            history,
            config,
            sha256,
            threads,
            edited: edited.index(1 << 16),
        })
}

fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(facts) if facts.is_dir() => fs::remove_dir_all(path).expect("removed"),
        Ok(_file) => fs::remove_file(path).expect("removed"),
        Err(_not_there) => {}
    }
}

/// Makes room for a path: what is in the way goes.
fn make_way(repo: &Path, path: &str) {
    let mut at = repo.to_path_buf();
    for name in Path::new(path).parent().expect("relative") {
        at.push(name);
        if !fs::symlink_metadata(&at).is_ok_and(|facts| facts.is_dir()) {
            remove(&at);
            fs::create_dir(&at).expect("a folder");
        }
    }
    remove(&repo.join(path));
}

fn take(repo: &Path, step: &Step) {
    match step {
        Step::File { path, size, executable } => {
            make_way(repo, path);
            let line = format!("$Id$ {path:?} {size}\n");
            let text: String = line.chars().cycle().take(*size).collect();
            fs::write(repo.join(path), text).expect("written");
            let mode = if *executable { 0o755 } else { 0o644 };
            fs::set_permissions(repo.join(path), fs::Permissions::from_mode(mode)).expect("permissions");
        }
        Step::Link { path, target } => {
            make_way(repo, path);
            symlink(target, repo.join(path)).expect("a link");
        }
        Step::Remove { path } => remove(&repo.join(path)),
        Step::Attributes { line } => fs::write(repo.join(".gitattributes"), line).expect("written"),
    }
}

fn run(case: &Case) {
    let init: &[&str] = if case.sha256 { &["--object-format=sha256"] } else { &[] };
    let yard = Yard::empty("repo", init);
    for (key, value) in case.config.iter().chain(&[
        ("filter.low.clean", "tr a-z A-Z"),
        ("filter.low.smudge", "tr A-Z a-z"),
        ("core.safecrlf", "false"),
    ]) {
        yard.git(&["config", key, value]);
    }
    let mut commits = Vec::new();
    for steps in &case.history {
        for step in steps {
            take(&yard.repo, step);
        }
        commits.push(yard.commit("more"));
    }
    let commit = &commits[case.commit];
    let made = template(&yard, commit);
    let copy = add(&yard, "copy", commit, &["--no-checkout"]);
    let mut job = job(&yard, &made, &copy);
    job.threads = case.threads;
    copy_tree(&job, &Pace::full(), &CancellationToken::new()).expect("it is copied");
    assert_same(&yard, &copy, &add(&yard, "plain", commit, &[]));
    let strange = || {
        let strange = verify(&copy.tree, &copy.index(), job.oid_len, None, &Pace::full());
        strange.expect("it is looked at")
    };
    assert_eq!(strange(), []);
    let paths = yard.git_in(&copy.tree, &["ls-files", "-z"]);
    let paths: Vec<&str> = paths.split_terminator('\0').collect();
    if !paths.is_empty() {
        let path = paths[case.edited % paths.len()];
        fs::remove_file(copy.tree.join(path)).expect("removed");
        fs::write(copy.tree.join(path), "edited").expect("written");
        let told: Vec<_> = strange().into_iter().map(|path| path.0).collect();
        assert_eq!(told, [path.as_bytes()]);
    }
}

#[test]
fn copies_of_random_histories_are_what_git_would_have_made() {
    let cases = std::env::var("LANES_TEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&case(), |case| {
        run(&case);
        Ok(())
    });
    if let Err(failed) = ran {
        panic!("{failed}");
    }
}
