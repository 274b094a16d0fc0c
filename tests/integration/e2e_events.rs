//! Events through the command line: whole, ordered, of the right request, whatever becomes of the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::e2e::Scene;
use crate::support::stage::{PATIENCE, until};

/// Everything since the beginning.
fn all(scene: &Scene) -> Vec<Value> {
    let text = scene.ok(&["--json", "events", "--since", "0"]);
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

/// Offsets 1 to n, and in each topic numbers from 1, without a gap.
fn check_whole(events: &[Value]) {
    let mut topics: BTreeMap<&str, u64> = BTreeMap::new();
    let ids: BTreeSet<&str> = events.iter().map(|event| event["id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), events.len(), "an id came twice");
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["offset"], n + 1, "{event}");
        let seq = topics.entry(event["topic"].as_str().expect("a topic")).or_default();
        *seq += 1;
        assert_eq!(event["seq"], *seq, "{event}");
    }
}

/// Each lane's transitions follow on each other, each told once, and each has the correlation of the event
/// that says why.
fn check_transitions(events: &[Value]) {
    let mut at: BTreeMap<&str, Value> = BTreeMap::new();
    for event in events.iter().filter(|event| event["topic"] == "lane.state.changed") {
        let before = at.entry(event["lane_id"].as_str().expect("a lane")).or_insert_with(|| json!("new"));
        assert_eq!(*before, event["payload"]["from"], "{event}");
        *before = event["payload"]["to"].clone();
        let reasons: &[&str] = match event["payload"]["event"].as_str().expect("an event") {
            "create" => &["lane.created"],
            "provision_complete" => &["lane.worktree.provisioned"],
            "provision_failed" => &["lane.provision_failed"],
            "start_running" => &["lane.command.started", "terminal.spawned"],
            "command_complete" => &["lane.command.completed", "terminal.exited"],
            "share" => &["lane.shared"],
            "unshare" => &["lane.unshared"],
            "request_cleanup" => &["lane.cleaning"],
            "cleanup_complete" => &["lane.closed"],
            "block" | "unblock" => continue,
            other => panic!("an event of no table: {other}"),
        };
        let why = |other: &&Value| {
            reasons.contains(&other["topic"].as_str().unwrap_or_default())
                && other["lane_id"] == event["lane_id"]
                && other["correlation_id"] == event["correlation_id"]
        };
        assert!(events.iter().any(|other| why(&other)), "nothing says why: {event}");
    }
}

/// The chains of requests, each with the lanes and tasks it touched.
fn chains(events: &[Value]) -> BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> {
    let mut chains: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for event in events {
        let chain = event["correlation_id"].as_str().expect("a chain").to_owned();
        let (lanes, tasks) = chains.entry(chain).or_default();
        lanes.extend(event["lane_id"].as_str().map(str::to_owned));
        tasks.extend(event["task_id"].as_str().map(str::to_owned));
    }
    chains
}

#[test]
fn twenty_commands_at_once_never_mix_and_each_is_one_chain() {
    let scene = Scene::new();
    for n in 0..20 {
        scene.create(&format!("n{n}"));
    }
    let head = all(&scene).len();
    let script = |n: usize| format!("echo {n}; exit {n}");
    let runs: Vec<Child> = (0..20)
        .map(|n| scene.start(&["--json", "exec", &format!("n{n}"), "--", "sh", "-c", &script(n)]))
        .collect();
    let mut tasks = BTreeSet::new();
    for (n, run) in runs.into_iter().enumerate() {
        let output = run.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(i32::try_from(n).expect("small")));
        let value: Value = serde_json::from_slice(&output.stdout).expect("one object");
        tasks.insert(value["task"]["id"].as_str().expect("an id").to_owned());
    }
    let ended = || scene.events("lane.command.completed").len() == 20;
    until("all ends are written down", ended);
    let events = all(&scene);
    check_whole(&events);
    check_transitions(&events);
    let of_runs: Vec<_> =
        chains(&events[head..]).into_values().filter(|(_, runs)| !runs.is_empty()).collect();
    assert_eq!(of_runs.len(), 20, "{of_runs:#?}");
    assert!(of_runs.iter().all(|(lanes, runs)| lanes.len() == 1 && runs.len() == 1), "{of_runs:#?}");
    assert_eq!(of_runs.into_iter().flat_map(|(_, runs)| runs).collect::<BTreeSet<_>>(), tasks);
    for event in events.iter().filter(|event| event["topic"] == "lane.command.completed") {
        let name = events
            .iter()
            .find(|other| other["topic"] == "lane.created" && other["lane_id"] == event["lane_id"]);
        let name = name.expect("was created")["payload"]["name"].as_str().expect("a name").to_owned();
        assert_eq!(format!("n{}", event["payload"]["exit"]["code"]), name);
    }
    scene.ok(&["cleanup", "--all"]);
    check_transitions(&all(&scene));
}

