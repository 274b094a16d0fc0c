//! Whatever was done in a lane: closed and brought back it is the same, at once and from the archive.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::e2e::Scene;
use crate::support::state::State;

/// Cases in the suite; `LANES_TEST_CASES` asks for more.
const CASES: u32 = 8;

/// The paths that steps are about: files and folders of the first commit, and new ones, some of them below
/// a path that is a file at other times.
const PATHS: [&str; 12] = [
    "a.txt",
    "sub/b.txt",
    "sub",
    "new",
    "new/deeper/file",
    "run.sh",
    "link",
    "with space",
    "ünï\n",
    "-x",
    "sub/c",
    "empty",
];

#[derive(Clone, Debug)]
enum Step {
    Write(usize, Vec<u8>),
    Remove(usize),
    Mode(usize, u32),
    Link(usize, String),
    Folder(usize),
    Rename(usize, usize),
    Git(&'static [&'static str]),
    GitPath(&'static [&'static str], usize),
}

/// What git is asked to do; whether it agrees does not matter.
const CALLS: [&[&str]; 12] = [
    &["add", "-A"],
    &["commit", "-qm", "a step"],
    &["commit", "-q", "--allow-empty", "-m", "empty"],
    &["commit", "-qam", "all"],
    &["reset", "-q", "--soft", "HEAD~1"],
    &["reset", "-q", "--hard", "HEAD~1"],
    &["checkout", "-q", "--detach"],
    &["checkout", "-q", "-b", "topic"],
    &["merge", "-q", "side"],
    &["rebase", "-q", "side"],
    &["cherry-pick", "side"],
    &["update-index", "--refresh"],
];

const PATH_CALLS: [&[&str]; 6] = [
    &["add"],
    &["add", "-N"],
    &["rm", "-rq", "--cached"],
    &["update-index", "--assume-unchanged"],
    &["update-index", "--skip-worktree"],
    &["checkout", "-q", "HEAD"],
];

fn step() -> impl Strategy<Value = Step> {
    let path = || 0..PATHS.len();
    let content = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..40),
        2 => Just(b"one\r\ntwo\nthree\r\n".to_vec()),
        1 => Just(vec![0; 100_000]),
        1 => (0_u8..3).prop_map(|byte| vec![byte; 3000]),
    ];
    prop_oneof![
        6 => (path(), content).prop_map(|(at, bytes)| Step::Write(at, bytes)),
        2 => path().prop_map(Step::Remove),
        2 => (path(), prop_oneof![Just(0o644), Just(0o755), Just(0o600), Just(0o4711), Just(0o555)])
            .prop_map(|(at, mode)| Step::Mode(at, mode)),
        1 => (path(), prop_oneof![Just("a.txt".to_owned()), Just("/nonexistent/\u{e9}".to_owned()), Just(".".to_owned())])
            .prop_map(|(at, target)| Step::Link(at, target)),
        1 => path().prop_map(Step::Folder),
        1 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        5 => prop::sample::select(&CALLS[..]).prop_map(Step::Git),
        4 => (prop::sample::select(&PATH_CALLS[..]), path()).prop_map(|(call, at)| Step::GitPath(call, at)),
    ]
}

/// Does a step, if it can be done.
fn act(scene: &Scene, tree: &Path, step: &Step) {
    let at = |at: &usize| tree.join(PATHS[*at]);
    let _may_be_impossible = match step {
        Step::Write(path, bytes) => {
            let path = at(path);
            path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, bytes))
        }
        Step::Remove(path) => fs::remove_file(at(path)).or_else(|_| fs::remove_dir_all(at(path))),
        Step::Mode(path, mode) => match at(path).symlink_metadata() {
            Ok(facts) if !facts.is_symlink() => {
                fs::set_permissions(at(path), PermissionsExt::from_mode(*mode))
            }
            Ok(_) | Err(_) => Ok(()),
        },
        Step::Link(path, target) => std::os::unix::fs::symlink(target, at(path)),
        Step::Folder(path) => fs::create_dir_all(at(path)),
        Step::Rename(from, to) => fs::rename(at(from), at(to)),
        Step::Git(call) => {
            let _refused = scene.try_git(tree, call);
            Ok(())
        }
        Step::GitPath(call, path) => {
            let mut words = call.to_vec();
            words.extend(["--", PATHS[*path]]);
            let _refused = scene.try_git(tree, &words);
            Ok(())
        }
    };
}

#[test]
fn what_was_done_in_a_lane_is_there_again() {
    let mut scene = Scene::new();
    scene.set("GIT_OPTIONAL_LOCKS", "0");
    scene.write("run.sh", "#!/bin/sh\n");
    fs::set_permissions(scene.repo().join("run.sh"), PermissionsExt::from_mode(0o755)).expect("a mode");
    std::os::unix::fs::symlink("a.txt", scene.repo().join("link")).expect("a link");
    scene.commit("more");
    scene.git(&["checkout", "-q", "-b", "side"]);
    scene.write("a.txt", "of the side\n");
    scene.write("sub/b.txt", "b\r\n");
    scene.commit("aside");
    scene.git(&["checkout", "-q", "main"]);
    let cases = std::env::var("LANES_TEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 60, ..Config::default() };
    let count = Cell::new(0);
    let strategy = (prop::collection::vec(step(), 1..25), any::<bool>(), any::<bool>());
    let outcome = TestRunner::new(config).run(&strategy, |(steps, wait, collect)| {
        count.set(count.get() + 1);
        let name = format!("case{}", count.get());
        let lane = scene.create(&name);
        for step in &steps {
            act(&scene, &lane.path, step);
        }
        let before = State::of(&scene, &lane.path);
        let mut id = lane.id;
        for _again in 0..2 {
            scene.ok(&["cleanup", &name]);
            if wait {
                let saved = scene.saved(&id);
                prop_assert_eq!(&saved["state"], "archived", "{}", saved);
            }
            if collect {
                scene.git(&["gc", "-q", "--prune=now"]);
            }
            let back = scene.restore(&[&name]);
            before.same(&State::of(&scene, &back.path));
            id = back.id;
        }
        scene.ok(&["cleanup", &name]);
        scene.ok(&["trash", "empty", "--yes"]);
        // A branch of the steps would be in the way of the next ones.
        let _there_or_not = scene.try_git(&scene.repo(), &["branch", "-q", "-D", "topic"]);
        Ok(())
    });
    eprintln!("{} lanes closed and brought back twice", count.get());
    outcome.expect("the same before and after");
}
