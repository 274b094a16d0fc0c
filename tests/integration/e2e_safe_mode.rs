//! A daemon that crashes again and again: what lives is taken up, nothing new is started, and it is said.

use serde_json::{Value, json};

use crate::support::e2e::Scene;
use crate::support::stage::until;

fn status(scene: &Scene) -> Value {
    scene.json(&["daemon", "status"])["daemon"].clone()
}

fn crash(scene: &Scene, times: usize) {
    for _time in 0..times {
        scene.kill_daemon();
        scene.ok(&["daemon", "start"]);
    }
}

fn live(scene: &Scene) -> Value {
    let tasks = scene.json(&["show", "a"])["lane"]["tasks"].clone();
    json!([tasks[0]["id"], tasks[0]["pid"], tasks[0]["keeper_pid"], tasks[0]["state"]])
}

#[test]
fn three_crashes_lead_to_safe_mode_which_takes_up_what_lives_and_starts_nothing() {
    let scene = Scene::new();
    let lane = scene.create_with(&["create", "a", "--", "cat"]);
    scene.create("b");
    let before = live(&scene);
    crash(&scene, 2);
    assert_eq!(status(&scene)["safe_mode"], false, "two crashes are not three");
    crash(&scene, 1);
    let now = status(&scene);
    assert_eq!(now["safe_mode"], true, "{now}");
    assert!(now["notes"][0].as_str().is_some_and(|note| note.contains("3 times")), "{now}");
    assert!(scene.ok(&["daemon", "status"]).contains("safe mode"));
    let told = scene.events("daemon.safe_mode.changed");
    assert_eq!(told[0]["payload"]["safe_mode"], true);

    // What lives is taken up, read, typed to.
    assert_eq!(live(&scene), before);
    assert_eq!(scene.json(&["ls"])["lanes"].as_array().map(Vec::len), Some(2));
    scene.ok(&["send", "a", "still here"]);
    until("it answers", || scene.ok(&["logs", "a"]).matches("still here").count() == 2);
    assert!(scene.ok(&["diff", "a"]).is_empty());

    // Nothing new is started.
    for args in [
        &["create", "c"][..],
        &["exec", "a", "--", "true"],
        &["exec", "b", "--detach", "--", "sleep", "300"],
        &["revive", "--all"],
    ] {
        scene.refuses(args, 3, "SAFE_MODE", &["3 times within 60 s", "lanes daemon restart"]);
    }
    scene.ok(&["cleanup", "b"]);
    scene.refuses(&["restore", "b"], 3, "SAFE_MODE", &["daemon restart"]);
    assert!(lane.path.join("a.txt").is_file());

    scene.ok(&["daemon", "restart"]);
    assert_eq!(status(&scene)["safe_mode"], false);
    assert_eq!(scene.events("daemon.safe_mode.changed")[1]["payload"]["safe_mode"], false);
    assert_eq!(live(&scene), before);
    scene.restore(&["b"]);
    // The crashes are forgotten with the stop that was none.
    crash(&scene, 2);
    assert_eq!(status(&scene)["safe_mode"], false);
    scene.ok(&["cleanup", "--all"]);
    scene.nothing_open();
}

#[test]
fn what_was_cut_off_waits_in_safe_mode_and_is_undone_after_it() {
    let scene = Scene::new();
    scene.write(".gitattributes", "*.slow filter=slow\n");
    scene.commit("a filter");
    let gate = scene.path().join("gate");
    let slow = scene.script(
        "slow",
        &format!("#!/bin/sh\nwhile ! test -e {}; do sleep 0.05; done; cat\n", gate.display()),
    );
    scene.git(&["config", "filter.slow.smudge", &slow.to_string_lossy()]);
    std::fs::write(&gate, "").expect("writes");
    scene.write("x.slow", "x\n");
    scene.commit("filtered");
    std::fs::remove_file(&gate).expect("removes");
    let mut making = scene.start(&["create", "slow"]);
    until("it is being made", || scene.json(&["ls"])["lanes"][0]["state"] == "provisioning");
    scene.kill_daemon();
    let _told_that_the_daemon_is_down = making.wait().expect("ends");
    // A crash in the repair of that: seen from outside, two more crashes.
    for _crash in 0..2 {
        let lock = scene.home().join("daemon.lock");
        let mut holder: Value =
            serde_json::from_slice(&std::fs::read(&lock).expect("a holder")).expect("an object");
        let mut crashes = holder["crashes"].as_array().cloned().unwrap_or_default();
        crashes.push(holder["since"].clone());
        holder["crashes"] = crashes.into();
        std::fs::write(&lock, holder.to_string()).expect("writes");
    }
    scene.ok(&["daemon", "start"]);
    assert_eq!(status(&scene)["safe_mode"], true);
    assert_eq!(scene.json(&["ls"])["lanes"][0]["state"], "provisioning", "it waits and is shown");
    let plan = scene.json(&["reconcile", "--dry-run"]);
    assert_eq!(plan["repairs"][0]["action"], "roll_back", "{plan}");
    scene.ok(&["daemon", "restart"]);
    until("it is undone", || scene.json(&["ls"])["lanes"].as_array().is_some_and(Vec::is_empty));
    scene.nothing_open();
    assert_eq!(scene.inventory().branches.len(), 1);
}

#[test]
fn no_crash_is_one_too_many_when_the_limit_is_0_and_a_clean_stop_is_none() {
    let scene = Scene::new();
    for _stop in 0..4 {
        scene.ok(&["daemon", "start"]);
        scene.ok(&["daemon", "stop"]);
    }
    scene.ok(&["daemon", "start"]);
    assert_eq!(status(&scene)["safe_mode"], false);
    scene.may_crash();
    scene.ok(&["daemon", "restart"]);
    crash(&scene, 4);
    assert_eq!(status(&scene)["safe_mode"], false);
}
