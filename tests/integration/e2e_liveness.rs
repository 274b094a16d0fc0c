//! Keepers that do not answer and hearts that stop, on a real daemon.

use lanes::keeper::signal;
use lanes::proc;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::e2e::Scene;
use crate::support::stage::until;

fn scene() -> Scene {
    let scene = Scene::new();
    let folder = scene.path().join("user/.config/lanes");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("config.toml"), "[task]\nstale_after = \"1s\"\n").expect("a configuration");
    scene
}

fn task(scene: &Scene, lane: &str) -> Value {
    scene.json(&["show", lane])["lane"]["tasks"][0].clone()
}

fn process(pid: &Value) -> proc::Process {
    proc::process(u32::try_from(pid.as_u64().expect("a pid")).expect("a pid")).expect("it lives")
}

/// A task whose command has ended and left somebody: its keeper is asked by every `show`.
fn lingering(scene: &Scene, lane: &str, left: &str) -> Value {
    scene.create(lane);
    scene.ok(&["exec", lane, "--detach", "--", "sh", "-c", &format!("{left} & exit 0")]);
    until("the command has ended", || task(scene, lane)["state"] == "lingering");
    task(scene, lane)
}

#[test]
fn a_stopped_keeper_is_found_and_its_task_ended() {
    let scene = scene();
    let seen = lingering(&scene, "a", "sleep 300");
    scene.create("b");
    let keeper = process(&seen["keeper_pid"]);
    signal(&keeper, &[Signal::STOP]);
    let begun = std::time::Instant::now();
    scene.ok(&["show", "a"]);
    assert!(begun.elapsed().as_secs() < 5, "show waits for a keeper that is stopped");
    assert_eq!(scene.sh("b", "echo other"), "other");
    until("it is told", || !scene.events("lane.par_task.force_killed").is_empty());
    let stale = scene.events("lane.par_task.stale").remove(0);
    assert_eq!(stale["payload"]["reason"], "no_answer");
    assert!(stale["payload"]["silent_ms"].as_u64().expect("a time") >= 1_000);
    assert_eq!(stale["payload"]["task_id"], seen["id"]);
    until("nothing of it is left", || task(&scene, "a")["state"] == "ended");
    assert!(proc::process(keeper.pid).is_none_or(|now| now.start != keeper.start));
}

#[test]
fn a_live_task_of_a_stale_keeper_is_lost() {
    let scene = scene();
    scene.create("a");
    scene.ok(&["exec", "a", "--detach", "--", "sleep", "300"]);
    let seen = task(&scene, "a");
    signal(&process(&seen["keeper_pid"]), &[Signal::STOP]);
    // Asks the keeper, and leaves it at that.
    let refused = scene.lanes(&["send", "a", "--terminal", seen["id"].as_str().expect("an id"), "x"]);
    assert_ne!(refused.code, Some(0));
    until("it is told", || !scene.events("lane.par_task.force_killed").is_empty());
    until("nothing of it is left", || task(&scene, "a")["state"] == "ended");
    assert_eq!(task(&scene, "a")["exit"]["lost"], true);
}

#[test]
fn a_keeper_that_is_continued_in_time_or_whose_task_is_busy_is_left_alone() {
    let scene = scene();
    let busy = lingering(&scene, "busy", "sh -c 'while :; do :; done'");
    let slow = lingering(&scene, "slow", "sleep 300");
    for seen in [&busy, &slow] {
        signal(&process(&seen["keeper_pid"]), &[Signal::STOP]);
    }
    scene.ok(&["show", "slow"]);
    signal(&process(&slow["keeper_pid"]), &[Signal::CONT]);
    scene.ok(&["show", "busy"]);
    // Three times as long as a stale one has.
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(scene.events("lane.par_task.stale"), Vec::<Value>::new());
    signal(&process(&busy["keeper_pid"]), &[Signal::CONT]);
    for (lane, seen) in [("busy", busy), ("slow", slow)] {
        assert_eq!(task(&scene, lane)["keeper_pid"], seen["keeper_pid"]);
        assert_eq!(task(&scene, lane)["state"], "lingering");
    }
}

#[test]
fn a_heart_that_stops_ends_its_task_and_one_that_beats_does_not() {
    let scene = scene();
    for lane in ["quiet", "beats", "writes"] {
        scene.create(lane);
    }
    let lanes = env!("CARGO_BIN_EXE_lanes");
    let start = |lane: &str, script: &str| {
        scene.ok(&["exec", lane, "--heartbeat", "2s", "--detach", "--", "sh", "-c", script]);
    };
    start("writes", "while :; do echo x; sleep 0.3; done");
    start("beats", &format!("while {lanes} beat; do sleep 0.3; done; echo refused"));
    start("quiet", "sleep 300");
    until("it is told", || !scene.events("lane.par_task.stale").is_empty());
    until("it is ended", || task(&scene, "quiet")["state"] == "ended");
    let stale = scene.events("lane.par_task.stale");
    assert_eq!(stale.len(), 1, "{stale:?}");
    assert_eq!(stale[0]["payload"]["reason"], "heartbeat");
    assert_eq!(stale[0]["payload"]["task_id"], task(&scene, "quiet")["id"]);
    assert_eq!(task(&scene, "quiet")["exit"]["signal"], 15);
    for lane in ["beats", "writes"] {
        assert_eq!(task(&scene, lane)["state"], "live", "{}", scene.lanes(&["logs", lane]).stdout);
    }
    // A restarted daemon gives a fresh period and goes on listening.
    scene.ok(&["daemon", "restart"]);
    start_silence(&scene, "quiet");
    until("it is told", || scene.events("lane.par_task.stale").len() == 2);
    assert_eq!(task(&scene, "writes")["state"], "live");
    scene.fails(&["exec", "quiet", "--heartbeat", "1ms", "--", "true"], 2, "VALIDATION_ERROR");
}

fn start_silence(scene: &Scene, lane: &str) {
    scene.ok(&["exec", lane, "--heartbeat", "1s", "--detach", "--", "sleep", "300"]);
    scene.ok(&["daemon", "restart"]);
}
