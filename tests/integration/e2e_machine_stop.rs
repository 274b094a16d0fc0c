//! A stop as of a machine: daemon and every keeper killed at once, with or without what they hold, among things
//! of others. Everything is there afterwards, and nothing is left over.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lanes::ids::{TaskId, TaskKind};
use lanes::proc;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::e2e::{Made, Scene};
use crate::support::stage::until;

/// As many as may be open by default.
const LANES: usize = 50;
/// Run folders that were left, trees of other tools: ten of each.
const PLANTED: usize = 10;
/// What the start may take with all of it, in a debug build on a machine that is busy.
const BUDGET: Duration = Duration::from_secs(30);

/// Who is killed with the daemon and the keepers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    Keepers,
    Everybody,
}

#[test]
fn fifty_lanes_lose_nothing_when_daemon_and_keepers_are_killed_at_once() {
    stop_and_start(Killed::Keepers);
}

#[test]
fn fifty_lanes_lose_nothing_when_everything_is_killed_at_once() {
    stop_and_start(Killed::Everybody);
}

fn stop_and_start(killed: Killed) {
    let scene = Scene::new();
    let lanes = work(&scene);
    let heads: BTreeMap<&str, String> = lanes
        .iter()
        .map(|lane| (lane.name.as_str(), scene.git_in(&lane.path, &["rev-parse", "HEAD"])))
        .collect();
    let before = scene.inventory();
    assert!(
        before.processes.len() >= 4 * LANES,
        "two keepers and two commands a lane: {}",
        before.processes.len()
    );
    let foreign = plant_trees(&scene);
    kill_at_once(&scene, killed);
    let left = plant_runs(&scene);

    let begun = Instant::now();
    scene.ok(&["daemon", "start"]);
    let started = begun.elapsed();
    until("every task has ended", || tasks(&scene).iter().all(|task| task["state"] == "ended"));
    until("nothing of a task runs", || scene.inventory().processes.is_empty());
    let done = scene.events("reconciliation.completed");
    let payload = done.last().expect("it was reconciled")["payload"].clone();
    let begun = Instant::now();
    scene.ok(&["reconcile"]);
    let again = begun.elapsed();
    println!(
        "{killed:?}: {LANES} lanes, {} planted: start {started:?}, reconciled {payload}, again {again:?}",
        2 * PLANTED
    );
    assert!(started < BUDGET && again < BUDGET, "{started:?}, {again:?}");
    assert_eq!(payload["failed"], 0);

    let now = scene.json(&["ls"])["lanes"].as_array().cloned().expect("a list");
    assert_eq!(now.len(), LANES);
    for lane in &lanes {
        let seen = now.iter().find(|seen| seen["name"] == lane.name.as_str()).expect("it is there");
        assert_eq!((&seen["state"], &seen["id"]), (&"ready".into(), &lane.id.as_str().into()), "{seen}");
        assert_eq!(scene.git_in(&lane.path, &["rev-parse", "HEAD"]), heads[lane.name.as_str()]);
        let status = scene.git_in(&lane.path, &["status", "--porcelain"]);
        assert_eq!(status, " M a.txt\nA  staged\n?? untracked");
        for (file, text) in [("a.txt", "changed in "), ("staged", "staged in "), ("untracked", "work of ")] {
            let read = std::fs::read_to_string(lane.path.join(file)).expect("reads");
            assert_eq!(read, format!("{text}{}\n", lane.name));
        }
    }
    // Every end is told, once, with its reason.
    let lost: Vec<Value> = tasks(&scene);
    assert!(lost.len() == 2 * LANES && lost.iter().all(|task| task["lost"] == "keeper_ended"), "{lost:#?}");
    assert_eq!(scene.inventory().sockets, Default::default());
    for run in left {
        assert!(!run.exists(), "{} was left", run.display());
    }
    for tree in &foreign {
        assert_eq!(std::fs::read_to_string(tree.join("theirs")).expect("reads"), "not ours\n");
        let tree = tree.to_str().expect("text");
        scene.git(&["worktree", "unlock", tree]);
        scene.git(&["worktree", "remove", "--force", tree]);
    }
    // What is there can be worked with: one of them is closed and comes back as it was.
    let lane = &lanes[LANES / 2];
    scene.ok(&["cleanup", &lane.name]);
    let back = scene.restore(&[&lane.name]);
    assert_eq!(
        std::fs::read_to_string(back.path.join("untracked")).expect("reads"),
        format!("work of {}\n", lane.name)
    );
    scene.ok(&["cleanup", "--all"]);
    scene.nothing_open();
}

