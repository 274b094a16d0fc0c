//! What somebody else does with git in the repository, at any time, loses nothing of a lane.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::support::e2e::Scene;
use crate::support::state::{State, work_in};

/// Lanes in each round; `LANES_TEST_LANES` asks for more.
const LANES: usize = 20;
/// Lanes that are worked in at a time.
const AT_ONCE: usize = 4;

/// What others do, all of it as hard as it can be done.
const CALLS: [&[&str]; 8] = [
    &["gc", "-q", "--prune=now"],
    &["worktree", "prune", "--expire=now"],
    &["repack", "-q", "-adf"],
    &["prune", "--expire=now"],
    &["pack-refs", "--all", "--prune"],
    &["reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all"],
    &["fetch", "-q", "--prune", "--prune-tags", "origin"],
    &["worktree", "repair"],
];

/// Does these calls over and over while `work` runs; returns how many succeeded. They let go of `turn` between
/// two calls: git itself loses what one program of it writes while another one prunes without a grace time.
fn beside(scene: &Scene, calls: &[&[&str]], turn: &Mutex<()>, work: impl FnOnce()) -> u64 {
    let (done, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for call in calls {
                    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                    // Two programs of git may get in each other's way, which each of them says.
                    let ran = scene.try_git(&scene.repo(), call);
                    count.fetch_add(u64::from(ran.code == Some(0)), Ordering::Relaxed);
                }
            }
        });
        // Also when it fails, or the others go on for ever.
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = worked {
            std::panic::resume_unwind(panic);
        }
    });
    count.into_inner()
}

/// Makes, closes and brings back lanes, a few at a time.
fn rounds(scene: &Scene, lanes: usize, turn: &Mutex<()>) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _worker in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= lanes as u64 {
                        return;
                    }
                    one(scene, &format!("l{at}"), at.is_multiple_of(2), turn);
                }
            });
        }
    });
}

fn one(scene: &Scene, name: &str, wait: bool, turn: &Mutex<()>) {
    let lane = scene.create(name);
    let held = {
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        work_in(scene, &lane)
    };
    let before = State::of(scene, &lane.path);
    scene.ok(&["cleanup", name]);
    if wait {
        let _saved = scene.saved(&lane.id);
    }
    let back = scene.restore(&[name]);
    for oid in &held {
        scene.git(&["cat-file", "-e", oid]);
    }
    before.same(&State::of(scene, &back.path));
    scene.ok(&["cleanup", name]);
}

#[test]
fn everything_that_collects_prunes_and_packs_in_a_loop_beside_twenty_lanes() {
    let mut scene = Scene::new();
    scene.set("GIT_OPTIONAL_LOCKS", "0");
    // What is said of HEAD's past is what the others remove.
    let origin = scene.path().join("work/origin.git");
    scene.git(&["clone", "-q", "--bare", ".", origin.to_str().expect("text")]);
    scene.git(&["remote", "add", "origin", origin.to_str().expect("text")]);
    scene.git(&["fetch", "-q", "origin"]);
    scene.git(&["config", "core.logAllRefUpdates", "false"]);
    let lanes = std::env::var("LANES_TEST_LANES").ok().and_then(|text| text.parse().ok()).unwrap_or(LANES);
    let turn = Mutex::new(());
    let calls = beside(&scene, &CALLS, &turn, || rounds(&scene, lanes, &turn));
    eprintln!("{calls} calls of git beside {lanes} lanes");
    scene.nothing_open();
    assert_eq!(scene.inventory().trash.len(), lanes);
    // With its saving every lane's pins are looked through once more.
    let trash = scene.json(&["trash", "ls"])["trash"].clone();
    for entry in trash.as_array().expect("a list") {
        let _saved = scene.saved(entry["id"].as_str().expect("an id"));
    }
    scene.git(&["fsck", "--no-progress", "--no-dangling"]);
    scene.git(&["gc", "-q", "--prune=now"]);
    for at in 0..lanes {
        let name = format!("l{at}");
        let back = scene.restore(&[&name]);
        assert_eq!(std::fs::read(back.path.join("new")).expect("back"), format!("of {name}\n").as_bytes());
        let staged = scene.git_in(&back.path, &["show", ":staged"]);
        assert_eq!(staged, format!("only in the index of {name}"));
        scene.ok(&["cleanup", &name]);
    }
    scene.ok(&["trash", "empty", "--yes"]);
    assert!(scene.has_only_spares());
}

