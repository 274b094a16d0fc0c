//! Lanes by the dozen and lanes that end in the middle of something, through the command line.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::e2e::Scene;
use crate::support::stage::until;

const MANY: usize = 50;

/// A repository of some three hundred files.
fn large() -> Scene {
    let scene = Scene::new();
    for n in 0..300 {
        scene.write(&format!("src/part{}/file{n}.rs", n % 17), &format!("// {n}\n").repeat(20));
    }
    scene.commit("three hundred files");
    scene
}

/// How it ended: code, standard output, standard error.
fn end(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().expect("ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Starts them all at once; every one must succeed.
fn at_once(scene: &Scene, all: &[Vec<String>]) {
    let children: Vec<Child> =
        all.iter().map(|args| scene.start(&args.iter().map(String::as_str).collect::<Vec<_>>())).collect();
    for (child, args) in children.into_iter().zip(all) {
        let (code, out, err) = end(child);
        assert_eq!(code, Some(0), "lanes {args:?}: {out}{err}");
    }
}

fn names() -> Vec<String> {
    (0..MANY).map(|n| format!("n{n}")).collect()
}

fn creates(more: &[&str]) -> Vec<Vec<String>> {
    let words = |name: String| {
        let mut words = vec!["create".to_owned(), name];
        words.extend(more.iter().map(|word| (*word).to_owned()));
        words
    };
    names().into_iter().map(words).collect()
}

fn state(scene: &Scene, lane: &str) -> String {
    scene.json(&["show", lane])["lane"]["state"].as_str().expect("a state").to_owned()
}

fn transitions(scene: &Scene, lane: &str) -> Vec<Value> {
    let mut events = scene.events("lane.state.changed");
    events.retain(|event| event["lane_id"] == lane);
    events
}

fn steps(events: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    events.iter().map(|event| (text(&event["payload"]["from"]), text(&event["payload"]["to"]))).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
}

#[test]
fn fifty_lanes_are_made_at_once_and_closed_at_once_and_the_fifty_first_is_refused() {
    let scene = large();
    scene.ok(&["daemon", "start"]);
    at_once(&scene, &creates(&[]));
    assert_eq!(scene.inventory().trees.len(), MANY);
    let refused = scene.fails(&["create", "one-more"], 3, "AT_CAPACITY");
    assert_eq!(refused["retryable"], false, "{refused}");
    assert_eq!(scene.inventory().trees.len(), MANY, "the refused one left something");
    for name in ["n7", "n31"] {
        scene.sh(name, &format!("echo {name} > work; git add work; git commit -qm work"));
    }
    let cleanups: Vec<Vec<String>> =
        names().into_iter().map(|name| vec!["cleanup".to_owned(), name]).collect();
    at_once(&scene, &cleanups);
    scene.nothing_open();
    let now = scene.inventory();
    let kept: BTreeSet<String> = ["main", "lanes/n7", "lanes/n31"].map(str::to_owned).into();
    assert_eq!(now.branches, kept);
    assert_eq!(now.trash.len(), MANY);
    assert_eq!(scene.json(&["ls"])["lanes"], serde_json::json!([]));
}

#[test]
fn fifty_lanes_start_at_once_from_a_remote_tracking_branch() {
    let scene = large();
    let bare = scene.path().join("origin.git").display().to_string();
    scene.git(&["init", "-q", "--bare", &bare]);
    scene.git(&["remote", "add", "origin", &bare]);
    scene.git(&["push", "-q", "origin", "main"]);
    scene.git(&["fetch", "-q", "origin"]);
    let base = scene.git(&["rev-parse", "origin/main"]);
    scene.commit("not pushed");
    scene.ok(&["daemon", "start"]);
    at_once(&scene, &creates(&["--base", "origin/main"]));
    let lanes = scene.json(&["ls"])["lanes"].as_array().expect("a list").clone();
    assert_eq!(lanes.len(), MANY);
    assert!(lanes.iter().all(|lane| lane["head"] == base && lane["state"] == "ready"));
    let tracked = scene.try_git(&scene.repo(), &["config", "--get-regexp", r"^branch\.lanes/"]);
    assert_eq!(tracked.stdout, "", "a lane's branch tracks something");
    let results = scene.json(&["cleanup", "--all"]);
    assert_eq!(results["results"].as_array().map(Vec::len), Some(MANY));
    scene.nothing_open();
    assert_eq!(scene.inventory().branches, BTreeSet::from(["main".to_owned()]));
}

#[test]
fn a_lane_costs_no_git_but_the_one_that_makes_its_tree() {
    let mut scene = Scene::new();
    let calls = scene.path().join("calls");
    let path = std::env::var("PATH").expect("a PATH");
    let mark = format!("#!/bin/sh\necho \"$*\" >> '{}'\n", calls.display());
    let counted = scene.script("git", &format!("{mark}PATH='{path}' exec git \"$@\"\n"));
    scene.set("PATH", format!("{}:{path}", counted.parent().expect("a folder").display()));
    scene.configure("[worktree]\nbackend = \"git\"\n");
    let number = std::cell::Cell::new(0);
    // What was written a moment ago is not believed at once.
    until("only git worktree add is run", || {
        std::fs::write(&calls, "").expect("emptied");
        number.set(number.get() + 1);
        let _made = scene.create(&format!("lane-{}", number.get()));
        let said = std::fs::read_to_string(&calls).expect("there");
        said.lines().count() == 1 && said.contains(" worktree add ")
    });
}

#[test]
fn cleanup_does_not_wait_for_the_command_that_runs() {
    let scene = Scene::new();
    let lane = scene.create("a");
    let run = scene.start(&["exec", "a", "--", "sleep", "300"]);
    scene.ok(&["wait", "a", "--until", "running", "--timeout", "60s"]);
    let asked = Instant::now();
    scene.ok(&["cleanup", "a"]);
    // The default grace of a run: nobody waited for it, because the command took the signal.
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let (code, _out, err) = end(run);
    assert_eq!(code, Some(143), "{err}");
    scene.nothing_open();
    let expected = pairs(&[
        ("new", "provisioning"),
        ("provisioning", "ready"),
        ("ready", "running"),
        ("running", "cleaning"),
        ("cleaning", "closed"),
    ]);
    assert_eq!(steps(&transitions(&scene, &lane.id)), expected);
}

#[test]
fn a_run_that_ignores_the_signal_is_ended_after_its_grace() {
    let scene = Scene::new();
    scene.write("lanes.toml", "[stop]\nrun_grace = \"1s\"\n");
    scene.create("a");
    let script = "trap '' TERM; touch up; while :; do sleep 0.1; done";
    let run = scene.start(&["exec", "a", "--", "sh", "-c", script]);
    let up = scene.root().join("a/up");
    until("the command is up", || up.exists());
    let asked = Instant::now();
    scene.ok(&["cleanup", "a"]);
    let took = asked.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!(end(run).0, Some(137));
    scene.nothing_open();
}

/// A gate in the file system that a slow program waits at.
struct Gate {
    reached: PathBuf,
    open: PathBuf,
}

impl Gate {
    fn new(scene: &Scene) -> Self {
        Self { reached: scene.path().join("tmp/reached"), open: scene.path().join("tmp/open") }
    }

    /// A script that waits at the gate and then does `rest`.
    fn script(&self, scene: &Scene, rest: &str) -> PathBuf {
        let (reached, open) = (self.reached.display(), self.open.display());
        let wait = format!("while ! test -e '{open}'; do sleep 0.05; done");
        scene.script("slow", &format!("#!/bin/sh\n: > '{reached}'\n{wait}\n{rest}\n"))
    }

    fn wait(&self) {
        until("the gate is reached", || self.reached.exists());
    }

    fn open(&self) {
        std::fs::write(&self.open, "").expect("opens");
    }
}

/// A lane is being made at a gate; a cleanup of it is asked for; the gate opens.
fn cleaned_while_made(scene: &Scene, gate: &Gate) {
    let making = scene.start(&["--json", "create", "a"]);
    gate.wait();
    assert_eq!(state(scene, "a"), "provisioning");
    let id = scene.json(&["show", "a"])["lane"]["id"].as_str().expect("an id").to_owned();
    let cleaning = scene.start(&["cleanup", "a"]);
    until("the cleanup is written down", || transitions(scene, &id).len() >= 2);
    assert_eq!(state(scene, "a"), "provisioning", "it waits until the tree is whole");
    gate.open();
    let (code, out, err) = end(cleaning);
    assert_eq!(code, Some(0), "{out}{err}");
    let (code, _out, err) = end(making);
    let error: Value = serde_json::from_str(&err).expect("one object");
    assert_eq!((code, error["error"]["code"].as_str()), (Some(3), Some("INVALID_TRANSITION")), "{err}");
    scene.nothing_open();
    assert_eq!(scene.inventory().branches, BTreeSet::from(["main".to_owned()]));
    let events = transitions(scene, &id);
    let expected = pairs(&[
        ("new", "provisioning"),
        ("provisioning", "provisioning"),
        ("provisioning", "ready"),
        ("ready", "cleaning"),
        ("cleaning", "closed"),
    ]);
    assert_eq!(steps(&events), expected);
    let chain = |n: usize| &events[n]["correlation_id"];
    assert!(chain(0) == chain(2) && chain(1) == chain(3) && chain(3) == chain(4), "{events:#?}");
    assert_ne!(chain(0), chain(1));
}

#[test]
fn a_cleanup_during_a_slow_checkout_is_taken_when_the_tree_is_there() {
    let scene = Scene::new();
    let gate = Gate::new(&scene);
    let script = gate.script(&scene, "exec cat");
    scene.write(".gitattributes", "*.slow filter=slow\n");
    scene.write("one.slow", "1\n");
    scene.commit("slow");
    scene.git(&["config", "filter.slow.smudge", &script.display().to_string()]);
    cleaned_while_made(&scene, &gate);
}

#[test]
fn a_cleanup_during_a_set_up_hook_is_taken_when_the_hook_has_ended() {
    let scene = Scene::new();
    let gate = Gate::new(&scene);
    let script = gate.script(&scene, "exit 0");
    scene.write("lanes.toml", &format!("[hooks]\npost_create = [\"{}\"]\n", script.display()));
    scene.ok(&["trust", "--yes"]);
    cleaned_while_made(&scene, &gate);
}

#[test]
fn a_set_up_hook_that_fails_after_a_cleanup_was_asked_for_closes_the_lane_all_the_same() {
    let scene = Scene::new();
    let gate = Gate::new(&scene);
    let script = gate.script(&scene, "exit 5");
    scene.write("lanes.toml", &format!("[hooks]\npost_create = [\"{}\"]\n", script.display()));
    scene.ok(&["trust", "--yes"]);
    let making = scene.start(&["create", "a"]);
    gate.wait();
    let id = scene.json(&["show", "a"])["lane"]["id"].as_str().expect("an id").to_owned();
    let cleaning = scene.start(&["cleanup", "a"]);
    until("the cleanup is written down", || transitions(&scene, &id).len() >= 2);
    gate.open();
    assert_eq!(end(cleaning).0, Some(0));
    assert_eq!(end(making).0, Some(1));
    scene.nothing_open();
    assert_eq!(scene.json(&["show", &id])["lane"]["close_reason"], "provision_failed");
}

#[test]
fn two_callers_join_one_cleanup_and_a_closed_lane_stays_closed() {
    let scene = Scene::new();
    scene.write("lanes.toml", "[stop]\nrun_grace = \"3s\"\n");
    let lane = scene.create("a");
    let script = "trap '' TERM; touch up; while :; do sleep 0.1; done";
    let run = scene.start(&["exec", "a", "--", "sh", "-c", script]);
    let up = scene.root().join("a/up");
    until("the command is up", || up.exists());
    let first = scene.start(&["cleanup", "a"]);
    until("it is being cleaned", || state(&scene, "a") == "cleaning");
    scene.fails(&["exec", "a", "--", "true"], 3, "INVALID_TRANSITION");
    scene.fails(&["share", "a"], 3, "INVALID_TRANSITION");
    let second = scene.start(&["cleanup", "a"]);
    assert_eq!((end(first).0, end(second).0), (Some(0), Some(0)));
    assert_eq!(end(run).0, Some(137));
    scene.nothing_open();
    assert_eq!(scene.events("lane.closed").len(), 1);
    assert_eq!(scene.events("lane.worktree.removed").len(), 1);
    let events = transitions(&scene, &lane.id);
    assert_eq!(
        steps(&events)[3..],
        pairs(&[("running", "cleaning"), ("cleaning", "cleaning"), ("cleaning", "closed")])
    );
    assert_eq!(events[3]["correlation_id"], events[5]["correlation_id"]);
    let before = events.len();
    scene.ok(&["cleanup", "a"]);
    scene.ok(&["cleanup", &lane.id]);
    assert_eq!(transitions(&scene, &lane.id).len(), before);
}
