//! The process tree of a task: followed wherever it goes, ended whole.

use std::time::Duration;

use lanes::keeper::protocol::State;
use lanes::keeper::{ExitStatus, Shape};
use lanes::proc;
use lanes::task::{Link, alive, read_exit, sweep};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::task::{Bench, in_time, read_all, read_until, wait_for};

/// Descendants that do what they can to get away: new sessions, no parent, deaf to TERM and HUP.
const RUNAWAYS: &str = r#"
    setsid sleep 300 &
    nohup sleep 301 >/dev/null 2>&1 &
    (setsid sh -c '(trap "" TERM HUP; echo deaf; while :; do sleep 302; done) & exit 0' &)
    env -i PATH="$PATH" setsid sh -c '(trap "" TERM HUP INT; sleep 303; sleep 303) & exit 0' &
    (sleep 304 & sleep 305 & kill -STOP $!) &
    sleep 0.1
    echo spread
"#;

fn kill9(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not 0");
    kill_process(pid, Signal::KILL).expect("killed");
}

async fn nobody_is_left(bench: &Bench) {
    wait_for("the end of everybody", || bench.marked().is_empty()).await;
}

#[tokio::test]
async fn a_timeout_ends_everybody_before_the_end_is_told() {
    let bench = Bench::new();
    let mut spec = bench.run(&format!("{RUNAWAYS} trap '' TERM; while :; do sleep 300; done"));
    spec.timeout_ms = Some(700);
    spec.grace_ms = 200;
    let started = bench.start(&spec).await;
    let keeper = started.identity.keeper_pid;
    read_until(&spec, "spread").await;
    assert!(proc::descendants(keeper).len() >= 6);
    let exit = read_all(&spec).await.exit.expect("an exit");
    assert!(exit.timed_out);
    assert_eq!(exit.status, ExitStatus::Signal(9));
    assert!(bench.marked().is_empty(), "somebody is left");
    // Also the one that erased its environment.
    in_time("the keeper's end", started.keeper_gone.wait()).await;
}

#[tokio::test]
async fn a_run_with_a_timeout_that_ends_in_time_leaves_nobody_either() {
    let bench = Bench::new();
    let mut spec = bench.run(&format!("{RUNAWAYS} exit 4"));
    spec.timeout_ms = Some(60_000);
    spec.grace_ms = 100;
    bench.start(&spec).await;
    let exit = read_all(&spec).await.exit.expect("an exit");
    assert_eq!((exit.status, exit.timed_out), (ExitStatus::Code(4), false));
    assert!(bench.marked().is_empty(), "somebody is left");
}

#[tokio::test]
async fn descendants_outlive_a_run_without_timeout_until_the_tree_is_ended() {
    let bench = Bench::new();
    let spec = bench.run(&format!("{RUNAWAYS} (sleep 0.3; echo later; sleep 300) & exit 0"));
    let started = bench.start(&spec).await;
    let exit = read_all(&spec).await.exit.expect("an exit");
    assert_eq!(exit.status, ExitStatus::Code(0));
    read_until(&spec, "later").await;
    let link = bench.link(&spec).await;
    let report = link.status().await.expect("a report");
    assert_eq!(report.state, State::Lingering);
    assert_eq!(report.exit, Some(exit));
    assert!(report.descendant_count >= 6, "{report:?}");
    link.kill_tree(Duration::from_millis(100)).await.expect("begun");
    in_time("the keeper's end", started.keeper_gone.wait()).await;
    in_time("the end of the link", link.gone()).await;
    assert!(bench.marked().is_empty());
    assert!(!spec.run_dir.as_path().join("keeper.sock").exists());
}

#[tokio::test]
async fn the_keeper_leaves_by_itself_when_the_last_descendant_ends() {
    let bench = Bench::new();
    let spec = bench.run("(setsid sh -c 'sleep 0.4; echo last' &) ; echo first");
    let started = bench.start(&spec).await;
    assert_eq!(read_all(&spec).await.exit.expect("an exit").end, 6);
    in_time("the keeper's end", started.keeper_gone.wait()).await;
    // What the descendants wrote later is recorded too.
    assert_eq!(read_until(&spec, "last").await, "first\nlast\n");
}

