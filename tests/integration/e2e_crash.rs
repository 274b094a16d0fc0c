//! `kill -9` of the daemon in the middle of everything.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Child;

use serde_json::Value;

use crate::support::e2e::{Scene, Slow};
use crate::support::stage::until;

fn tasks(scene: &Scene, lane: &str) -> BTreeSet<(String, u64, u64)> {
    let shown = scene.json(&["show", lane]);
    let number = |value: &Value| value.as_u64().expect("a number");
    let task = |task: &Value| {
        (task["id"].as_str().expect("an id").to_owned(), number(&task["pid"]), number(&task["keeper_pid"]))
    };
    shown["lane"]["tasks"].as_array().expect("a list").iter().map(task).collect()
}

#[test]
fn runs_and_terminals_outlive_the_daemon_and_are_taken_up_again() {
    let scene = Scene::new();
    let lane = scene.create_with(&["create", "a", "--", "sh", "-c", "read line; echo typed $line; exit 9"]);
    let script = "i=0; while ! test -e go; do i=$((i+1)); echo line $i; sleep 0.01; done; \
                  seq 1 50000; echo last $i; exit 7";
    let mut run = scene.start(&["exec", "a", "--", "sh", "-c", script]);
    let mut output = BufReader::new(run.stdout.take().expect("piped"));
    let mut text = String::new();
    // Who starts a run has the daemon's answer when its output comes, not when others see the run.
    output.read_line(&mut text).expect("reads");
    let reading = std::thread::spawn(move || {
        output.read_to_string(&mut text).expect("reads");
        text
    });
    until("both are live", || tasks_live(&scene) == 2);
    let before = tasks(&scene, "a");
    let waiter = scene.start(&["wait", "a", "--until", "exit"]);
    scene.kill_daemon();
    // While nobody decides, work goes on: the run's output is followed, and it may end now.
    scene.ok(&["daemon", "start"]);
    assert_eq!(tasks(&scene, "a"), before, "the same pids");
    scene.kill_daemon();
    std::fs::write(lane.path.join("go"), "").expect("writes");
    assert_eq!(run.wait().expect("ends").code(), Some(7));
    let text = reading.join().expect("read");
    check_lines(&text);
    scene.ok(&["daemon", "start"]);
    scene.ok(&["send", "a", "hello"]);
    let output = waiter.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(9), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(scene.lanes(&["wait", "a", "--until", "exit"]).code, Some(9));
    let run_id = &before.iter().find(|(id, ..)| id.starts_with("rn_")).expect("a run").0;
    let terminal = &before.iter().find(|(id, ..)| id.starts_with("tm_")).expect("a terminal").0;
    check_lines(&format!("{}\n", scene.ok(&["logs", "a", "--run", run_id])));
    assert!(scene.ok(&["logs", "a", "--terminal", terminal]).contains("typed hello"));
    let done = scene.events("lane.command.completed");
    assert_eq!((done.len(), &done[0]["payload"]["exit"]["code"]), (1, &7.into()));
    // The end belongs to the request that began it, also after the daemon that took it is gone.
    let began = scene.events("lane.command.started");
    assert_eq!(began[0]["correlation_id"], done[0]["correlation_id"]);
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
}

fn tasks_live(scene: &Scene) -> usize {
    let shown = scene.json(&["show", "a"]);
    let tasks = shown["lane"]["tasks"].as_array().expect("a list");
    tasks.iter().filter(|task| task["state"] == "live" && task["pid"].is_number()).count()
}

/// `line 1` to `line n`, 1 to 50,000, `last n`: no byte missing, none twice.
fn check_lines(text: &str) {
    let mut lines = text.lines();
    let mut n = 0;
    let mut next = lines.next();
    while let Some(line) = next.and_then(|line| line.strip_prefix("line ")) {
        n += 1;
        assert_eq!(line, n.to_string());
        next = lines.next();
    }
    for wanted in 1..=50_000 {
        assert_eq!(next, Some(wanted.to_string().as_str()));
        next = lines.next();
    }
    assert_eq!((next, lines.next()), (Some(format!("last {n}").as_str()), None));
}

#[test]
fn a_provisioning_that_was_cut_off_leaves_nothing() {
    cut_off_while_made(true);
}

#[test]
fn a_git_that_outlives_its_daemon_leaves_nothing_either() {
    cut_off_while_made(false);
}

/// The daemon is killed while a checkout waits; the checkout goes on before or after the next one has come.
fn cut_off_while_made(goes_on_before: bool) {
    let scene = Scene::new();
    let Slow { reached, open, script } = scene.slow_checkout();
    let making = scene.start(&["create", "a"]);
    until("the checkout waits", || reached.exists());
    scene.kill_daemon();
    let output = making.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    if goes_on_before {
        std::fs::write(&open, "").expect("opens");
    }
    scene.ok(&["daemon", "start"]);
    until("the lane is closed", || scene.json(&["ls"])["lanes"] == serde_json::json!([]));
    std::fs::write(&open, "").expect("opens");
    let script = script.display().to_string();
    let filters = || lanes::proc::all().iter().any(|one| command_line(one.pid).contains(&script));
    until("no checkout goes on", || !filters());
    scene.nothing_open();
    assert_eq!(scene.inventory().branches, BTreeSet::from(["main".to_owned()]));
    let lanes = scene.json(&["ls", "--all"])["lanes"].clone();
    assert_eq!(lanes[0]["close_reason"], "provision_failed", "{lanes}");
    // The name is free, and making it works now.
    let again = scene.create("a");
    assert_eq!(std::fs::read_to_string(again.path.join("one.slow")).expect("reads"), "1\n");
    scene.ok(&["cleanup", "a"]);
}

