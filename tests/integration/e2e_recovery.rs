//! What a start finds and mends: trees that were replaced, retirements cut off, keepers ended by force.

use std::fs;

use lanes::worktree::{self, Git, GitConfig, RetireStep};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::e2e::Scene;
use crate::support::stage::until;

fn nothing_to_repair(scene: &Scene) {
    assert_eq!(scene.json(&["reconcile", "--dry-run"])["repairs"], json!([]));
}

#[test]
fn a_tree_that_was_replaced_closes_its_lane_and_its_place_is_left_alone() {
    let scene = Scene::new();
    let lane = scene.create("a");
    scene.sh("a", "echo mine > mine; git add mine; git commit -qm mine");
    let tip = scene.git(&["rev-parse", "lanes/a"]);
    scene.kill_daemon();
    fs::remove_dir_all(&lane.path).expect("removes");
    fs::create_dir(&lane.path).expect("makes");
    fs::write(lane.path.join("theirs"), "theirs\n").expect("writes");
    scene.ok(&["daemon", "start"]);
    until("it is closed", || scene.json(&["show", &lane.id])["lane"]["state"] == "closed");
    assert_eq!(fs::read_to_string(lane.path.join("theirs")).expect("reads"), "theirs\n");
    assert_eq!(scene.git(&["rev-parse", "lanes/a"]), tip, "it is not merged, so it stays");
    let shown = scene.lanes(&["show", &lane.id]);
    assert!(shown.stderr.contains("left alone"), "{shown:?}");
    until("it is saved", || scene.json(&["reconcile", "--dry-run"])["repairs"] == json!([]));
    assert!(scene.inventory().admin.is_empty());
}

#[test]
fn a_retirement_that_was_cut_off_is_finished_when_the_store_is_lost() {
    let scene = Scene::new();
    let lane = scene.create("a");
    fs::write(lane.path.join("work"), "mine\n").expect("writes");
    scene.ok(&["daemon", "stop"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let git = Git::find(GitConfig::default()).await.expect("git");
        let repo = worktree::discover(&git, &scene.repo()).await.expect("a repository");
        let (order, _admin, _path) = worktree::owned_trees(&repo).pop().expect("a lane");
        let tree = worktree::found_tree(&repo, &order).expect("its tree");
        worktree::retire_until(&git, &repo, &order, &tree, RetireStep::Tree).await.expect("retires");
    });
    for file in ["lanes.db", "lanes.db-wal", "lanes.db-shm"] {
        let _not_there = fs::remove_file(scene.home().join(file));
    }
    scene.ok(&["daemon", "start"]);
    until("it is finished and saved", || {
        let trash = scene.json(&["trash", "ls"])["trash"].clone();
        trash[0]["saved"]["state"] == "archived"
    });
    scene.nothing_open();
    nothing_to_repair(&scene);
    let back = scene.restore(&["a"]);
    assert_eq!(fs::read_to_string(back.path.join("work")).expect("reads"), "mine\n");
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
}

#[test]
fn what_lingers_below_a_keeper_that_is_killed_is_swept() {
    let scene = Scene::new();
    scene.create("a");
    let said = scene.ok(&["exec", "a", "--", "sh", "-c", "setsid sleep 300 >/dev/null 2>&1 & echo $!"]);
    let pid: u32 = said.trim().parse().expect("a pid");
    let shown = scene.json(&["show", "a"]);
    assert_eq!(shown["lane"]["tasks"][0]["state"], "lingering", "{shown}");
    let keeper = shown["lane"]["tasks"][0]["keeper_pid"].as_i64().expect("a pid");
    let keeper = Pid::from_raw(i32::try_from(keeper).expect("a pid")).expect("a pid");
    kill_process(keeper, Signal::KILL).expect("signals");
    until("nobody is left", || lanes::proc::process(pid).is_none_or(|one| one.is_dead()));
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
}

#[test]
fn a_repository_that_could_not_be_opened_at_the_start_is_taken_up_when_somebody_asks_in_it() {
    let scene = Scene::new();
    let lane = scene.create_with(&["create", "a", "--", "sleep", "300"]);
    let task = scene.json(&["show", "a"])["lane"]["tasks"][0]["pid"].clone();
    scene.ok(&["daemon", "stop"]);
    let away = scene.path().join("work-away");
    std::fs::rename(scene.path().join("work"), &away).expect("moves");
    let started = scene.lanes_in(scene.path(), &["daemon", "start"]);
    assert_eq!(started.code, Some(0), "{}", started.stderr);
    std::fs::rename(&away, scene.path().join("work")).expect("moves back");
    let shown = scene.json(&["show", "a"])["lane"].clone();
    assert_eq!((shown["id"].as_str(), shown["state"].as_str()), (Some(lane.id.as_str()), Some("running")));
    assert_eq!(shown["tasks"][0]["pid"], task);
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
}
