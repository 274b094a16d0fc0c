//! Tests of `src/lanes/phase.rs` and `src/lanes/terminal.rs`: the phases of a terminal, what tells them.

use lanes::api::SignalView;
use lanes::clock::Timestamp;
use lanes::ids::{TaskId, TaskKind};
use lanes::keeper::{Exit, ExitStatus, Shape};
use lanes::lanes::lane::{Lane, SIGNALS};
use lanes::lanes::machine::{Input, Sight, apply};
use lanes::lanes::phase::{Happening, Phase, next, print};

use super::lanes_machine::{AT, identity, ready, task};

/// Spec 007 with its holes closed, and what a terminal is after its end.
const TABLE: &str = "\
idle       spawn_requested  spawning
idle       terminated       stopped
spawning   spawn_succeeded  active
spawning   spawn_failed     errored
spawning   terminated       stopped
spawning   unexpected_exit  errored
active     throttled        throttled
active     terminated       stopped
active     unexpected_exit  errored
throttled  output_resumed   active
throttled  terminated       stopped
throttled  unexpected_exit  errored
errored    cleanup          stopped";

#[test]
fn the_phases_of_a_terminal_follow_the_table() {
    assert_eq!(print(), TABLE);
    for happening in Happening::ALL {
        assert_eq!(next(Phase::Stopped, happening), None, "what has stopped stays so");
    }
}

fn exit(status: ExitStatus) -> Exit {
    Exit { status, timed_out: false, at: AT, ms: 1, max_rss_kb: 1, cpu_ms: 1, end: 0 }
}

fn sent(signal: i32) -> SignalView {
    SignalView { signal, at: AT, outcome: "delivered".into(), error: None }
}

/// What the phases were after these inputs, and the lane then.
fn phases(inputs: Vec<Input>) -> (Vec<String>, Lane) {
    let (mut lane, mut told) = (ready(), Vec::new());
    for input in inputs {
        let step = apply(&lane, input, AT).expect("accepted");
        let changed = step.facts.iter().filter(|fact| fact.topic == "terminal.state.changed");
        told.extend(changed.map(|fact| fact.payload["to"].as_str().expect("a phase").to_owned()));
        lane = step.lane;
    }
    (told, lane)
}

#[track_caller]
fn check(then: impl FnOnce(TaskId) -> Vec<Input>, expected: &[&str]) -> Lane {
    let task = task(&ready(), TaskKind::Terminal, None);
    let id = task.id;
    let started = Input::Started(id, identity(&task));
    let mut inputs = vec![Input::Start(Box::new(task)), started];
    inputs.extend(then(id));
    let (told, lane) = phases(inputs);
    assert_eq!(told, [&["spawning", "active"], expected].concat());
    lane
}

#[test]
fn an_end_is_expected_when_the_program_returns_or_was_told_to() {
    let ended = |id, status| Input::Ended(id, exit(status));
    check(|id| vec![ended(id, ExitStatus::Code(0))], &["stopped"]);
    check(|id| vec![ended(id, ExitStatus::Code(1))], &["stopped"]);
    check(|id| vec![ended(id, ExitStatus::Signal(11))], &["errored"]);
    check(|id| vec![ended(id, ExitStatus::Lost(true))], &["errored"]);
    check(|id| vec![Input::Signalled(id, sent(2)), ended(id, ExitStatus::Signal(2))], &["stopped"]);
    check(|id| vec![Input::Signalled(id, sent(2)), ended(id, ExitStatus::Signal(11))], &["errored"]);
    let killed =
        check(|id| vec![Input::Signalled(id, sent(15)), ended(id, ExitStatus::Signal(9))], &["stopped"]);
    let signals = &killed.tasks.values().next().expect("it").signals;
    assert_eq!((signals[1].signal, signals[1].outcome.as_str()), (9, "escalated"));
    check(|id| vec![Input::Cleanup { force: false }, ended(id, ExitStatus::Signal(9))], &["stopped"]);
}

#[test]
fn one_that_is_held_back_is_throttled_until_it_is_not_or_ends() {
    let held = |id, yes| Input::Throttled(id, yes);
    check(|id| vec![held(id, true), held(id, true), held(id, false)], &["throttled", "active"]);
    check(|id| vec![held(id, false)], &[]);
    let crash = |id| vec![held(id, true), Input::Ended(id, exit(ExitStatus::Signal(6)))];
    check(crash, &["throttled", "errored"]);
}

#[test]
fn one_that_cannot_be_started_is_errored_and_the_lane_closes_it() {
    let task = task(&ready(), TaskKind::Terminal, None);
    let id = task.id;
    let failure = lanes::failure::Failure::new(lanes::failure::Code::Io, "no");
    let (told, _lane) =
        phases(vec![Input::Start(Box::new(task.clone())), Input::NotStarted(id, failure.clone())]);
    assert_eq!(told, ["spawning", "errored"]);
    let ended_before =
        vec![Input::Start(Box::new(task)), Input::Signalled(id, sent(15)), Input::NotStarted(id, failure)];
    assert_eq!(phases(ended_before).0, ["spawning", "stopped"]);
    let closed = |id| {
        let cleaned = Input::Cleaned { notes: Vec::new(), reason: "cleanup".into() };
        let crash = Input::Ended(id, exit(ExitStatus::Signal(11)));
        vec![crash, Input::Gone(id), Input::Cleanup { force: false }, cleaned]
    };
    check(closed, &["errored", "stopped"]);
}

#[test]
fn signals_are_kept_up_to_a_number_and_what_is_seen_is_told() {
    let lane = check(
        |id| (0..60).map(|at| Input::Signalled(id, SignalView { at: Timestamp(at), ..sent(2) })).collect(),
        &[],
    );
    let signals = &lane.tasks.values().next().expect("it").signals;
    assert_eq!((signals.len(), signals[0].at), (SIGNALS, Timestamp(10)));
    let id = *lane.tasks.keys().next().expect("it");
    let resized = Sight::Resized { cols: 100, rows: 30, by: None };
    let step = apply(&lane, Input::Seen(id, resized.clone()), AT).expect("accepted");
    assert_eq!(step.facts[0].payload, serde_json::json!({ "task_id": id, "cols": 100, "rows": 30 }));
    assert_eq!(step.lane.tasks[&id].shape, Shape::Terminal { cols: 100, rows: 30 });
    let again = apply(&step.lane, Input::Seen(id, resized), AT).expect("accepted");
    assert_eq!(again.facts, []);
}
