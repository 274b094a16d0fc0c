//! However a lane was closed, it comes back as it was.

use crate::support::e2e::{Made, Scene};
use crate::support::git::write;
use crate::support::stage::until;
use crate::support::state::State;

/// A lane with a commit of its own, a staged, a changed and a new file.
fn lane(scene: &Scene, name: &str) -> Made {
    let lane = scene.create(name);
    work_in(scene, name);
    lane
}

fn work_in(scene: &Scene, name: &str) {
    scene.sh(name, "echo own > own; git add own; git commit -qm own; echo s > staged; git add staged; echo x >> a.txt; echo n > new");
}

#[test]
fn running_blocked_and_shared_lanes_come_back_without_their_tasks() {
    let scene = Scene::new();
    for (name, prepare, args) in [
        ("running", &[][..], &["cleanup", "running"][..]),
        ("blocked", &["block", "blocked", "--reason", "waits"][..], &["cleanup", "blocked"][..]),
        ("shared", &["share", "shared"][..], &["cleanup", "--force", "shared"][..]),
    ] {
        let made = lane(&scene, name);
        scene.ok(&["exec", name, "--detach", "--", "sh", "-c", "echo begun > begun; exec sleep 300"]);
        until("it has begun", || made.path.join("begun").exists());
        if !prepare.is_empty() {
            scene.ok(prepare);
        }
        let before = State::of(&scene, &made.path);
        scene.ok(args);
        assert!(scene.inventory().processes.is_empty());
        let back = scene.restore(&[name]);
        before.same(&State::of(&scene, &back.path));
        let shown = scene.json(&["show", name]);
        assert_eq!(shown["lane"]["state"], "ready", "{shown}");
        assert_eq!(shown["lane"]["restored_from"].as_str(), Some(made.id.as_str()), "{shown}");
    }
}

#[test]
fn a_lane_that_was_closed_while_it_was_made_comes_back() {
    let scene = Scene::new();
    let gate = scene.path().join("gate");
    let hook = scene.script(
        "post-create",
        &format!("#!/bin/sh\necho set-up > made\nwhile [ ! -e {} ]; do sleep 0.05; done\n", gate.display()),
    );
    scene.write("lanes.toml", &format!("[hooks]\npost_create = [\"{}\"]\n", hook.display()));
    scene.ok(&["trust", "--yes"]);
    let making = scene.start(&["create", "a"]);
    until("the hook runs", || scene.root().join("a/made").exists());
    let closing = scene.start(&["cleanup", "a"]);
    // Making it begins, then cleanup is asked for.
    until("it is asked for", || scene.events("lane.state.changed").len() >= 2);
    write(&gate, "");
    for child in [making, closing] {
        let _one_of_them_is_refused = child.wait_with_output().expect("ends");
    }
    scene.nothing_open();
    let back = scene.restore(&["a"]);
    assert_eq!(std::fs::read(back.path.join("made")).expect("back"), b"set-up\n");
    assert_eq!(scene.git_in(&back.path, &["status", "--porcelain"]), "?? made");
}

#[test]
fn merged_lanes_come_back_on_their_deleted_branch() {
    let scene = Scene::new();
    let made = scene.create("a");
    scene.sh("a", "echo own > own; git add own; git commit -qm own");
    scene.git(&["config", "branch.lanes/a.description", "mine"]);
    scene.git(&["merge", "-q", "--no-ff", "-m", "merged", "lanes/a"]);
    let before = State::of(&scene, &made.path);
    scene.ok(&["cleanup", "--merged"]);
    assert!(!scene.inventory().branches.contains("lanes/a"));
    let _saved = scene.saved(&made.id);
    let back = scene.restore(&["a"]);
    before.same(&State::of(&scene, &back.path));
    assert_eq!(scene.git(&["config", "branch.lanes/a.description"]), "mine");
    assert_eq!(scene.git(&["reflog", "show", "--format=%gs", "lanes/a"]).lines().count(), 2);
}