#[tokio::test]
async fn a_terminal_is_ended_whole_too() {
    let bench = Bench::new();
    let spec = bench.terminal(&format!("{RUNAWAYS} trap '' HUP TERM; while :; do sleep 300; done"));
    let started = bench.start(&spec).await;
    read_until(&spec, "spread").await;
    let link = bench.link(&spec).await;
    link.kill_tree(Duration::from_secs(600)).await.expect("begun");
    assert_eq!(link.status().await.expect("a report").state, State::Ending);
    // A second one with less patience counts.
    link.kill_tree(Duration::ZERO).await.expect("hastened");
    in_time("the keeper's end", started.keeper_gone.wait()).await;
    assert!(bench.marked().is_empty());
    assert_eq!(read_exit(spec.run_dir.as_path()).expect("an exit").status, ExitStatus::Signal(9));
}

#[tokio::test]
async fn an_ordinary_command_gets_its_grace() {
    let bench = Bench::new();
    let spec = bench.run("trap 'echo tidy; exit 5' TERM; echo ready; while :; do sleep 0.05; done");
    bench.start(&spec).await;
    read_until(&spec, "ready").await;
    bench.link(&spec).await.kill_tree(Duration::from_secs(60)).await.expect("begun");
    let out = read_all(&spec).await;
    assert_eq!(out.exit.expect("an exit").status, ExitStatus::Code(5));
    assert!(out.stdout.ends_with(b"tidy\n"));
}

#[tokio::test]
async fn signals_to_the_keeper_end_nothing() {
    let bench = Bench::new();
    let spec = bench.run("sleep 300");
    let started = bench.start(&spec).await;
    let keeper = Pid::from_raw(i32::try_from(started.identity.keeper_pid).expect("a pid")).expect("not 0");
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1] {
        kill_process(keeper, signal).expect("sent");
    }
    let link = bench.link(&spec).await;
    assert_eq!(link.status().await.expect("a report").state, State::Running);
    link.kill_tree(Duration::ZERO).await.expect("begun");
    in_time("the keeper's end", started.keeper_gone.wait()).await;
}

#[tokio::test]
async fn what_a_keeper_killed_by_force_leaves_is_swept_and_nothing_else() {
    let bench = Bench::new();
    let other = Bench::new();
    let bystander = other.run("echo up; exec sleep 300");
    other.start(&bystander).await;
    read_until(&bystander, "up").await;
    let before = other.marked().len();
    let spec = bench.run(
        "setsid sleep 300 & (trap '' TERM; echo deaf; while :; do sleep 0.1; done) & echo up; exec sleep 300",
    );
    let started = bench.start(&spec).await;
    read_until(&spec, "up").await;
    read_until(&spec, "deaf").await;
    assert!(sweep(&started.identity, Duration::ZERO).await.is_empty(), "its keeper lives");
    kill9(started.identity.keeper_pid);
    in_time("the keeper's end", started.keeper_gone.wait()).await;
    assert!(bench.marked().len() >= 3);
    assert!(Link::connect(spec.run_dir.as_path()).await.is_err());
    let swept = in_time("the sweep", sweep(&started.identity, Duration::from_millis(100))).await;
    assert!(swept.len() >= 3, "{swept:?}");
    assert!(swept.iter().any(|s| s.pid == started.identity.pid));
    nobody_is_left(&bench).await;
    assert_eq!(other.marked().len(), before, "the other task was touched");
    // What was recorded before is there; that the end is unknown is said by its absence.
    let out = read_all(&spec).await;
    assert_eq!(out.exit, None);
    assert!(String::from_utf8_lossy(&out.all).contains("up"));
    bench_end(&other, &bystander).await;
}

async fn bench_end(bench: &Bench, spec: &lanes::keeper::Spec) {
    bench.link(spec).await.kill_tree(Duration::ZERO).await.expect("begun");
    nobody_is_left(bench).await;
}

#[tokio::test]
async fn a_task_in_process_runs_times_out_and_is_ended_whole() {
    let bench = Bench::in_process();
    let spec = bench.spec(Shape::Run { stdin: true }, &["sh", "-c", "cat; echo err >&2; exit 3"]);
    let started = bench.start(&spec).await;
    assert_eq!(started.identity.keeper_pid, std::process::id());
    let link = bench.link(&spec).await;
    link.input_all(b"hello\n").await.expect("taken");
    link.close_input().await.expect("closed");
    let out = read_all(&spec).await;
    assert_eq!((&out.stdout[..], &out.stderr[..]), (&b"hello\n"[..], &b"err\n"[..]));
    assert_eq!(out.exit.expect("an exit").status, ExitStatus::Code(3));
    in_time("the keeper's end", started.keeper_gone.wait()).await;

    let mut spec = bench.run(
        "setsid sleep 300 & nohup sleep 301 >/dev/null 2>&1 & (setsid sh -c 'trap \"\" TERM; sleep 9; sleep 300' &); sleep 300",
    );
    spec.timeout_ms = Some(300);
    spec.grace_ms = 100;
    let started = bench.start(&spec).await;
    let exit = read_all(&spec).await.exit.expect("an exit");
    assert!(exit.timed_out);
    assert!(bench.marked().is_empty(), "somebody is left");
    in_time("the keeper's end", started.keeper_gone.wait()).await;

    let spec = bench.terminal("stty size; sleep 0.2; (trap '' HUP; sleep 0.3) & exit 2");
    let started = bench.start(&spec).await;
    assert_eq!(read_until(&spec, "\n").await.trim(), "24 80");
    in_time("the keeper's end", started.keeper_gone.wait()).await;
    assert_eq!(read_exit(spec.run_dir.as_path()).expect("an exit").status, ExitStatus::Code(2));
}

