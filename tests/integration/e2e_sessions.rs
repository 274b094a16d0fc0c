//! Many sessions, over the end of the daemon and over an upgrade of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lanes::api::{Attach, Client, Command as Wanted, LaneRef, TaskAttach, TaskReply};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::e2e::Scene;
use crate::support::git::executable;
use crate::support::stage::until;

const LINES: usize = 60_000;
const KILLS: usize = 10;

/// Task, command and keeper of everything that is live in a lane.
fn live(scene: &Scene, lane: &str) -> BTreeSet<(String, u64, u64)> {
    let shown = scene.json(&["show", lane]);
    let tasks = shown["lane"]["tasks"].as_array().expect("a list");
    let live = tasks.iter().filter(|task| task["state"] == "live");
    let number = |value: &Value| value.as_u64().expect("a number");
    live.map(|task| {
        (task["id"].as_str().expect("an id").to_owned(), number(&task["pid"]), number(&task["keeper_pid"]))
    })
    .collect()
}

/// The numbers from 1 on, each on a line of its own, nothing else.
fn check_numbers(text: &str) {
    let mut wanted = 0;
    for line in text.lines() {
        wanted += 1;
        assert_eq!(line, wanted.to_string(), "line {wanted}");
    }
    assert_eq!(wanted, LINES);
}

#[test]
fn ten_ends_of_the_daemon_by_force_lose_no_line_and_end_nothing() {
    let scene = Scene::new();
    // A tenth of the lines after each sign, so that there is output between any two ends of the daemon.
    let script = format!(
        "i=0; while [ $i -lt {KILLS} ]; do while ! [ -e \"$1-$i\" ]; do sleep 0.01; done; \
         seq $((i*{0}+1)) $((i*{0}+{0})); i=$((i+1)); done; sleep 300",
        LINES / KILLS
    );
    let lane = scene.create_with(&["create", "a", "--", "sh", "-c", &script, "sh", "../terminal"]);
    let mut run = scene.command(&scene.repo(), &["exec", "a", "--", "sh", "-c", &script, "sh", "../run"]);
    let mut run: Child = run.spawn().expect("starts");
    let mut output = run.stdout.take().expect("piped");
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut output, &mut text).map(|_| text)
    });
    until("both are live", || live(&scene, "a").len() == 2);
    let before = live(&scene, "a");
    let signs = lane.path.parent().expect("the root of trees").to_path_buf();
    for round in 0..KILLS {
        for task in ["terminal", "run"] {
            std::fs::write(signs.join(format!("{task}-{round}")), "").expect("writes");
        }
        scene.kill_daemon();
        scene.ok(&["daemon", "start"]);
    }
    assert_eq!(live(&scene, "a"), before, "the same pids");
    let id = |kind: &str| before.iter().find(|(id, ..)| id.starts_with(kind)).expect("a task").0.clone();
    let last = LINES.to_string();
    let logged = |flag: &str, task: &str| scene.ok(&["logs", "a", flag, task]).replace('\r', "");
    until("both have written all", || {
        logged("--terminal", &id("tm_")).ends_with(&last) && logged("--run", &id("rn_")).ends_with(&last)
    });
    check_numbers(&logged("--terminal", &id("tm_")));
    check_numbers(&logged("--run", &id("rn_")));
    assert!(run.try_wait().expect("asked").is_none(), "who follows a run is not interrupted");
    scene.ok(&["cleanup", "a"]);
    assert_eq!(run.wait().expect("ends").code(), Some(143));
    check_numbers(&reading.join().expect("joined").expect("read"));
    for round in 0..KILLS {
        for task in ["terminal", "run"] {
            std::fs::remove_file(signs.join(format!("{task}-{round}"))).expect("removes");
        }
    }
    scene.nothing_open();
}

/// A program of another build: the same, and a byte more.
fn install(program: &Path, to: &Path, build: &str) {
    let mut bytes = std::fs::read(program).expect("reads");
    bytes.extend_from_slice(build.as_bytes());
    let fresh = to.with_extension(build);
    std::fs::write(&fresh, bytes).expect("writes");
    executable(&fresh);
    std::fs::rename(&fresh, to).expect("renames");
}

