//! What is taken for left over, and above all what never is.

use std::path::PathBuf;

use lanes::clock::Timestamp;
use lanes::ids::{LaneId, TaskId};
use lanes::recovery::judge::judge;
use lanes::recovery::orphan::{Kind, Orphan, Running, Whose};
use lanes::recovery::seen::{
    Claim, Known, LostTask, OpenLane, Seen, SeenEntry, SeenKeeper, SeenOfLane, SeenProcess, SeenRest,
    SeenRunFolder, SeenTree, Step, Tie, Written,
};

use crate::recovery_orphan::place;

const NOW: Timestamp = Timestamp(1_000_000_000);
const OPEN: LaneId = LaneId::from_u128(1);
const BUSY: LaneId = LaneId::from_u128(2);
const CLOSED: LaneId = LaneId::from_u128(3);
const WAITING: LaneId = LaneId::from_u128(4);
const STRANGE: LaneId = LaneId::from_u128(5);

fn task(n: u128) -> TaskId {
    format!("rn_{n:026}").parse().expect("an id")
}

/// One lane open with task 1, one being made or ended, one closed, one open in the store alone.
fn known() -> Known {
    let lane = |busy| OpenLane {
        busy,
        path: PathBuf::from(if busy { "/root/busy" } else { "/root/open" }),
        restored_from: None,
        lost: Vec::new(),
    };
    Known {
        home: "/home".into(),
        lanes: [(OPEN, lane(false)), (BUSY, lane(true))].into(),
        tasks: [task(1)].into(),
        written: [(CLOSED, Written::Closed { failed_at: None, lost: Vec::new() }), (WAITING, Written::Open)]
            .into(),
        ..Known::default()
    }
}

fn ago(ms: u64) -> Timestamp {
    Timestamp(NOW.as_ms() - ms)
}

fn seen() -> Seen {
    Seen { trash_listed: true, ..Seen::default() }
}

/// What is made of a thing: kind and owner, or nothing.
#[track_caller]
fn check(seen: &Seen, expected: Option<(Kind, Whose)>) {
    check_known(seen, &known(), expected);
}

#[track_caller]
fn check_known(seen: &Seen, known: &Known, expected: Option<(Kind, Whose)>) {
    let found = judge(seen, known, NOW);
    let found: Vec<(Kind, Whose)> = found.iter().map(|one: &Orphan| (one.kind(), one.owner)).collect();
    assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{seen:?}");
}

fn ours(lane: LaneId) -> Claim {
    Claim::Token { lane, home: "/home".into(), home_there: true }
}

fn theirs(lane: LaneId, home_there: bool) -> Claim {
    Claim::Token { lane, home: "/home-b".into(), home_there }
}

fn lock(lane: LaneId, maker_lives: bool) -> Claim {
    Claim::Lock { lane, maker_lives }
}

/// Every claim, and whose its thing is taken for; the same for trees and entries.
fn claims() -> Vec<(Claim, Option<Whose>)> {
    vec![
        (ours(OPEN), None),
        (ours(BUSY), None),
        (ours(WAITING), None),
        (ours(CLOSED), Some(Whose::Lane(CLOSED))),
        (ours(STRANGE), Some(Whose::Lane(STRANGE))),
        (theirs(STRANGE, true), None),
        (theirs(OPEN, true), None),
        (theirs(STRANGE, false), Some(Whose::Unknown)),
        (lock(OPEN, false), None),
        (lock(BUSY, false), None),
        (lock(WAITING, false), None),
        (lock(STRANGE, true), None),
        (lock(CLOSED, false), Some(Whose::Lane(CLOSED))),
        (lock(CLOSED, true), Some(Whose::Lane(CLOSED))),
        (lock(STRANGE, false), Some(Whose::Unknown)),
        (Claim::Nothing, Some(Whose::Unknown)),
    ]
}

#[test]
fn a_tree_or_entry_is_left_over_when_its_claim_is_nobodys() {
    for (claim, owner) in claims() {
        let tree = SeenTree {
            place: place("/root/x", 1),
            repo: "/r".into(),
            admin: None,
            claim: claim.clone(),
            since: ago(0),
        };
        check(&Seen { trees: vec![tree], ..seen() }, owner.map(|owner| (Kind::Worktree, owner)));
        let entry = SeenEntry {
            place: place("/r/worktrees/x", 2),
            repo: "/r".into(),
            admin: "x".into(),
            tree: "/root/x".into(),
            claim,
            since: ago(0),
        };
        check(&Seen { entries: vec![entry], ..seen() }, owner.map(|owner| (Kind::AdminEntry, owner)));
    }
}

