//! A reboot: everything that ran is gone, lanes and work are there, and `revive` starts it again.

use std::os::unix::fs::PermissionsExt as _;

use lanes::proc;
use serde_json::Value;

use crate::support::e2e::Scene;
use crate::support::stage::until;

fn tasks(scene: &Scene, lane: &str) -> Vec<Value> {
    scene.json(&["show", lane])["lane"]["tasks"].as_array().cloned().expect("a list")
}

/// What a reboot does: no process is there, and the boot that records name is another one.
fn reboot(scene: &Scene, lanes: &[&str]) {
    let keepers: Vec<u32> = lanes
        .iter()
        .flat_map(|lane| tasks(scene, lane))
        .filter(|task| task["state"] == "live")
        .map(|task| u32::try_from(task["keeper_pid"].as_u64().expect("a pid")).expect("a pid"))
        .collect();
    scene.ok(&["daemon", "stop"]);
    for keeper in keepers {
        let mut gone = proc::descendants(keeper);
        gone.extend(proc::process(keeper));
        for process in gone.iter().rev() {
            lanes::keeper::signal(process, &[rustix::process::Signal::KILL]);
        }
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot");
    let (boot, other) = (boot.trim(), "00000000-0000-4000-8000-000000000000");
    let store = rusqlite::Connection::open(scene.home().join("lanes.db")).expect("the store");
    store.execute("UPDATE tasks SET body = replace(body, ?1, ?2)", [boot, other]).expect("written");
    for entry in std::fs::read_dir(scene.home().join("run")).expect("a folder").flatten() {
        let path = entry.path().join("task.json");
        if let Ok(text) = std::fs::read_to_string(&path) {
            std::fs::write(&path, text.replace(boot, other)).expect("written");
        }
    }
}

#[test]
fn what_a_reboot_ended_is_started_again_and_nothing_else() {
    let mut scene = Scene::new();
    scene.create_with(&["create", "a", "--", "sh", "-c", "echo first $MARK; sleep 300"]);
    scene.create("b");
    scene.create("quiet");
    scene.sh("b", "echo work >kept");
    scene.ok(&["exec", "b", "--detach", "--", "true"]);
    until("it has ended", || tasks(&scene, "b").iter().all(|task| task["state"] == "ended"));
    scene.ok(&["exec", "b", "--detach", "--", "sh", "-c", "echo run $MARK; sleep 300"]);
    reboot(&scene, &["a", "b"]);
    scene.set("MARK", "revived");
    until("it is lost", || tasks(&scene, "a")[0]["state"] == "ended");
    let lost = tasks(&scene, "a")[0].clone();
    assert_eq!((&lost["lost"], &lost["exit"]["lost"]), (&Value::from("reboot"), &Value::from(true)));
    assert_eq!(scene.events("terminal.exited")[0]["payload"]["reason"], "reboot");
    assert_eq!(scene.json(&["show", "b"])["lane"]["state"], "ready");
    assert_eq!(scene.sh("b", "cat kept"), "work");
    let recipe =
        scene.home().join("logs").join(scene.json(&["show", "a"])["lane"]["id"].as_str().expect("an id"));
    let recipe = recipe.join(lost["id"].as_str().expect("an id")).join("revive.json");
    let mode = std::fs::metadata(&recipe).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let dry = scene.json(&["revive", "--all", "--dry-run"])["results"].clone();
    assert_eq!(dry.as_array().map(Vec::len), Some(3), "{dry}");
    assert!(dry.to_string().contains("would start"), "{dry}");
    assert!(tasks(&scene, "a").iter().all(|task| task["state"] == "ended"), "a dry run starts nothing");

    let done = scene.json(&["revive", "a", "b", "quiet"])["results"].clone();
    assert!(done.as_array().expect("a list").iter().all(|one| one["ok"] == true), "{done}");
    let live = |lane: &str| -> Vec<Value> {
        tasks(&scene, lane).into_iter().filter(|task| task["state"] == "live").collect()
    };
    for lane in ["a", "b"] {
        let now = live(lane);
        assert_eq!(now.len(), 1, "{lane}");
        let id = now[0]["id"].as_str().expect("an id").to_owned();
        let which = if lane == "a" { "--terminal" } else { "--run" };
        until("it writes", || scene.ok(&["logs", lane, which, &id]).contains("revived"));
    }
    assert!(live("quiet").is_empty());
    assert_eq!(tasks(&scene, "a")[0]["revived_as"], live("a")[0]["id"]);
    assert!(!recipe.exists(), "it would be started a second time");
    let again = scene.json(&["revive", "--all"])["results"].to_string();
    assert!(!again.contains("runs again"), "{again}");
    assert_eq!(live("a").len(), 1);
    let refused = scene.lanes(&["--json", "revive", "nope"]);
    assert!(refused.code == Some(4) && refused.stdout.contains("LANE_NOT_FOUND"), "{refused:?}");
}

#[test]
fn a_keeper_that_was_killed_is_no_reboot() {
    let scene = Scene::new();
    scene.create_with(&["create", "a", "--", "sleep", "300"]);
    let keeper = u32::try_from(tasks(&scene, "a")[0]["keeper_pid"].as_u64().expect("a pid")).expect("a pid");
    let keeper = proc::process(keeper).expect("it lives");
    assert!(lanes::keeper::signal(&keeper, &[rustix::process::Signal::KILL]));
    until("it is lost", || tasks(&scene, "a")[0]["state"] == "ended");
    assert_eq!(tasks(&scene, "a")[0]["lost"], "keeper_ended");
    assert!(scene.json(&["revive", "a"])["results"].to_string().contains("nothing was ended by a reboot"));
}