#[test]
fn commits_that_only_a_reflog_holds_outlive_collection_beside_cleanup() {
    let scene = Scene::new();
    scene.git(&["config", "gc.reflogExpire", "never"]);
    scene.git(&["config", "gc.reflogExpireUnreachable", "never"]);
    let turn = Mutex::new(());
    let calls = beside(&scene, &CALLS[..5], &turn, || {
        for at in 0..6 {
            let name = format!("l{at}");
            let lane = scene.create(&name);
            let oid = {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                let message = format!("reset away in {name}");
                scene.git_in(&lane.path, &["commit", "-q", "--allow-empty", "-m", &message]);
                let oid = scene.git_in(&lane.path, &["rev-parse", "HEAD"]);
                scene.git_in(&lane.path, &["reset", "-q", "--hard", "HEAD~1"]);
                oid
            };
            scene.ok(&["cleanup", &name]);
            let back = scene.restore(&[&name]);
            assert_eq!(scene.git_in(&back.path, &["rev-parse", "HEAD@{1}"]), oid);
        }
    });
    eprintln!("{calls} calls of git beside 6 lanes");
    scene.ok(&["cleanup", "--all"]);
}

#[test]
fn a_vault_that_somebody_removed_by_force_is_made_again() {
    let scene = Scene::new();
    let lane = scene.create("a");
    let held = work_in(&scene, &lane);
    let before = State::of(&scene, &lane.path);
    scene.ok(&["cleanup", "a"]);
    let vault = scene.root().join(".vault");
    let path = vault.to_str().expect("text");
    // By a single force git refuses: it is locked.
    assert_ne!(scene.try_git(&scene.repo(), &["worktree", "remove", "--force", path]).code, Some(0));
    scene.git(&["worktree", "remove", "--force", "--force", path]);
    // The next cleanup, of any lane, pins everything again.
    let _other = scene.create("b");
    scene.ok(&["cleanup", "b"]);
    scene.git(&["gc", "-q", "--prune=now"]);
    for oid in &held {
        scene.git(&["cat-file", "-e", oid]);
    }
    before.same(&State::of(&scene, &scene.restore(&["a"]).path));
}

#[test]
fn what_a_collection_removed_all_the_same_is_put_back() {
    for by_cleanup in [true, false] {
        let scene = Scene::new();
        let lane = scene.create("a");
        let held = work_in(&scene, &lane);
        let before = State::of(&scene, &lane.path);
        scene.ok(&["cleanup", "a"]);
        let _saved = scene.saved(&lane.id);
        // As a collection leaves it that looked for the vault before it held them, and at the lane afterwards.
        let pointing = |entry: &std::fs::DirEntry| {
            std::fs::read_to_string(entry.path().join("gitdir")).is_ok_and(|text| text.contains(".vault"))
        };
        let mut entries = std::fs::read_dir(scene.repo().join(".git/worktrees")).expect("entries").flatten();
        let vault = entries.find(pointing).expect("the vault").path();
        let aside = scene.path().join("aside");
        std::fs::rename(&vault, &aside).expect("moved");
        scene.git(&["gc", "-q", "--prune=now"]);
        std::fs::create_dir_all(vault.parent().expect("a folder")).expect("made");
        std::fs::rename(&aside, &vault).expect("moved");
        for oid in &held[1..] {
            assert_ne!(scene.try_git(&scene.repo(), &["cat-file", "-e", oid]).code, Some(0), "it is gone");
        }
        if by_cleanup {
            let other = scene.create("b");
            scene.ok(&["cleanup", "b"]);
            let _saved = scene.saved(&other.id);
            scene.git(&["gc", "-q", "--prune=now"]);
            scene.git(&["fsck", "--no-progress", "--no-dangling"]);
        }
        before.same(&State::of(&scene, &scene.restore(&["a"]).path));
        for oid in &held {
            scene.git(&["cat-file", "-e", oid]);
        }
        scene.ok(&["cleanup", "a"]);
        scene.git(&["gc", "-q", "--prune=now"]);
        scene.git(&["fsck", "--no-progress", "--no-dangling"]);
    }
}