#[test]
fn the_folder_of_an_open_lane_is_its_own_whatever_it_says() {
    for (path, expected) in [("/root/open", false), ("/root/busy", false), ("/root/other", true)] {
        let (place, repo) = (place(path, 1), PathBuf::from("/r"));
        let tree = SeenTree { place, repo, admin: None, claim: Claim::Nothing, since: ago(0) };
        let seen = Seen { trees: vec![tree], ..seen() };
        check(&seen, expected.then_some((Kind::Worktree, Whose::Unknown)));
    }
}

fn rest(step: Step, lane: LaneId, claim: Claim) -> Seen {
    let place = place("/root/.rest", 1);
    Seen { rests: vec![SeenRest { place, step, lane, claim, since: ago(0) }], ..seen() }
}

#[test]
fn what_a_step_leaves_is_left_over_once_nobody_is_at_it() {
    let found = |owner| Some((Kind::UndoRest, owner));
    for step in [Step::Provisioning, Step::Emptying] {
        check(&rest(step, BUSY, Claim::Nothing), None);
        check(&rest(step, WAITING, Claim::Nothing), None);
        check(&rest(step, CLOSED, Claim::Nothing), found(Whose::Lane(CLOSED)));
        check(&rest(step, CLOSED, ours(CLOSED)), found(Whose::Lane(CLOSED)));
        check(&rest(step, STRANGE, theirs(STRANGE, true)), None);
        check(&rest(step, STRANGE, theirs(STRANGE, false)), found(Whose::Unknown));
        check(&rest(step, STRANGE, lock(STRANGE, true)), None);
    }
    check(&rest(Step::Provisioning, STRANGE, Claim::Nothing), found(Whose::Unknown));
    // Another runtime may be freeing it in this moment.
    check(&rest(Step::Emptying, STRANGE, Claim::Nothing), None);
    check_known(&rest(Step::Emptying, CLOSED, ours(CLOSED)), &Known { emptying: true, ..known() }, None);
    // A restore frees what it brought back while its lane is still being made.
    let mut restoring = known();
    restoring.lanes.entry(BUSY).and_modify(|lane| lane.restored_from = Some(CLOSED));
    check_known(&rest(Step::Emptying, CLOSED, ours(CLOSED)), &restoring, None);
}

fn running() -> Running {
    Running { pid: 9, start: 100, boot_id: "b".into(), name: "sleep".into() }
}

fn marked(task: TaskId, lane: Option<LaneId>, home: &str, age_ms: u64, kept: bool) -> Seen {
    let tie = Tie::Mark { task, lane, home: home.into() };
    Seen { processes: vec![SeenProcess { running: running(), since: ago(age_ms), tie, kept }], ..seen() }
}

#[test]
fn a_marked_process_is_left_over_without_task_and_keeper() {
    let found = |owner| Some((Kind::Process, owner));
    check(&marked(task(7), Some(CLOSED), "/home", 5_000, false), found(Whose::Lane(CLOSED)));
    check(&marked(task(7), Some(OPEN), "/home", 5_000, false), found(Whose::Lane(OPEN)));
    check(&marked(task(7), Some(STRANGE), "/home", 5_000, false), found(Whose::Unknown));
    check(&marked(task(7), None, "/home", 5_000, false), found(Whose::Unknown));
    check(&marked(task(7), Some(CLOSED), "/home", 4_999, false), None);
    check(&marked(task(7), Some(CLOSED), "/home", 5_000, true), None);
    check(&marked(task(7), Some(CLOSED), "/home-b", 5_000, false), None);
    check(&marked(task(1), Some(OPEN), "/home", 5_000, false), None);
    check(&marked(task(7), Some(BUSY), "/home", 5_000, false), None);
    check(&marked(task(7), Some(WAITING), "/home", 5_000, false), None);
}

#[test]
fn a_process_without_mark_is_left_over_only_where_a_keeper_was_ended_by_force() {
    let hides = |lane| {
        let process =
            SeenProcess { running: running(), since: ago(9_000), tie: Tie::Folder { lane }, kept: false };
        Seen { processes: vec![process], ..seen() }
    };
    let lost = |start, boot_id: &str| vec![LostTask { task: task(7), start, boot_id: boot_id.into() }];
    for lane in [OPEN, BUSY, CLOSED, WAITING, STRANGE] {
        check(&hides(lane), None);
    }
    for (start, boot_id, expected) in [(100, "b", true), (99, "b", true), (101, "b", false), (99, "c", false)]
    {
        let mut known = known();
        known.lanes.entry(OPEN).and_modify(|lane| lane.lost = lost(start, boot_id));
        known.lanes.entry(BUSY).and_modify(|lane| lane.lost = lost(start, boot_id));
        known.written.insert(CLOSED, Written::Closed { failed_at: None, lost: lost(start, boot_id) });
        for lane in [OPEN, CLOSED] {
            check_known(&hides(lane), &known, expected.then_some((Kind::Process, Whose::Lane(lane))));
        }
        check_known(&hides(BUSY), &known, None);
    }
}