/// Fifty lanes, each with a terminal and a run whose children hide in sessions of their own, a commit that
/// nobody else has, and changed, staged and untracked files.
fn work(scene: &Scene) -> Vec<Made> {
    let agent = "(setsid sleep 3000 &); trap '' HUP TERM; while :; do sleep 1; done";
    let lanes: Vec<Made> = (0..LANES)
        .map(|n| {
            let lane = scene.create_with(&["create", &format!("n{n}"), "--", "sh", "-c", agent]);
            scene.ok(&["exec", &lane.name, "--detach", "--", "sleep", "3000"]);
            scene.git_in(&lane.path, &["commit", "-q", "--allow-empty", "-m", "by nobody else"]);
            for (file, text) in
                [("a.txt", "changed in "), ("staged", "staged in "), ("untracked", "work of ")]
            {
                std::fs::write(lane.path.join(file), format!("{text}{}\n", lane.name)).expect("writes");
            }
            scene.git_in(&lane.path, &["add", "staged"]);
            lane
        })
        .collect();
    until("all run", || tasks(scene).iter().filter(|task| task["state"] == "live").count() == 2 * LANES);
    lanes
}

/// The tasks of every open lane.
fn tasks(scene: &Scene) -> Vec<Value> {
    let lanes = scene.json(&["ls"])["lanes"].as_array().cloned().expect("a list");
    lanes.iter().flat_map(|lane| lane["tasks"].as_array().cloned().expect("a list")).collect()
}

/// Signals the daemon and every keeper, and for a whole machine all that they started, before anybody can
/// say anything about it.
fn kill_at_once(scene: &Scene, killed: Killed) {
    let daemon = scene.daemon().as_raw_nonzero().get().cast_unsigned();
    let keeper = |task: &Value| u32::try_from(task["keeper_pid"].as_u64().expect("a pid")).expect("a pid");
    let keepers: Vec<u32> = tasks(scene).iter().map(keeper).collect();
    let mut doomed = vec![daemon];
    doomed.extend(&keepers);
    if killed == Killed::Everybody {
        doomed
            .extend(keepers.iter().flat_map(|keeper| proc::descendants(*keeper)).map(|process| process.pid));
    }
    let processes: Vec<_> = doomed.into_iter().filter_map(proc::process).collect();
    for process in &processes {
        lanes::keeper::signal(process, &[Signal::KILL]);
    }
    let lives = |process: &proc::Process| {
        proc::process(process.pid).is_some_and(|now| now.start == process.start && !now.is_dead())
    };
    until("all of them are gone", || !processes.iter().any(lives));
}

/// Run folders of tasks that no lane knows, with sockets that nobody listens at.
fn plant_runs(scene: &Scene) -> Vec<PathBuf> {
    let any = std::fs::read_dir(scene.home().join("run"))
        .expect("a folder")
        .flatten()
        .next()
        .expect("a task")
        .path();
    let identity = std::fs::read_to_string(any.join("task.json")).expect("reads");
    let known = any.file_name().expect("a name").to_string_lossy().into_owned();
    (0..PLANTED)
        .map(|_| {
            let id = TaskId::generate(TaskKind::Run).to_string();
            let folder = scene.home().join("run").join(&id);
            std::fs::create_dir(&folder).expect("made");
            let secret = "0".repeat(64);
            let mut identity: Value =
                serde_json::from_str(&identity.replace(&known, &id)).expect("an object");
            identity["secret"] = secret.into();
            identity["lane_id"] = lanes::ids::LaneId::generate().to_string().into();
            std::fs::write(folder.join("task.json"), identity.to_string()).expect("written");
            let _socket = std::os::unix::net::UnixListener::bind(folder.join("keeper.sock")).expect("binds");
            folder
        })
        .collect()
}

/// Trees that another tool has made beside ours, locked by it.
fn plant_trees(scene: &Scene) -> Vec<PathBuf> {
    (0..PLANTED)
        .map(|n| {
            let tree = scene.path().join(format!("work/theirs-{n}"));
            let text = tree.to_str().expect("text");
            scene.git(&["worktree", "add", "-q", "--detach", "--lock", "--reason", "another tool 123", text]);
            std::fs::write(tree.join("theirs"), "not ours\n").expect("writes");
            tree
        })
        .collect()
}
