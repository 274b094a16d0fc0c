//! What must hold once everything has come to rest: the promises of the design, one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lanes::bus::{Bus, Event, Table};
use lanes::ids::LaneId;
use lanes::lanes::lane::{Lane, Stage};
use lanes::lanes::table::{Event as Happening, Move, State as LaneState, lookup};
use lanes::recovery::records;

use super::git::Whose;
use super::machine::Role;
use super::sim::{Sim, State};

/// Every lane as it is written down.
pub async fn records(bus: &Bus) -> Vec<Lane> {
    let snapshot = bus.snapshot(vec![Table::Lanes, Table::Tasks]).await.expect("memory reads");
    records::lanes(&snapshot)
}

/// Trees, admin entries, trash, processes and run folders against the records.
pub fn world(sim: &Sim, lanes: &[Lane]) {
    let mut state = sim.lock();
    let found = lanes.iter().find_map(|lane| match lane.state() {
        LaneState::Closed => closed(&state, lane),
        LaneState::Ready | LaneState::Running | LaneState::Blocked | LaneState::Shared => open(&state, lane),
        LaneState::New | LaneState::Provisioning | LaneState::Cleaning => {
            Some(format!("lane {} is still {:?}", lane.name(), lane.state()))
        }
    });
    let found = found.or_else(|| sessions(&state, lanes)).or_else(|| leftovers(&state));
    if let Some(what) = found {
        state.break_(what);
    }
}

/// After `closed` nothing of the lane is there but its trash.
fn closed(state: &State, lane: &Lane) -> Option<String> {
    let name = lane.name();
    let of_lane = |id: LaneId| id == lane.id;
    let admin = state.git.admins.values().find(|admin| {
        admin.order.as_ref().is_some_and(|order| of_lane(order.lane_id)) || admin.lock.is_some_and(of_lane)
    });
    if lane.close_reason.is_none() {
        return Some(format!("lane {name} is closed without a reason"));
    }
    if let Some(admin) = admin {
        return Some(format!("lane {name} is closed and has an admin entry for {}", admin.path));
    }
    if state.machine.runs.values().any(|run| of_lane(run.about.lane_id)) {
        return Some(format!("lane {name} is closed and has a run folder"));
    }
    let left = state.machine.processes.iter().find(|(pid, one)| {
        one.lane.is_some_and(of_lane) && !(state.hidden.contains(pid) && one.keeper.is_none())
    });
    left.map(|(pid, one)| format!("lane {name} is closed and {pid} ({:?}) lives", one.role))
}

fn open(state: &State, lane: &Lane) -> Option<String> {
    let name = lane.name();
    if lane.tree.is_none() {
        return Some(format!("lane {name} is open without a tree"));
    }
    if state.git.found(&lane.order).is_none() {
        return Some(format!("lane {name} is open and its tree is not there"));
    }
    for task in lane.tasks.values().filter(|task| task.stage == Stage::Live) {
        let known = task.identity.as_ref()?;
        if !state.machine.alive(known.pid, known.pid_start, &known.boot_id) {
            return Some(format!("task {} of lane {name} is live and its command is not", task.id));
        }
    }
    None
}

/// Every living command of an open lane is adopted, with the same pid.
fn sessions(state: &State, lanes: &[Lane]) -> Option<String> {
    let open: BTreeMap<LaneId, &Lane> =
        lanes.iter().filter(|lane| lane.state() != LaneState::Closed).map(|lane| (lane.id, lane)).collect();
    let commands = state.machine.processes.iter().filter(|(_pid, one)| one.role == Role::Command);
    for (pid, one) in commands {
        let (Some(task), Some(lane)) = (one.task, one.lane.and_then(|lane| open.get(&lane))) else {
            continue;
        };
        let adopted = lane.tasks.get(&task).is_some_and(|task| {
            let known = task.identity.as_ref();
            task.stage == Stage::Live
                && known.is_some_and(|known| (known.pid, known.pid_start) == (*pid, one.start))
        });
        if !adopted {
            return Some(format!("command {pid} of {task} lives and is not adopted"));
        }
    }
    let known: BTreeSet<_> = open
        .values()
        .flat_map(|lane| lane.tasks.values())
        .filter(|task| task.stage != Stage::Ended)
        .map(|task| task.id)
        .collect();
    let stray = state
        .machine
        .runs
        .iter()
        .find(|(id, run)| !known.contains(*id) && lanes.iter().any(|lane| lane.id == run.about.lane_id));
    stray.map(|(id, _run)| format!("the run folder of {id} is there, and no open lane waits for it"))
}

fn leftovers(state: &State) -> Option<String> {
    let ours = |whose: Whose| whose == Whose::Ours;
    let known = |lane: &LaneId| state.recorded.contains_key(lane);
    if state.git.asides.keys().any(known) {
        return Some("a tree was not freed by undo".to_owned());
    }
    if state.git.gone.values().any(|spot| ours(spot.whose)) {
        return Some("emptied trash was not freed".to_owned());
    }
    let unfinished = state
        .git
        .trash
        .values()
        .find(|spot| ours(spot.whose) && (!spot.entry.complete || spot.restoring.is_some()));
    if let Some(spot) = unfinished {
        return Some(format!("the trash entry of {} is not complete", spot.entry.order.name));
    }
    let pending = state
        .git
        .trash
        .values()
        .find(|spot| ours(spot.whose) && spot.entry.saved == lanes::worktree::Saved::Pending);
    pending.map(|spot| format!("the trash entry of {} is not saved", spot.entry.order.name))
}

/// Without gaps, each transition as the table says and from where the one before ended.
pub fn events(sim: &Sim, events: &[Arc<Event>]) {
    if let Some(what) = wrong_event(events) {
        sim.break_(what);
    }
}

fn wrong_event(events: &[Arc<Event>]) -> Option<String> {
    let mut at: BTreeMap<LaneId, LaneState> = BTreeMap::new();
    let mut seqs: BTreeMap<&str, u64> = BTreeMap::new();
    for (place, event) in events.iter().enumerate() {
        let seq = seqs.entry(event.topic.as_str()).or_default();
        *seq += 1;
        if event.offset != place as u64 + 1 || event.seq != *seq {
            return Some(format!("event {} has offset {} and seq {}", place + 1, event.offset, event.seq));
        }
        let Some(lane) = event.lane_id else { continue };
        if event.topic == "lane.created" {
            if at.get(&lane).is_some_and(|before| *before != LaneState::Closed) {
                return Some("a lane is created twice".to_owned());
            }
            at.insert(lane, LaneState::New);
        }
        if event.topic != "lane.state.changed" {
            continue;
        }
        let read = |key: &str| event.payload[key].clone();
        let from: LaneState = serde_json::from_value(read("from")).ok()?;
        let to: LaneState = serde_json::from_value(read("to")).ok()?;
        let happened: Happening = serde_json::from_value(read("event")).ok()?;
        let before = at.insert(lane, to).unwrap_or(LaneState::New);
        let fits = match lookup(from, happened) {
            Move::To(next) => next == to,
            Move::ByFacts => matches!(to, LaneState::Ready | LaneState::Running | LaneState::Blocked),
            Move::Pending => to == from,
            Move::Nothing | Move::Refused => false,
        };
        if before != from || !fits {
            return Some(format!("a transition {from:?} {happened:?} {to:?} after {before:?}"));
        }
    }
    None
}