fn keeper(task: TaskId, ours: bool, age_ms: u64) -> Seen {
    let keeper = SeenKeeper { running: running(), since: ago(age_ms), task, ours };
    Seen { keepers: vec![keeper], ..seen() }
}

fn run(task: TaskId, lane: Option<LaneId>, keeper_lives: bool, age_ms: u64) -> SeenRunFolder {
    SeenRunFolder { place: place("/home/run/x", 3), task, lane, keeper_lives, since: ago(age_ms) }
}

#[test]
fn a_keeper_is_left_over_when_no_open_lane_knows_its_task() {
    let found = |owner| Some((Kind::Keeper, owner));
    check(&keeper(task(7), true, 5_000), found(Whose::Unknown));
    check(&keeper(task(7), true, 4_999), None);
    check(&keeper(task(7), false, 60_000), None);
    check(&keeper(task(1), true, 60_000), None);
    for (lane, owner) in [
        (Some(CLOSED), Some(Whose::Lane(CLOSED))),
        (Some(OPEN), Some(Whose::Lane(OPEN))),
        (Some(STRANGE), Some(Whose::Unknown)),
        (Some(BUSY), None),
        (Some(WAITING), None),
        // It has not come to write down whose it is.
        (None, None),
    ] {
        let with_folder =
            Seen { runs: vec![run(task(7), lane, true, 9_000)], ..keeper(task(7), true, 9_000) };
        check(&with_folder, owner.map(|owner| (Kind::Keeper, owner)));
    }
}

#[test]
fn a_run_folder_is_left_over_without_keeper_and_task() {
    let check = |run: SeenRunFolder, owner: Option<Whose>| {
        check(&Seen { runs: vec![run], ..seen() }, owner.map(|owner| (Kind::RunFolder, owner)));
    };
    check(run(task(7), Some(CLOSED), false, 0), Some(Whose::Lane(CLOSED)));
    check(run(task(7), Some(OPEN), false, 0), Some(Whose::Lane(OPEN)));
    check(run(task(7), Some(STRANGE), false, 0), Some(Whose::Unknown));
    check(run(task(7), None, false, 60_000), Some(Whose::Unknown));
    check(run(task(7), None, false, 59_999), None);
    check(run(task(7), Some(CLOSED), true, 0), None);
    check(run(task(1), Some(OPEN), false, 0), None);
    check(run(task(7), Some(BUSY), false, 0), None);
    check(run(task(7), Some(WAITING), false, 0), None);
}

#[test]
fn recorded_output_is_left_over_when_nobody_can_come_back_to_it() {
    let log = |lane| {
        let one = SeenOfLane { place: place("/home/logs/x", 4), lane: Some(lane), since: ago(0) };
        Seen { logs: vec![one], ..seen() }
    };
    let found = |owner| Some((Kind::LogFolder, owner));
    check(&log(CLOSED), found(Whose::Lane(CLOSED)));
    check(&log(STRANGE), found(Whose::Unknown));
    for lane in [OPEN, BUSY, WAITING] {
        check(&log(lane), None);
    }
    check_known(&log(CLOSED), &Known { vouched: [CLOSED].into(), ..known() }, None);
    check_known(&log(CLOSED), &Known { emptying: true, ..known() }, None);
    check(&Seen { trash_listed: false, ..log(CLOSED) }, None);
    let mut restored = known();
    restored.lanes.entry(OPEN).and_modify(|lane| lane.restored_from = Some(CLOSED));
    check_known(&log(CLOSED), &restored, None);
    // What a set-up command said is named by the refusal.
    for (age_ms, expected) in [(86_399_999, None), (86_400_000, found(Whose::Lane(CLOSED)))] {
        let mut failed = known();
        let written = Written::Closed { failed_at: Some(ago(age_ms)), lost: Vec::new() };
        failed.written.insert(CLOSED, written);
        check_known(&log(CLOSED), &failed, expected);
    }
}

#[test]
fn a_link_to_an_agent_is_left_over_with_its_lane() {
    let socket = |lane, age_ms| {
        let one = SeenOfLane { place: place("/home/agents/x", 5), lane, since: ago(age_ms) };
        Seen { sockets: vec![one], ..seen() }
    };
    let found = |owner| Some((Kind::Socket, owner));
    check(&socket(Some(CLOSED), 0), found(Whose::Lane(CLOSED)));
    check(&socket(Some(OPEN), 0), None);
    check(&socket(Some(WAITING), 0), None);
    check(&socket(None, 59_999), None);
    check(&socket(None, 60_000), found(Whose::Unknown));
}