#[test]
fn a_set_up_hook_that_was_cut_off_is_ended_and_its_lane_is_gone() {
    let scene = Scene::new();
    let reached = scene.path().join("tmp/reached");
    let text = format!("#!/bin/sh\n: > '{}'\nsleep 300 & sleep 300\n", reached.display());
    let script = scene.script("slow", &text);
    scene.write("lanes.toml", &format!("[hooks]\npost_create = [\"{}\"]\n", script.display()));
    scene.ok(&["trust", "--yes"]);
    let mut making = scene.start(&["create", "a"]);
    until("the hook runs", || reached.exists());
    scene.kill_daemon();
    assert_eq!(making.wait().expect("ends").code(), Some(1));
    scene.ok(&["daemon", "start"]);
    until("the lane is closed", || scene.json(&["ls"])["lanes"] == serde_json::json!([]));
    scene.nothing_open();
    assert_eq!(scene.inventory().branches, BTreeSet::from(["main".to_owned()]));
}

#[test]
fn a_cleanup_that_was_cut_off_is_finished_by_the_next_daemon() {
    let scene = Scene::new();
    scene.write("lanes.toml", "[stop]\nrun_grace = \"2s\"\n");
    let lane = scene.create("a");
    std::fs::write(lane.path.join("work"), "mine\n").expect("writes");
    let script = "trap '' TERM; touch up; while :; do sleep 0.1; done";
    let mut run = scene.start(&["exec", "a", "--", "sh", "-c", script]);
    until("the command is up", || lane.path.join("up").exists());
    let mut cleaning = scene.start(&["cleanup", "a"]);
    until("it is being cleaned", || scene.json(&["show", "a"])["lane"]["state"] == "cleaning");
    scene.kill_daemon();
    let _told_that_the_daemon_is_down = cleaning.wait().expect("ends");
    scene.ok(&["daemon", "start"]);
    until("it is closed", || scene.json(&["show", &lane.id])["lane"]["state"] == "closed");
    scene.nothing_open();
    assert_eq!(run.wait().expect("ends").code(), Some(137));
    let back = scene.restore(&["a"]);
    assert_eq!(std::fs::read_to_string(back.path.join("work")).expect("reads"), "mine\n");
    scene.ok(&["cleanup", "a"]);
}

#[test]
fn many_cleanups_that_were_cut_off_anywhere_are_finished() {
    let scene = Scene::new();
    scene.may_crash();
    let names: Vec<String> = (0..12).map(|n| format!("n{n}")).collect();
    for name in &names {
        let lane = scene.create(name);
        std::fs::write(lane.path.join("work"), format!("{name}\n")).expect("writes");
    }
    for _round in 0..3 {
        let mut cleaning = scene.start(&["cleanup", "--all"]);
        let closed = scene.events("lane.closed").len();
        until("some are closed", || scene.events("lane.closed").len() > closed || !any_open(&scene));
        scene.kill_daemon();
        let _told_that_the_daemon_is_down = cleaning.wait().expect("ends");
        scene.ok(&["daemon", "start"]);
    }
    scene.ok(&["cleanup", "--all"]);
    scene.nothing_open();
    assert_eq!(scene.inventory().trash.len(), 12);
    for name in &names {
        let back = scene.restore(&[name]);
        let text = std::fs::read_to_string(back.path.join("work")).expect("reads");
        assert_eq!(text, format!("{name}\n"));
    }
    scene.ok(&["cleanup", "--all"]);
}

fn command_line(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).into_owned()
}

fn any_open(scene: &Scene) -> bool {
    scene.json(&["ls"])["lanes"].as_array().is_some_and(|lanes| !lanes.is_empty())
}

#[test]
fn many_who_start_the_daemon_at_once_start_one() {
    let scene = Scene::new();
    for round in 0..2 {
        let starts: Vec<Child> = (0..20).map(|_| scene.start(&["--json", "daemon", "start"])).collect();
        for child in starts {
            let output = child.wait_with_output().expect("ends");
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let started = scene.events("daemon.started");
        assert_eq!(started.len(), round + 1);
        let pid = scene.daemon().as_raw_nonzero().get();
        assert_eq!(started[round]["payload"]["pid"], pid);
        scene.kill_daemon();
    }
    // And the first commands of many, with nobody there.
    let firsts: Vec<Child> = (0..10)
        .map(|n| scene.start(&["create", ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"][n]]))
        .collect();
    for child in firsts {
        let output = child.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(scene.events("daemon.started").len(), 3);
    scene.ok(&["cleanup", "--all"]);
    scene.nothing_open();
}
