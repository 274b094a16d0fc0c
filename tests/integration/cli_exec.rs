//! `lanes exec` and `lanes logs` as a program, with real keepers.

use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::stage::{Stage, until};

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn ended(child: Child) -> Ran {
    let output = child.wait_with_output().expect("ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn run(stage: &Stage, arguments: &[&str]) -> Ran {
    ended(stage.lanes(arguments).spawn().expect("starts"))
}

fn sh(stage: &Stage, script: &str) -> Ran {
    run(stage, &["exec", "a", "--", "sh", "-c", script])
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("signals");
}

#[test]
fn streams_come_apart_and_the_exit_code_is_passed() {
    let stage = Stage::new();
    let ran = sh(&stage, "echo out; echo err >&2; exit 7");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(7), "out\n", "err\n"));
    assert_eq!(sh(&stage, "kill -9 $$").code, Some(137));
    assert_eq!(sh(&stage, "true").code, Some(0));
}

#[test]
fn large_output_is_whole() {
    let stage = Stage::new();
    let ran = sh(&stage, "seq 1 200000");
    assert_eq!(ran.code, Some(0));
    assert_eq!(ran.stdout.lines().count(), 200_000);
    assert!(ran.stdout.ends_with("\n200000\n"));
}

#[test]
fn standard_input_is_streamed_and_its_end_too() {
    let stage = Stage::new();
    let mut child = stage.lanes(&["exec", "a", "--", "cat"]).stdin(Stdio::piped()).spawn().expect("starts");
    let (mut input, mut output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    input.write_all(b"one\n").expect("writes");
    let mut first = [0; 4];
    output.read_exact(&mut first).expect("comes back before the end of the input");
    assert_eq!(&first, b"one\n");
    let many = "x".repeat(1 << 20);
    let writer = std::thread::spawn(move || {
        input.write_all(many.as_bytes()).expect("writes");
    });
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("reads");
    writer.join().expect("written");
    assert_eq!(rest.len(), 1 << 20);
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}

#[test]
fn without_input_the_command_sees_the_end_at_once() {
    let stage = Stage::new();
    assert_eq!(sh(&stage, "cat; echo done").stdout, "done\n");
}

#[test]
fn a_timeout_ends_the_tree_and_is_124() {
    let stage = Stage::new();
    let ran =
        run(&stage, &["exec", "a", "--timeout", "300ms", "--", "sh", "-c", "setsid sleep 600 & sleep 600"]);
    assert_eq!(ran.code, Some(124));
    until("nobody of the run is left", || {
        !lanes::proc::all().iter().any(|one| lanes::keeper::has_secret(one.pid, &stage.secret))
    });
}

#[test]
fn an_interrupt_is_passed_on_and_a_second_ends_everything() {
    let stage = Stage::new();
    let first = stage.work().join("first");
    let up = stage.work().join("up");
    let script = "trap 'touch first' INT; touch up; while :; do sleep 0.05; done";
    let child = stage.lanes(&["exec", "a", "--", "sh", "-c", script]).spawn().expect("starts");
    until("the command is up", || up.exists());
    signal(&child, Signal::INT);
    until("the command was asked", || first.exists());
    signal(&child, Signal::INT);
    assert_eq!(ended(child).code, Some(130));
    until("nobody of the run is left", || {
        !lanes::proc::all().iter().any(|one| lanes::keeper::has_secret(one.pid, &stage.secret))
    });
}

#[test]
fn output_goes_on_when_the_daemon_has_gone() {
    let mut stage = Stage::new();
    let (up, go) = (stage.work().join("up"), stage.work().join("go"));
    let script = "touch up; while ! test -e go; do sleep 0.02; done; echo after; exit 5";
    let child = stage.lanes(&["exec", "a", "--", "sh", "-c", script]).spawn().expect("starts");
    until("the command is up", || up.exists());
    stage.stop();
    std::fs::write(go, "").expect("writes");
    let ran = ended(child);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(5), "after\n"));
}

#[test]
fn json_is_one_object_with_the_exit_and_no_output() {
    let stage = Stage::new();
    let ran = run(&stage, &["exec", "a", "--json", "--", "sh", "-c", "echo noise; exit 3"]);
    assert_eq!(ran.code, Some(3));
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).expect("one object");
    assert_eq!((&value["schema"], &value["task"]["exit"]["code"]), (&1.into(), &3.into()));
    assert_eq!(value["task"]["state"], "ended");
}

#[test]
fn a_detached_run_prints_its_id_and_logs_follow_it() {
    let stage = Stage::new();
    let ran = run(&stage, &["exec", "a", "--detach", "--", "sh", "-c", "echo one; echo two >&2; exit 1"]);
    let id = ran.stdout.trim_end();
    assert_eq!(ran.code, Some(0));
    let logs = run(&stage, &["logs", "a", "--run", id, "-f"]);
    assert_eq!(logs.code, Some(0));
    let mut lines: Vec<_> = logs.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "two"]);
    let logs = run(&stage, &["logs", "a", "--run", id, "--json", "--since", "4"]);
    let chunks: Vec<serde_json::Value> =
        logs.stdout.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!((&chunks[0]["offset"], chunks.len()), (&4.into(), 1));
    assert_eq!(run(&stage, &["logs", "a", "--terminal", id]).code, Some(4));
}

#[test]
fn a_reader_that_leaves_ends_the_command_as_in_a_pipe() {
    let stage = Stage::new();
    let mut child = stage.lanes(&["exec", "a", "--", "sh", "-c", "exec yes"]).spawn().expect("starts");
    let mut output = child.stdout.take().expect("piped");
    let mut some = [0; 100];
    output.read_exact(&mut some).expect("reads");
    drop(output);
    assert_eq!(child.wait().expect("ends").code(), Some(141));
    until("nobody of the run is left", || {
        !lanes::proc::all().iter().any(|one| lanes::keeper::has_secret(one.pid, &stage.secret))
    });
}

#[test]
fn a_command_that_is_not_there_is_an_error_of_the_request() {
    let stage = Stage::new();
    let ran = run(&stage, &["exec", "a", "--json", "--", "no-such-command-at-all"]);
    let value: serde_json::Value = serde_json::from_str(&ran.stderr).expect("one object");
    assert_eq!(value["error"]["code"], "COMMAND_NOT_FOUND");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
}

#[test]
fn failures_are_told_on_standard_error_with_their_exit_code() {
    let stage = Stage::new();
    let ran = run(&stage, &["show", "a\u{1b}[2J"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(4), ""));
    assert!(
        ran.stderr.contains("a\\u{1b}[2J [LANE_NOT_FOUND]") && ran.stderr.contains("hint: "),
        "{}",
        ran.stderr
    );
    let ran = run(&stage, &["--json", "exec", "a"]);
    let value: serde_json::Value = serde_json::from_str(&ran.stderr).expect("one object");
    assert_eq!((ran.code, &value["error"]["code"]), (Some(2), &"VALIDATION_ERROR".into()));
    let inside = stage.lanes(&["--home", "other", "ls"]).env("LANES_TASK_ID", "rn").spawn().expect("starts");
    let ran = ended(inside);
    assert!(ran.stderr.contains("[DAEMON_DOWN]") && !stage.work().join("other").exists(), "{}", ran.stderr);
    assert_eq!(ran.code, Some(1));
}
