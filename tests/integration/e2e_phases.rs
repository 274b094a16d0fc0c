//! Phases of terminals as events and in `show`, on a real daemon.

use serde_json::Value;

use crate::support::e2e::Scene;
use crate::support::stage::until;

fn task(scene: &Scene, lane: &str) -> Value {
    scene.json(&["show", lane])["lane"]["tasks"][0].clone()
}

fn moves(scene: &Scene) -> Vec<String> {
    let events = scene.events("terminal.state.changed");
    events.iter().map(|event| event["payload"]["to"].as_str().expect("a phase").to_owned()).collect()
}

#[test]
fn a_terminal_that_crashes_is_errored_and_closed_with_its_lane() {
    let scene = Scene::new();
    scene.create_with(&["create", "a", "--", "sleep", "300"]);
    scene.create_with(&["create", "b", "--", "sleep", "300"]);
    let seen = task(&scene, "a");
    assert_eq!(seen["phase"], "active");
    let command = u32::try_from(seen["pid"].as_u64().expect("a pid")).expect("a pid");
    let command = lanes::proc::process(command).expect("it lives");
    assert!(lanes::keeper::signal(&command, &[rustix::process::Signal::SEGV]));
    until("it is told", || task(&scene, "a")["phase"] == "errored");
    assert_eq!(task(&scene, "b")["phase"], "active", "a crash harms its own terminal only");
    scene.ok(&["cleanup", "a"]);
    assert_eq!(moves(&scene), ["spawning", "active", "spawning", "active", "errored", "stopped"]);
    scene.ok(&["cleanup", "b"]);
    assert_eq!(moves(&scene).last().map(String::as_str), Some("stopped"));
    let all = scene.events("terminal.state.changed");
    let spawned = scene.events("terminal.spawned");
    assert_eq!(all[1]["correlation_id"], spawned[0]["correlation_id"]);
}

#[test]
fn one_that_cannot_be_started_is_errored() {
    let scene = Scene::new();
    scene.create("a");
    scene.fails(&["create", "a", "--ensure", "--", "no-such-program-anywhere"], 1, "COMMAND_NOT_FOUND");
    assert_eq!(moves(&scene), ["spawning", "errored"]);
}

#[test]
fn a_terminal_of_another_lane_is_refused_and_so_is_what_cannot_be_started() {
    let scene = Scene::new();
    scene.create_with(&["create", "a", "--", "sleep", "300"]);
    scene.create("b");
    let id = task(&scene, "a")["id"].as_str().expect("an id").to_owned();
    for args in [&["send", "b", "x", "--terminal", &id][..], &["logs", "b", "--terminal", &id]] {
        scene.fails(args, 1, "TERMINAL_CONTEXT_MISMATCH");
    }
    scene.fails(&["exec", "b", "--", "./a.txt"], 1, "COMMAND_NOT_FOUND");
    scene.fails(&["exec", "b", "--", "no-such-program-anywhere"], 1, "COMMAND_NOT_FOUND");
    assert_eq!(task(&scene, "a")["phase"], "active");
}
