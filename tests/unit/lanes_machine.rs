//! Tests of `src/lanes/machine.rs`: data tests, and the whole machine against a small model.

use std::collections::BTreeSet;

use lanes::clock::Timestamp;
use lanes::failure::{Code, Failure};
use lanes::ids::{CorrelationId, LaneId, SessionId, TaskId, TaskKind, WorkspaceId};
use lanes::keeper::{Exit, ExitStatus, Identity};
use lanes::lanes::lane::{HISTORY, Lane, Stage, Task};
use lanes::lanes::machine::{Effect, Input, Step, apply};
use lanes::lanes::table::State;
use lanes::worktree::{Order, Tree};
use proptest::prelude::*;

use crate::records;

pub(super) const AT: Timestamp = Timestamp(1_800_000_000_000);

fn order() -> Order {
    records::order(LaneId::generate(), "a", WorkspaceId::generate())
}

fn tree() -> Tree {
    Tree { ino: 2, ms: 3, ..records::tree(&order()) }
}

fn lane() -> Lane {
    Lane::new(order(), "/r".into(), "/r/.git".into(), AT)
}

pub(super) fn task(lane: &Lane, kind: TaskKind, agent: Option<&str>) -> Task {
    let asked = records::task(TaskId::generate(kind), lane.id, lane.workspace_id());
    Task { agent: agent.map(str::to_owned), asked_at: AT, ..asked }
}

pub(super) fn identity(task: &Task) -> Box<Identity> {
    Box::new(Identity {
        id: task.id,
        lane_id: task.lane_id,
        workspace_id: task.workspace_id,
        correlation_id: CorrelationId::generate(),
        pid: 10,
        pid_start: 1,
        keeper_pid: 9,
        keeper_start: 1,
        boot_id: "boot".into(),
        secret: "secret".into(),
        started_at: AT,
        groups: Default::default(),
        rlimits: Default::default(),
    })
}

fn exit(code: i32) -> Exit {
    Exit { status: ExitStatus::Code(code), timed_out: false, at: AT, ms: 1, max_rss_kb: 1, cpu_ms: 1, end: 0 }
}

/// Applies inputs that must all be accepted.
fn after(lane: Lane, inputs: Vec<Input>) -> Lane {
    inputs.into_iter().fold(lane, |lane, input| {
        let words = format!("{input:?}");
        apply(&lane, input, AT).unwrap_or_else(|refusal| panic!("{words} was refused: {refusal}")).lane
    })
}

pub(super) fn ready() -> Lane {
    after(lane(), vec![Input::Create, Input::Provisioned { tree: tree() }])
}

fn with_live(lane: Lane, task: &Task) -> Lane {
    after(lane, vec![Input::Start(Box::new(task.clone())), Input::Started(task.id, identity(task))])
}

fn refused(lane: &Lane, input: Input, code: Code) {
    let refusal = apply(lane, input, AT).expect_err("it should be refused");
    assert_eq!(refusal.code, code, "{refusal}");
}

fn topics(step: &Step) -> Vec<&'static str> {
    step.facts.iter().map(|fact| fact.topic).collect()
}

#[test]
fn a_lane_becomes_ready_and_tells_each_step_once() {
    let step = apply(&lane(), Input::Create, AT).expect("create");
    assert_eq!(topics(&step), ["lane.created", "lane.state.changed"]);
    assert_eq!(step.effects, [Effect::Provision]);
    let step = apply(&step.lane, Input::Provisioned { tree: tree() }, AT).expect("provisioned");
    assert_eq!(topics(&step), ["lane.state.changed", "lane.worktree.provisioned"]);
    assert_eq!(step.lane.state(), State::Ready);
}

#[test]
fn cleanup_while_provisioning_is_taken_when_it_ends() {
    let lane = after(lane(), vec![Input::Create, Input::Cleanup { force: false }]);
    assert_eq!(lane.state(), State::Provisioning);
    assert!(lane.cleanup_pending);
    let step = apply(&lane, Input::Provisioned { tree: tree() }, AT).expect("provisioned");
    assert_eq!(step.lane.state(), State::Cleaning);
    assert_eq!(step.effects, [Effect::Clean]);
    let failed = Input::ProvisionFailed(Failure::new(Code::GitFailed, "no"));
    let step = apply(&lane, failed, AT).expect("provision failed");
    assert_eq!(step.lane.state(), State::Closed);
    assert_eq!(step.lane.close_reason.as_deref(), Some("provision_failed"));
}

#[test]
fn only_the_first_task_to_start_and_the_last_to_end_move_the_lane() {
    let lane = ready();
    let (one, two) = (task(&lane, TaskKind::Terminal, None), task(&lane, TaskKind::Run, None));
    let lane = with_live(lane, &one);
    assert_eq!(lane.state(), State::Running);
    let lane = with_live(lane, &two);
    let step = apply(&lane, Input::Ended(one.id, exit(0)), AT).expect("ended");
    assert_eq!(topics(&step), ["terminal.exited", "terminal.state.changed"]);
    let step = apply(&step.lane, Input::Ended(two.id, exit(7)), AT).expect("ended");
    assert_eq!(topics(&step), ["lane.command.completed", "lane.state.changed"]);
    assert_eq!(step.lane.state(), State::Ready);
}

