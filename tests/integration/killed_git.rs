//! What a git leaves that was killed is in nobody's way; what a living one holds stays its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::e2e::{Made, Scene};
use crate::support::git::{executable, write};
use crate::support::stage::until;
use crate::support::state::{State, work_in};

/// Two lanes that were worked in, and all that nothing but them holds.
fn two_lanes(scene: &Scene) -> (Made, Made, Vec<String>) {
    let (first, second) = (scene.create("a"), scene.create("b"));
    let held = [&first, &second].iter().flat_map(|lane| work_in(scene, lane)).collect();
    (first, second, held)
}

/// Closes the second lane, has git collect, and finds all of both again.
fn closes_and_holds(scene: &Scene, second: &Made, held: &[String]) {
    let before = State::of(scene, &second.path);
    scene.ok(&["cleanup", "b"]);
    let _saved = scene.saved(&second.id);
    scene.git(&["gc", "-q", "--prune=now"]);
    for oid in held {
        scene.git(&["cat-file", "-e", oid]);
    }
    before.same(&State::of(scene, &scene.restore(&["b"]).path));
}

#[test]
fn a_lock_of_the_vault() {
    let scene = Scene::new();
    let (first, second, held) = two_lanes(&scene);
    scene.ok(&["cleanup", "a"]);
    let _saved = scene.saved(&first.id);
    let vault = scene.git_in(&scene.root().join(".vault"), &["rev-parse", "--absolute-git-dir"]);
    let lock = Path::new(&vault).join("HEAD.lock");
    write(&lock, "");
    closes_and_holds(&scene, &second, &held);
    assert!(!lock.exists());
}

#[test]
fn a_vault_that_is_half_made() {
    let scene = Scene::new();
    let (first, second, held) = two_lanes(&scene);
    let begun = scene.repo().join(".git/worktrees/-vault");
    std::fs::create_dir_all(&begun).expect("made");
    write(&begun.join("locked"), "lanes v");
    scene.ok(&["cleanup", "a"]);
    let _saved = scene.saved(&first.id);
    assert!(begun.join("HEAD").exists(), "it has the first name");
    for name in ["HEAD", "commondir"] {
        std::fs::remove_file(begun.join(name)).expect("removed");
    }
    closes_and_holds(&scene, &second, &held);
}

#[test]
fn a_vault_that_was_only_begun_goes_with_the_last_of_the_trash() {
    let scene = Scene::new();
    let lane = scene.create("a");
    let _held = work_in(&scene, &lane);
    scene.ok(&["cleanup", "a"]);
    let _saved = scene.saved(&lane.id);
    // Beside the one that is whole.
    let begun = scene.repo().join(".git/worktrees/-vault7");
    write(&begun.join("locked"), "lanes vault");
    scene.ok(&["trash", "empty", "--yes"]);
    assert!(!begun.exists() && !scene.root().join(".vault").exists());
}

/// The locks over the branch of lane `a` and over all packed refs, as git leaves them when it is killed.
fn plant_locks(scene: &Scene) -> [PathBuf; 2] {
    let git = scene.repo().join(".git");
    let locks = [git.join("refs/heads/lanes/a.lock"), git.join("packed-refs.lock")];
    for lock in &locks {
        write(lock, "");
    }
    locks
}

#[test]
fn locks_of_a_branch_that_is_made_deleted_and_brought_back() {
    let scene = Scene::new();
    let gone = |locks: [PathBuf; 2]| locks.iter().all(|lock| !lock.exists());
    let locks = plant_locks(&scene);
    let _lane = scene.create("a");
    assert!(!locks[0].exists());
    std::fs::remove_file(&locks[1]).expect("nobody needed it");
    // Deleting a packed branch needs both, and writes another file.
    scene.git(&["pack-refs", "--all"]);
    let locks = plant_locks(&scene);
    write(&scene.repo().join(".git/packed-refs.new"), "# pack-refs with:");
    scene.ok(&["cleanup", "a"]);
    assert!(gone(locks));
    assert_eq!(scene.inventory().branches, BTreeSet::from(["main".to_owned()]));
    let [branch, packed] = plant_locks(&scene);
    let back = scene.restore(&["a"]);
    assert_eq!(scene.git_in(&back.path, &["symbolic-ref", "HEAD"]), "refs/heads/lanes/a");
    assert!(!branch.exists());
    std::fs::remove_file(packed).expect("nobody needed it");
    scene.ok(&["cleanup", "a"]);
}

#[test]
fn a_lock_of_the_branch_of_a_lane_that_was_cut_off() {
    let scene = Scene::new();
    let slow = scene.slow_checkout();
    let making = scene.start(&["create", "a"]);
    until("the checkout waits", || slow.reached.exists());
    scene.kill_daemon();
    let output = making.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let locks = plant_locks(&scene);
    scene.ok(&["daemon", "start"]);
    until("the lane is closed", || scene.json(&["ls"])["lanes"] == serde_json::json!([]));
    assert_eq!(scene.inventory().branches, BTreeSet::from(["main".to_owned()]));
    assert!(locks.iter().all(|lock| !lock.exists()));
    scene.nothing_open();
}

#[test]
fn a_lock_that_a_living_git_holds_is_waited_for() {
    let scene = Scene::new();
    let lane = scene.create("a");
    let (reached, open) = (scene.path().join("tmp/reached"), scene.path().join("tmp/open"));
    let hook = scene.repo().join(".git/hooks/reference-transaction");
    let text = format!(
        "#!/bin/sh\ntest \"$1\" = prepared || exit 0\n: > '{}'\nwhile ! test -e '{}'; do sleep 0.05; done\n",
        reached.display(),
        open.display()
    );
    write(&hook, &text);
    executable(&hook);
    let head = scene.git(&["rev-parse", "HEAD"]);
    let mut holder = Command::new("git");
    let _args = holder.current_dir(scene.repo()).args(["update-ref", "refs/heads/lanes/a", &head, &head]);
    let mut holder = holder.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    until("it holds the lock", || reached.exists());
    let lock = scene.repo().join(".git/refs/heads/lanes/a.lock");
    let closing = scene.start(&["cleanup", &lane.name]);
    let begun = std::time::Instant::now();
    // Longer than a lock may stay that nobody holds.
    while begun.elapsed() < std::time::Duration::from_secs(3) {
        assert!(lock.exists(), "taken from its holder after {:?}", begun.elapsed());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    write(&open, "");
    assert!(holder.wait().expect("ends").success(), "it kept its lock");
    std::fs::remove_file(&hook).expect("removed");
    let output = closing.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(scene.inventory().branches, BTreeSet::from(["main".to_owned()]));
}
