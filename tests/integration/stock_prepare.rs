//! `pool.prepare`: what has run in a tree before it is handed out.

use std::fs;

use super::support::e2e::{Made, Scene};
use super::support::stage::until;

fn scene(prepare: &str) -> Scene {
    let scene = Scene::new();
    scene.write(".gitignore", "deps/\n");
    scene.write("Cargo.lock", "one\n");
    scene.write("lanes.toml", &format!("[pool]\nprepare = '{prepare}'\n"));
    scene.commit("with dependencies");
    scene.ok(&["trust", "--yes"]);
    scene
}

fn backend(scene: &Scene, made: &Made) -> String {
    let events = scene.events("lane.worktree.provisioned");
    let event = events.into_iter().find(|event| event["lane_id"] == made.id.as_str());
    event.expect("it was told")["payload"]["backend"].as_str().expect("a text").to_owned()
}

fn prepared(scene: &Scene) -> usize {
    scene.spares("pooled").iter().filter(|spare| spare["prepared"].is_string()).count()
}

#[test]
fn a_lane_has_its_dependencies_at_once() {
    let scene = scene("mkdir -p deps && cp Cargo.lock deps/resolved");
    scene.create("a");
    until("two trees are prepared", || prepared(&scene) >= 2);
    let made = scene.create("b");
    assert_eq!(backend(&scene, &made), "pool");
    assert_eq!(fs::read_to_string(made.path.join("deps/resolved")).expect("is there"), "one\n");
    assert_eq!(scene.git_in(&made.path, &["status", "--porcelain"]), "");
    let before: Vec<_> = scene.spares("pooled").iter().map(|spare| spare["prepared"].clone()).collect();
    // Other lock files: it runs again before a tree is used.
    scene.write("Cargo.lock", "two\n");
    let base = scene.commit("other dependencies");
    until("two trees are prepared for it", || {
        let all = scene.spares("pooled");
        let is_new = |spare: &&serde_json::Value| {
            spare["base"] == base.as_str()
                && spare["prepared"].is_string()
                && !before.contains(&spare["prepared"])
        };
        all.iter().filter(is_new).count() >= 2
    });
    let made = scene.create("c");
    assert_eq!(backend(&scene, &made), "pool");
    assert_eq!(fs::read_to_string(made.path.join("deps/resolved")).expect("is there"), "two\n");
}

#[test]
fn a_command_that_takes_its_time_is_no_orphan() {
    let scene = scene(
        "touch began; mv began deps 2>/dev/null; until test -e \"$LANES_HOME/go\"; do sleep 0.05; done",
    );
    scene.create("a");
    let keeper = || scene.processes().into_iter().find(|(_pid, line, _task)| line.contains("lanes-keeper"));
    until("it runs", || keeper().is_some());
    // A younger one is looked at by nobody.
    let begun = std::time::Instant::now();
    until("it is old enough", || begun.elapsed() > std::time::Duration::from_secs(6));
    for _cycle in 0..3 {
        assert_eq!(scene.json(&["orphans", "ls"])["orphans"], serde_json::json!([]));
    }
    assert!(keeper().is_some(), "it was there all the time");
    fs::write(scene.home().join("go"), "").expect("lets it go on");
}

#[test]
fn a_failed_command_is_said_and_its_trees_are_not_used() {
    let scene = scene("echo it is broken >&2; exit 3");
    scene.create("a");
    until("it is told", || !scene.events("lane.worktree.prepare_failed").is_empty());
    let reply = scene.json(&["create", "b"]);
    assert!(reply["notes"].to_string().contains("pool.prepare failed"), "{reply}");
    assert!(reply["notes"].to_string().contains("it is broken"), "{reply}");
    assert_ne!(backend(&scene, &scene.made("b")), "pool");
    assert_eq!(scene.events("lane.worktree.prepare_failed").len(), 1, "it is not tried again");
    scene.write("Cargo.lock", "two\n");
    scene.commit("other dependencies");
    until("it is tried again", || scene.events("lane.worktree.prepare_failed").len() == 2);
}

#[test]
fn a_command_that_leaves_more_than_ignored_files_is_said() {
    let scene = scene("echo more > untracked.txt");
    scene.create("a");
    until("it is told", || !scene.events("lane.worktree.prepare_failed").is_empty());
    assert_eq!(prepared(&scene), 0);
    let made = scene.create("b");
    assert!(!made.path.join("untracked.txt").exists());
}

#[test]
fn a_runtime_that_stops_ends_the_command() {
    let scene = scene("touch \"$LANES_HOME/began\" && sleep 600");
    scene.create("a");
    until("it runs", || scene.home().join("began").exists());
    let begun = std::time::Instant::now();
    assert_eq!(scene.stop(), Vec::<String>::new());
    assert!(begun.elapsed().as_secs() < 10, "it took {:?}", begun.elapsed());
}
