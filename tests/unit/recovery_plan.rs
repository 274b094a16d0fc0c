//! Tests of `src/recovery/plan.rs`: what was seen in, repairs out.

use std::collections::BTreeSet;

use lanes::ids::{LaneId, TaskId, TaskKind, WorkspaceId};
use lanes::lanes::table::State;
use lanes::recovery::plan::{SeenLane, SeenRun, SeenTree, Survey};
use lanes::recovery::{Run, TreeAt, plan};
use lanes::worktree::{Order, Saved, TrashEntry};

use crate::records::{self, order};

const HOME: &str = "/ours";
const HERE: TreeAt = TreeAt::Here { dev: 1, ino: 1 };

fn id(number: u128) -> LaneId {
    LaneId::from_u128(number)
}

fn nothing() -> Survey {
    Survey {
        home: HOME.into(),
        lanes: Vec::new(),
        closed: BTreeSet::new(),
        trees: Vec::new(),
        begun: Vec::new(),
        trash: Vec::new(),
        runs: Vec::new(),
        unswept: Vec::new(),
    }
}

fn lane(state: State, owned: bool, tree: TreeAt) -> SeenLane {
    SeenLane { id: id(1), name: "a".into(), state, owned, stuck: false, tree, unended: 0 }
}

fn order_of(home: &str) -> Order {
    Order { home: home.into(), ..order(id(1), "a", WorkspaceId::from_u128(1)) }
}

fn tree(home: &str, at: TreeAt, work: bool) -> SeenTree {
    SeenTree { order: order_of(home), admin_id: "a".into(), at, work }
}

fn entry(home: &str, complete: bool, saved: Saved) -> TrashEntry {
    let order = order_of(home);
    TrashEntry { saved, complete, ..records::entry(&order, &records::tree(&order)) }
}

/// The actions for what was seen, in their order, and how many things are left alone.
#[track_caller]
fn check(seen: Survey, wanted: &[&str], left_alone: usize) {
    let plan = plan(&seen);
    let actions: Vec<&str> = plan.repairs.iter().map(|planned| planned.repair.action()).collect();
    assert_eq!(actions, wanted, "{plan:?}");
    assert_eq!(plan.left_alone.len(), left_alone, "{plan:?}");
    assert!(plan.repairs.iter().all(|planned| !planned.reason.is_empty()));
}

#[track_caller]
fn check_lane(seen: SeenLane, wanted: &[&str], left_alone: usize) {
    check(Survey { lanes: vec![seen], ..nothing() }, wanted, left_alone);
}

#[test]
fn a_lane_is_taken_up_undone_resumed_or_closed_by_its_state_and_tree() {
    check_lane(lane(State::Ready, false, HERE), &["adopt"], 0);
    check_lane(lane(State::Ready, true, HERE), &[], 0);
    check_lane(lane(State::Running, false, TreeAt::Gone), &["close"], 0);
    check_lane(lane(State::Running, true, TreeAt::Gone), &["close"], 0);
    check_lane(lane(State::Shared, false, TreeAt::Foreign("a link".into())), &["close"], 0);
    check_lane(lane(State::Blocked, false, TreeAt::Moved("/there".into())), &["adopt"], 1);
    check_lane(lane(State::New, false, TreeAt::Gone), &["close"], 0);
    check_lane(lane(State::Provisioning, false, TreeAt::Gone), &["roll_back"], 0);
    check_lane(lane(State::Provisioning, true, TreeAt::Gone), &[], 0);
    check_lane(lane(State::Cleaning, false, HERE), &["resume_cleanup"], 0);
    check_lane(lane(State::Cleaning, true, HERE), &[], 0);
    check_lane(SeenLane { stuck: true, ..lane(State::Cleaning, true, HERE) }, &["resume_cleanup"], 0);
}

#[test]
fn a_lane_whose_repository_is_away_waits() {
    let away = || TreeAt::Unknown("the disk is not there".into());
    check_lane(lane(State::Ready, false, away()), &["adopt"], 1);
    check_lane(lane(State::Provisioning, false, away()), &[], 1);
    check_lane(lane(State::Cleaning, false, away()), &[], 1);
}

#[test]
fn a_tree_without_a_record_is_adopted_and_one_of_a_closed_lane_by_what_it_holds() {
    let of = |closed: bool, seen: SeenTree| Survey {
        closed: if closed { BTreeSet::from([id(1)]) } else { BTreeSet::new() },
        trees: vec![seen],
        ..nothing()
    };
    check(of(false, tree(HOME, HERE, false)), &["adopt_tree"], 0);
    check(of(true, tree(HOME, HERE, true)), &["adopt_tree"], 0);
    check(of(true, tree(HOME, HERE, false)), &["retire_tree"], 0);
    check(of(false, tree(HOME, TreeAt::Gone, false)), &["retire_tree"], 0);
    check(of(false, tree(HOME, TreeAt::Moved("/there".into()), false)), &[], 1);
    check(of(true, tree(HOME, TreeAt::Unknown("away".into()), false)), &[], 1);
    check(of(false, tree("/theirs", HERE, false)), &[], 1);
    check(of(true, tree("/theirs", HERE, false)), &[], 1);
}

#[test]
fn the_trash_of_another_home_is_never_touched_and_ours_is_finished() {
    let of = |seen: TrashEntry, restoring: Option<u128>| Survey {
        trash: vec![(seen, restoring.map(id))],
        ..nothing()
    };
    check(of(entry(HOME, false, Saved::Pending), None), &["finish_retire"], 0);
    check(of(entry(HOME, true, Saved::Pending), None), &["resume_save"], 0);
    check(of(entry(HOME, true, Saved::Pending), Some(2)), &["undo_restore", "resume_save"], 0);
    check(of(entry(HOME, true, Saved::Archived { files: 1, bytes: 1 }), None), &[], 0);
    check(of(entry("/theirs", false, Saved::Pending), Some(2)), &[], 0);
    // Set back: the record says open, the trash that its end was asked for.
    let back = of(entry(HOME, false, Saved::Pending), None);
    check(Survey { lanes: vec![lane(State::Ready, false, HERE)], ..back }, &["close"], 0);
    let back = of(entry(HOME, false, Saved::Pending), None);
    let making = vec![lane(State::Provisioning, false, TreeAt::Gone)];
    check(Survey { lanes: making, ..back }, &["finish_retire", "roll_back"], 0);
}

#[test]
fn a_session_is_only_ended_when_its_lane_is_known_and_does_not_wait_for_it() {
    let task = TaskId::generate(TaskKind::Run);
    let of = |lane: Option<u128>, keeper: bool, known: bool| Survey {
        closed: BTreeSet::from([id(1)]),
        runs: vec![SeenRun { run: Run { id: task, lane: lane.map(id), keeper }, known }],
        ..nothing()
    };
    check(of(Some(1), true, false), &["end_task"], 0);
    check(of(Some(1), true, true), &[], 0);
    check(of(Some(2), true, false), &[], 1);
    check(of(None, true, false), &[], 1);
    check(of(Some(2), false, false), &["remove_run_folder"], 0);
    // The tasks of a tree that is adopted are adopted with it.
    let adopted =
        Survey { closed: BTreeSet::new(), trees: vec![tree(HOME, HERE, true)], ..of(Some(1), true, false) };
    check(adopted, &["adopt_tree"], 0);
}