#[test]
fn everything_is_replayed_after_a_restart_and_after_kill_9() {
    let scene = Scene::new();
    scene.may_crash();
    scene.create("a");
    scene.create_with(&["create", "b", "--", "sleep", "300"]);
    scene.sh("a", "true");
    scene.ok(&["share", "a"]);
    scene.ok(&["block", "b", "--reason", "a question"]);
    scene.ok(&["unshare", "a"]);
    let mut before = all(&scene);
    check_whole(&before);
    for how in 0..4 {
        if how % 2 == 0 {
            scene.ok(&["daemon", "restart"]);
        } else {
            scene.kill_daemon();
        }
        let name = format!("after{how}");
        let lane = scene.create(&name);
        let mut run = scene.start(&["exec", &name, "--", "sh", "-c", "echo up; exec sleep 300"]);
        // From its first word on, the client has its answer and needs the daemon no more.
        let mut word = [0; 3];
        run.stdout.as_mut().expect("piped").read_exact(&mut word).expect("speaks");
        if how >= 2 {
            scene.kill_daemon();
        }
        scene.ok(&["cleanup", &name]);
        assert_eq!(run.wait().expect("ends").code(), Some(143));
        let now = all(&scene);
        check_whole(&now);
        check_transitions(&now);
        assert_eq!(now[..before.len()], before[..], "the past has changed");
        let closed =
            now.iter().filter(|event| event["topic"] == "lane.closed" && event["lane_id"] == lane.id);
        assert_eq!(closed.count(), 1);
        before = now;
    }
    let since = before.len() / 2;
    let text = scene.ok(&["--json", "events", "--since", &since.to_string()]);
    let first: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("an object");
    assert_eq!(first["offset"], since + 1);
    scene.ok(&["cleanup", "--all"]);
    check_transitions(&all(&scene));
}

/// Lines of a follower, read with a deadline.
struct Lines {
    lines: std::sync::mpsc::Receiver<Value>,
}

impl Lines {
    fn of(out: ChildStdout) -> Self {
        let (send, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { return };
                if send.send(serde_json::from_str(&line).expect("an object a line")).is_err() {
                    return;
                }
            }
        });
        Self { lines }
    }

    fn next(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).expect("a line in time")
    }

    /// Up to the one that is looked for.
    fn up_to(&self, is_it: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            seen.push(self.next());
            if seen.last().is_some_and(&is_it) {
                return seen;
            }
        }
    }
}

#[test]
fn a_follower_goes_on_over_a_restart_and_a_kill_without_a_hole() {
    let scene = Scene::new();
    scene.create("a");
    let mut following = scene.start(&["--json", "events", "--follow", "--since", "0"]);
    let lines = Lines::of(following.stdout.take().expect("piped"));
    let closed = |name: &'static str| {
        move |event: &Value| event["topic"] == "lane.created" && event["payload"]["name"] == name
    };
    let mut seen = lines.up_to(closed("a"));
    scene.ok(&["daemon", "restart"]);
    scene.create("b");
    seen.extend(lines.up_to(closed("b")));
    scene.kill_daemon();
    scene.create("c");
    seen.extend(lines.up_to(closed("c")));
    check_whole(&seen);
    kill_process(Pid::from_child(&following), Signal::INT).expect("signals");
    let output = following.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(130));
    scene.ok(&["cleanup", "--all"]);
}

/// A client that speaks the protocol by hand.
struct Bare {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
    id: u64,
}

impl Bare {
    fn new(scene: &Scene) -> Self {
        let stream = UnixStream::connect(scene.home().join("daemon.sock")).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        let lines = BufReader::new(stream.try_clone().expect("clones"));
        let mut bare = Self { stream, lines, id: 0 };
        bare.call("daemon.hello", &json!({ "client": "bare 1", "protocol_min": 1, "protocol_max": 1 }));
        bare
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line in time");
        serde_json::from_str(&line).expect("JSON")
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.id += 1;
        let request = json!({ "jsonrpc": "2.0", "id": self.id, "method": method, "params": params });
        self.stream.write_all(format!("{request}\n").as_bytes()).expect("writes");
        loop {
            let line = self.line();
            if line["id"] == self.id {
                assert!(line["error"].is_null(), "{method}: {line}");
                return line["result"].clone();
            }
        }
    }
}

#[test]
fn a_subscriber_that_does_not_read_delays_nobody_and_is_told_what_it_missed() {
    let scene = Scene::new();
    let lane = scene.create("a");
    let mut deaf = Bare::new(&scene);
    deaf.call("event.subscribe", &json!({ "since": 0 }));
    let mut busy = Bare::new(&scene);
    let here = json!({ "lane": lane.id, "cwd": scene.repo().display().to_string() });
    let mut slowest = Duration::ZERO;
    for _ in 0..2_000 {
        for method in ["lane.share", "lane.unshare"] {
            let asked = Instant::now();
            busy.call(method, &here);
            slowest = slowest.max(asked.elapsed());
        }
    }
    assert!(slowest < Duration::from_secs(5), "somebody waited: {slowest:?}");
    let head =
        busy.call("event.replay", &json!({ "since": 0, "limit": 1 }))["head"].as_u64().expect("a head");
    assert!(head > 8_000, "{head}");
    // Now it reads again: every event, or a span that says which are missing.
    let (mut at, mut lags) = (0, 0);
    while at < head {
        let told = deaf.line()["params"].clone();
        if let Some(event) = told.get("event").filter(|event| !event.is_null()) {
            assert_eq!(event["offset"], at + 1);
            at += 1;
        } else {
            let (from, to) = (told["lagged"]["from"].as_u64(), told["lagged"]["to"].as_u64());
            assert_eq!(from, Some(at + 1), "{told}");
            at = to.expect("a last one");
            lags += 1;
        }
    }
    assert!(lags >= 1, "nothing was missed: the test is too small");
    scene.ok(&["cleanup", "a"]);
    let mut rest = [0; 1];
    deaf.lines.get_mut().set_read_timeout(Some(Duration::from_secs(60))).expect("a deadline");
    assert!(deaf.lines.read(&mut rest).is_ok(), "it goes on with what comes");
}