#[test]
fn a_lane_that_the_start_closed_as_its_tree_was_gone_has_its_commits() {
    let scene = Scene::new();
    let made = lane(&scene, "a");
    let head = scene.git_in(&made.path, &["rev-parse", "HEAD"]);
    scene.ok(&["daemon", "stop"]);
    std::fs::remove_dir_all(&made.path).expect("removed");
    scene.ok(&["daemon", "start"]);
    until("it is closed", || scene.json(&["show", &made.id])["lane"]["state"] == "closed");
    assert!(scene.ok(&["trash", "ls"]).contains("its files had been removed before"));
    scene.git(&["gc", "-q", "--prune=now"]);
    let reply = scene.json(&["restore", "a"]);
    assert!(reply["notes"].to_string().contains("only what was committed is left"), "{reply}");
    assert_eq!(scene.git_in(&made.path, &["rev-parse", "HEAD"]), head);
    // What was staged is in the index, and can be had from there.
    scene.git_in(&made.path, &["checkout", "-q", "."]);
    assert_eq!(std::fs::read(made.path.join("staged")).expect("back"), b"s\n");
}

#[test]
fn once_brought_back_it_is_not_in_the_trash_any_more() {
    let scene = Scene::new();
    let made = lane(&scene, "a");
    scene.ok(&["cleanup", "a"]);
    let both: Vec<_> = (0..2).map(|_| scene.start(&["--json", "restore", &made.id])).collect();
    let codes: Vec<_> =
        both.into_iter().map(|child| child.wait_with_output().expect("ends").status.code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    let error = scene.fails(&["restore", &made.id, "--name", "b"], 4, "LANE_NOT_FOUND");
    assert!(error["hint"].to_string().contains("lanes trash ls"), "{error}");
    assert_eq!(scene.inventory().trees.len(), 1);
    assert_eq!(std::fs::read(made.path.join("new")).expect("back"), b"n\n");
}

#[test]
fn a_lane_comes_back_after_its_base_was_pushed_away_and_collected() {
    for wait in [false, true] {
        let scene = Scene::new();
        scene.write("a.txt", "only on the old main\n");
        let base = scene.commit("old main");
        let made = lane(&scene, "a");
        let before = State::of(&scene, &made.path);
        scene.ok(&["cleanup", "a"]);
        if wait {
            let _saved = scene.saved(&made.id);
        }
        scene.git(&["branch", "-q", "-D", "lanes/a"]);
        scene.git(&["reset", "-q", "--hard", "HEAD~1"]);
        scene.git(&["commit", "-q", "--amend", "-m", "new main"]);
        scene.git(&["reflog", "expire", "--expire=now", "--all"]);
        scene.git(&["gc", "-q", "--prune=now"]);
        let back = scene.restore(&["a"]);
        before.same(&State::of(&scene, &back.path));
        scene.git_in(&back.path, &["cat-file", "-e", &base]);
        assert_eq!(scene.sh("a", "git log --format=%s").lines().count(), 3);
        assert!(scene.json(&["ls"])["lanes"][0]["state"] == "ready");
        scene.ok(&["cleanup", "a"]);
        before.same(&State::of(&scene, &scene.restore(&["a"]).path));
    }
}

#[test]
fn a_cleanup_that_freed_half_of_a_tree_is_finished_by_the_next_start() {
    let scene = Scene::new();
    let made = lane(&scene, "a");
    let before = State::of(&scene, &made.path);
    scene.ok(&["cleanup", "a"]);
    assert_eq!(scene.saved(&made.id)["state"], "archived");
    let tree = scene.root().join(".trash").join(&made.id).join("tree");
    until("it is freed", || !tree.exists());
    scene.ok(&["daemon", "stop"]);
    // As a crash in the middle of freeing leaves it.
    write(&tree.join("sub/b.txt"), "half\n");
    scene.ok(&["daemon", "start"]);
    until("it is freed", || !tree.exists());
    before.same(&State::of(&scene, &scene.restore(&["a"]).path));
}
