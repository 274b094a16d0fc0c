//! Ending a task whole, whatever became of its keeper.

use std::time::Duration;

use lanes::keeper::{ExitStatus, Spec};
use lanes::task::end;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::task::{Bench, in_time, read_until};

const SCRIPT: &str =
    "setsid sleep 300 & (setsid sh -c '(trap \"\" TERM; echo deaf; sleep 300; sleep 300) & ' &); sleep 300";

async fn started(bench: &Bench) -> (Spec, u32) {
    let spec = bench.run(SCRIPT);
    let started = bench.start(&spec).await;
    read_until(&spec, "deaf").await;
    (spec, started.identity.keeper_pid)
}

#[tokio::test]
async fn a_task_with_a_keeper_is_ended_by_it() {
    let bench = Bench::new();
    let (spec, _keeper) = started(&bench).await;
    let ended = in_time("the end", end(spec.run_dir.as_path(), Duration::from_millis(100))).await;
    assert!(ended.complete && ended.swept.is_empty(), "{ended:?}");
    assert_eq!(ended.exit.as_ref().map(|e| e.status), Some(ExitStatus::Signal(15)));
    assert!(bench.marked().is_empty());
    // Again, and for a task that never was.
    assert_eq!(in_time("the end", end(spec.run_dir.as_path(), Duration::ZERO)).await, ended);
    assert!(end(bench.dir.path(), Duration::ZERO).await.complete);
}

#[tokio::test]
async fn a_task_whose_socket_is_gone_is_ended_all_the_same() {
    let bench = Bench::new();
    let (spec, _keeper) = started(&bench).await;
    std::fs::remove_file(spec.run_dir.as_path().join("keeper.sock")).expect("removed");
    let ended = in_time("the end", end(spec.run_dir.as_path(), Duration::from_millis(100))).await;
    // Asking the first is the end of the command, and then its keeper may be faster with the others.
    assert!(ended.complete && !ended.swept.is_empty(), "{ended:?}");
    assert_eq!(ended.exit.map(|e| e.status), Some(ExitStatus::Signal(15)));
    assert!(bench.marked().is_empty());
}

#[tokio::test]
async fn a_task_whose_keeper_was_killed_is_ended_all_the_same() {
    let bench = Bench::new();
    let (spec, keeper) = started(&bench).await;
    kill_process(Pid::from_raw(i32::try_from(keeper).expect("a pid")).expect("not 0"), Signal::KILL)
        .expect("killed");
    let ended = in_time("the end", end(spec.run_dir.as_path(), Duration::from_millis(100))).await;
    assert!(ended.complete && ended.swept.len() >= 3 && ended.exit.is_none(), "{ended:?}");
    assert!(bench.marked().is_empty());
}

#[tokio::test]
async fn a_task_in_process_is_ended_by_its_thread() {
    let bench = Bench::in_process();
    let (spec, _keeper) = started(&bench).await;
    let ended = in_time("the end", end(spec.run_dir.as_path(), Duration::from_millis(100))).await;
    assert!(ended.complete, "{ended:?}");
    assert_eq!(ended.exit.map(|e| e.status), Some(ExitStatus::Signal(15)));
    assert!(bench.marked().is_empty());
    assert!(in_time("again", end(spec.run_dir.as_path(), Duration::ZERO)).await.complete);
}