#[test]
fn a_second_run_needs_a_shared_lane_and_a_terminal_does_not_count() {
    let lane = ready();
    let lane = with_live(lane.clone(), &task(&lane, TaskKind::Terminal, None));
    let lane = with_live(lane.clone(), &task(&lane, TaskKind::Run, None));
    let second = task(&lane, TaskKind::Run, None);
    refused(&lane, Input::Start(Box::new(second.clone())), Code::LaneBusy);
    let shared = after(lane, vec![Input::Share]);
    assert_eq!(with_live(shared, &second).live_runs().count(), 2);
}

#[test]
fn a_second_agent_needs_a_shared_lane() {
    let join = |agent: &str| Input::Join { agent: agent.into(), session_id: SessionId::generate() };
    let lane = after(ready(), vec![join("a"), join("a")]);
    assert_eq!(lane.agents.len(), 1);
    refused(&lane, join("b"), Code::LaneNotShared);
    refused(&lane, Input::Start(Box::new(task(&lane, TaskKind::Run, Some("b")))), Code::LaneNotShared);
    let runs = with_live(ready(), &task(&ready(), TaskKind::Run, Some("a")));
    refused(&runs, join("b"), Code::LaneNotShared);
    assert_eq!(after(runs, vec![join("a")]).agents.len(), 1);
    let lane = after(lane, vec![Input::Leave { agent: "nobody".into() }, Input::Share, join("b")]);
    refused(&lane, Input::Cleanup { force: false }, Code::SharedInUse);
    refused(&lane, Input::Unshare, Code::SharedInUse);
    let cleaned = apply(&lane, Input::Cleanup { force: true }, AT).expect("force");
    assert_eq!(cleaned.lane.state(), State::Cleaning);
    assert_eq!(topics(&cleaned)[..2], ["lane.detached", "lane.detached"]);
    let left = after(lane, vec![Input::Leave { agent: "a".into() }, Input::Leave { agent: "b".into() }]);
    assert_eq!(left.state(), State::Ready);
}

#[test]
fn unsharing_gives_the_state_of_the_facts() {
    let lane = ready();
    let run = task(&lane, TaskKind::Run, None);
    let running = after(with_live(lane, &run), vec![Input::Share]);
    assert_eq!(after(running.clone(), vec![Input::Unshare]).state(), State::Running);
    let blocked = after(running.clone(), vec![Input::Block { reason: "approval".into() }]);
    assert_eq!(after(blocked.clone(), vec![Input::Unshare]).state(), State::Blocked);
    let done = after(blocked, vec![Input::Ended(run.id, exit(0)), Input::Unshare]);
    assert_eq!(done.state(), State::Ready);
    assert_eq!(done.blocked, None);
}

#[test]
fn cleaning_begins_when_no_keeper_is_on_its_way() {
    let lane = ready();
    let run = task(&lane, TaskKind::Run, None);
    let lane = after(lane, vec![Input::Start(Box::new(run.clone()))]);
    let step = apply(&lane, Input::Cleanup { force: false }, AT).expect("cleanup");
    assert_eq!((step.lane.state(), step.effects), (State::Cleaning, vec![]));
    let step = apply(&step.lane, Input::Started(run.id, identity(&run)), AT).expect("started");
    assert_eq!(step.lane.state(), State::Cleaning);
    assert_eq!(step.effects, [Effect::Watch(run.id), Effect::Clean]);
}

#[test]
fn a_failed_cleanup_is_resumed_by_the_next_and_a_running_one_is_joined() {
    let lane = after(ready(), vec![Input::Cleanup { force: false }]);
    let joined = apply(&lane, Input::Cleanup { force: false }, AT).expect("joined");
    assert!(joined.effects.is_empty());
    let failed = after(joined.lane, vec![Input::CleanupFailed(Failure::new(Code::Io, "no"))]);
    assert_eq!(failed.state(), State::Cleaning);
    let again = apply(&failed, Input::Cleanup { force: false }, AT).expect("again");
    assert_eq!((again.effects, again.lane.cleanup_attempts), (vec![Effect::Clean], 2));
}

#[test]
fn what_ends_late_is_written_down_without_a_transition() {
    let lane = ready();
    let run = task(&lane, TaskKind::Run, None);
    let lane = after(with_live(lane, &run), vec![Input::Cleanup { force: false }]);
    let step = apply(&lane, Input::Ended(run.id, exit(0)), AT).expect("late");
    assert_eq!(topics(&step), ["lane.command.completed"]);
    let closed = after(lane, vec![Input::Cleaned { notes: vec![], reason: "cleanup".into() }]);
    let step = apply(&closed, Input::Ended(run.id, exit(0)), AT).expect("later");
    assert_eq!(step.lane.state(), State::Closed);
    assert_eq!(step.lane.tasks[&run.id].stage, Stage::Ended);
}