#[tokio::test]
async fn a_host_keeps_its_own_children() {
    // A child of the host's that ended is the host's to wait for, also while a task in process is kept.
    let mut own = std::process::Command::new("sh").args(["-c", "exit 42"]).spawn().expect("started");
    let bench = Bench::in_process();
    let spec = bench.run("sleep 0.2");
    bench.start(&spec).await;
    read_all(&spec).await;
    assert_eq!(own.wait().expect("still ours").code(), Some(42));
}

/// Not a test of its own: the host that the next test kills.
#[tokio::test]
#[ignore = "started by `a_task_outlives_the_process_that_started_it`"]
async fn host_that_is_killed() {
    let Ok(spec) = std::env::var("LANES_TEST_HOST_SPEC") else { return };
    let home = std::env::var("LANES_TEST_HOST_HOME").expect("a home");
    let choice = lanes::task::KeeperChoice::Program(crate::support::task::keeper_program());
    let launcher = lanes::task::Launcher::new(choice, std::path::Path::new(&home));
    let spec = serde_json::from_str(&spec).expect("a spec");
    let _started = launcher.start(spec).await.expect("started");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_task_outlives_the_process_that_started_it_without_a_missing_byte() {
    let bench = Bench::new();
    let lines = 60_000;
    let spec = bench.run(&format!("i=0; while [ $i -lt {lines} ]; do echo $i; i=$((i+1)); done; exit 6"));
    let mut host = std::process::Command::new(std::env::current_exe().expect("ourselves"))
        .args(["--ignored", "--exact", "keeper_tree::host_that_is_killed", "--nocapture"])
        .env("LANES_TEST_HOST_SPEC", serde_json::to_string(&spec).expect("JSON"))
        .env("LANES_TEST_HOST_HOME", bench.home())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the host starts");
    read_until(&spec, "100\n").await;
    host.kill().expect("killed");
    host.wait().expect("waited for");
    let identity = lanes::task::read_identity(spec.run_dir.as_path()).expect("task.json");
    let out = read_all(&spec).await;
    assert!(alive(identity.keeper_pid, identity.keeper_start, &identity.boot_id) || out.exit.is_some());
    assert_eq!(out.exit.expect("an exit").status, ExitStatus::Code(6));
    let expected: String = (0..lines).map(|i| format!("{i}\n")).collect();
    assert!(out.all == expected.as_bytes(), "output differs");
    wait_for("the keeper's end", || !alive(identity.keeper_pid, identity.keeper_start, &identity.boot_id))
        .await;
}

#[tokio::test]
async fn processes_that_multiply_are_ended_too() {
    let bench = Bench::new();
    let script = "trap '' TERM; n=0; while [ $n -lt 400 ]; do (setsid sleep 300 >/dev/null 2>&1 &); n=$((n+1)); done; wait; sleep 300";
    let spec = bench.run(&format!("echo up; {script} & {script}"));
    let started = bench.start(&spec).await;
    read_until(&spec, "up").await;
    wait_for("some of them", || bench.marked().len() > 20).await;
    bench.link(&spec).await.kill_tree(Duration::ZERO).await.expect("begun");
    in_time("the keeper's end", started.keeper_gone.wait()).await;
    assert!(bench.marked().is_empty());

    let spec = bench.run(&format!("echo up; {script} & {script}"));
    let started = bench.start(&spec).await;
    read_until(&spec, "up").await;
    wait_for("some of them", || bench.marked().len() > 20).await;
    kill9(started.identity.keeper_pid);
    in_time("the keeper's end", started.keeper_gone.wait()).await;
    in_time("the sweep", sweep(&started.identity, Duration::ZERO)).await;
    assert!(bench.marked().is_empty());
}