#[test]
fn an_upgrade_of_the_program_ends_nothing() {
    let scene = Scene::new();
    let bin = scene.path().join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    let programs = [PathBuf::from(env!("CARGO_BIN_EXE_lanes"))];
    let upgrade = |build: &str| {
        for program in &programs {
            install(program, &bin.join(program.file_name().expect("a name")), build);
        }
    };
    let lanes = |args: &[&str]| {
        let mut command = Command::new(bin.join("lanes"));
        command.args(args).env_clear().envs(scene.env()).current_dir(scene.repo()).stdin(Stdio::null());
        let output = command.output().expect("starts");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "lanes {args:?}: {out}{err}");
        out.into_owned()
    };
    upgrade("one");
    let script = "i=0; while read line; do i=$((i+1)); echo $i $line; done";
    lanes(&["create", "a", "--", "sh", "-c", script]);
    lanes(&["exec", "a", "--detach", "--", "sh", "-c", "echo before; sleep 300"]);
    lanes(&["send", "a", "one"]);
    let before = live(&scene, "a");
    assert_eq!(before.len(), 2);
    let keepers = || -> BTreeSet<PathBuf> {
        let keepers = live(&scene, "a").into_iter();
        keepers.filter_map(|(_, _, keeper)| std::fs::read_link(format!("/proc/{keeper}/exe")).ok()).collect()
    };
    let old = keepers();
    upgrade("two");
    lanes(&["daemon", "restart"]);
    assert_eq!(live(&scene, "a"), before, "the same pids");
    lanes(&["send", "a", "two"]);
    let terminal = &before.last().expect("two").0;
    let said = || lanes(&["logs", "a", "--terminal", terminal]);
    until("what was typed is answered", || said().contains("2 two"));
    assert!(said().contains("1 one"));
    lanes(&["create", "b", "--", "sh", "-c", script]);
    lanes(&["send", "b", "new"]);
    until("the new keeper works", || lanes(&["logs", "b"]).contains("1 new"));
    let (_, _, new) = live(&scene, "b").pop_first().expect("a task");
    let new = std::fs::read_link(format!("/proc/{new}/exe")).expect("a program");
    assert!(!old.contains(&new), "{new:?} is of the first build too");
    lanes(&["cleanup", "a", "b"]);
    scene.nothing_open();
    assert!(lanes(&["daemon", "stop"]).contains("stopped"));
}

#[test]
fn three_hundred_terminals_at_once_do_not_see_one_another_fall() {
    const TERMINALS: usize = 300;
    let scene = Scene::new();
    let lane = scene.create("a");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let started: Vec<TaskReply> = runtime.block_on(async {
        let client = Client::connect(&scene.home(), "test 1").await.expect("connects");
        let mut starts = tokio::task::JoinSet::new();
        let mut replies = Vec::new();
        for n in 0..TERMINALS {
            // A lane takes so many requests at once, and says so to who sends more.
            if starts.len() == 32 {
                replies.extend(starts.join_next().await.map(|reply| reply.expect("starts")));
            }
            let (client, words) =
                (client.clone(), LaneRef { lane: lane.id.as_str().into(), cwd: scene.repo().into() });
            let argv = ["sh", "-c", &format!("echo is {n}; read line; echo $line {n}; read more")];
            let command = Wanted { argv: argv.map(Into::into).to_vec(), ..Wanted::default() };
            let asked = Attach { lane: words, terminal: None, new: true, command };
            starts.spawn(async move { client.call::<TaskAttach>(asked).await.expect("starts") });
        }
        replies.extend(starts.join_all().await);
        replies
    });
    assert_eq!(live(&scene, "a").len(), TERMINALS);
    // One falls with its keeper, another one's command falls.
    let pid = |n: u32| Pid::from_raw(i32::try_from(n).expect("a pid")).expect("a pid");
    kill_process(pid(started[7].task.keeper_pid.expect("a keeper")), Signal::KILL).expect("signals");
    kill_process(pid(started[8].task.pid.expect("a command")), Signal::SEGV).expect("signals");
    until("both have fallen", || live(&scene, "a").len() == TERMINALS - 2);
    for (at, reply) in started.iter().enumerate().filter(|(at, _)| ![7, 8].contains(at)).step_by(29) {
        let id = reply.task.id.to_string();
        scene.ok(&["send", "a", "heard", "--terminal", &id]);
        until("it answers", || scene.ok(&["logs", "a", "--terminal", &id]).contains("\nheard "));
        let said = scene.ok(&["logs", "a", "--terminal", &id]).replace('\r', "");
        let number = said.lines().next().and_then(|line| line.strip_prefix("is ")).expect("its number");
        assert!(said.lines().any(|line| line == format!("heard {number}")), "terminal {at}: {said:?}");
    }
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
}