#[test]
fn a_closed_lane_takes_cleanup_as_done_and_refuses_the_rest() {
    let lane = after(lane(), vec![Input::Cleanup { force: false }]);
    assert_eq!(lane.state(), State::Closed);
    let step = apply(&lane, Input::Cleanup { force: false }, AT).expect("no-op");
    assert!(step.facts.is_empty() && step.effects.is_empty());
    for input in [Input::Share, Input::Unblock, Input::Create, Input::Block { reason: "x".into() }] {
        refused(&lane, input, Code::InvalidTransition);
    }
    refused(
        &lane,
        Input::Join { agent: "a".into(), session_id: SessionId::generate() },
        Code::InvalidTransition,
    );
}

/// What the model knows of a lane: just enough to say which state it must be in.
#[derive(Clone, Debug, Default)]
struct Model {
    shared: bool,
    blocked: bool,
    starting: BTreeSet<TaskId>,
    live: BTreeSet<TaskId>,
}

impl Model {
    fn state(&self) -> State {
        match (self.shared, self.blocked && !self.live.is_empty(), self.live.is_empty()) {
            (true, _, _) => State::Shared,
            (false, true, _) => State::Blocked,
            (false, false, false) => State::Running,
            (false, false, true) => State::Ready,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    StartTerminal,
    StartRun,
    Begin,
    Fail,
    End,
    Share,
    Unshare,
    Block,
    Unblock,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        Just(Act::StartTerminal),
        Just(Act::StartRun),
        Just(Act::Begin),
        Just(Act::Fail),
        Just(Act::End),
        Just(Act::Share),
        Just(Act::Unshare),
        Just(Act::Block),
        Just(Act::Unblock),
    ];
    proptest::collection::vec(act, 0..60)
}

fn input_of(act: Act, lane: &Lane, model: &Model) -> Option<Input> {
    let first = |set: &BTreeSet<TaskId>| set.iter().next().copied();
    Some(match act {
        Act::StartTerminal => Input::Start(Box::new(task(lane, TaskKind::Terminal, None))),
        Act::StartRun => Input::Start(Box::new(task(lane, TaskKind::Run, None))),
        Act::Begin => {
            let id = first(&model.starting)?;
            Input::Started(id, identity(&lane.tasks[&id]))
        }
        Act::Fail => Input::NotStarted(first(&model.starting)?, Failure::new(Code::CommandNotFound, "no")),
        Act::End => Input::Ended(first(&model.live)?, exit(0)),
        Act::Share => Input::Share,
        Act::Unshare => Input::Unshare,
        Act::Block => Input::Block { reason: "approval".into() },
        Act::Unblock => Input::Unblock,
    })
}

fn follow(model: &mut Model, input: &Input) {
    match input {
        Input::Start(task) => {
            model.starting.insert(task.id);
        }
        Input::Started(id, _) => {
            model.starting.remove(id);
            model.live.insert(*id);
        }
        Input::NotStarted(id, _) => {
            model.starting.remove(id);
        }
        Input::Ended(id, _) => {
            model.live.remove(id);
            model.blocked &= !model.live.is_empty();
        }
        Input::Share => model.shared = true,
        Input::Unshare => model.shared = false,
        Input::Block { .. } => model.blocked = true,
        Input::Unblock => model.blocked = false,
        other => panic!("the model does not know {other:?}"),
    }
}

proptest! {
    #[test]
    fn the_machine_follows_the_model_and_each_transition_is_told_once(acts in acts()) {
        let mut lane = ready();
        let mut model = Model::default();
        for act in acts {
            let Some(input) = input_of(act, &lane, &model) else { continue };
            match apply(&lane, input.clone(), AT) {
                Err(refusal) => {
                    prop_assert!(matches!(
                        refusal.code,
                        Code::InvalidTransition | Code::LaneBusy | Code::SharedInUse
                    ));
                }
                Ok(step) => {
                    follow(&mut model, &input);
                    let told = step.facts.iter().filter(|fact| fact.topic == "lane.state.changed").count();
                    prop_assert!(told <= 1);
                    prop_assert!(told == 1 || step.lane.state() == lane.state());
                    lane = step.lane;
                }
            }
            prop_assert_eq!(lane.state(), model.state());
            prop_assert!(lane.history.len() <= HISTORY);
            let live: BTreeSet<TaskId> =
                lane.tasks.values().filter(|task| task.stage == Stage::Live).map(|task| task.id).collect();
            prop_assert_eq!(&live, &model.live);
            let runs = lane.live_runs().filter(|run| run.stage == Stage::Live).count();
            prop_assert!(model.shared || runs <= 1);
        }
    }
}
