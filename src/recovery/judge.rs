//! Which of the things that were seen are left over: a function from what was seen and what is known.

use std::time::Duration;

use super::orphan::{Kind, Orphan, What, Whose};
use super::seen::{
    Claim, Known, Seen, SeenEntry, SeenKeeper, SeenOfLane, SeenProcess, SeenRest, SeenRunFolder, SeenTree,
    Step, Tie, Written,
};
use crate::clock::Timestamp;
use crate::ids::LaneId;

/// A younger process may be on its way somewhere: a child between fork and exec, a keeper that just left.
const PROCESS_AGE: Duration = Duration::from_secs(5);
/// What is being made has so long to say whose it is: a keeper has that long to start its command.
const MAKING: Duration = Duration::from_secs(60);
/// A failed provisioning names the recorded output of its set-up command; it is kept so long at least.
const TOLD_OUTPUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Decides. `now` is when the look began.
pub fn judge(seen: &Seen, known: &Known, now: Timestamp) -> Vec<Orphan> {
    let mut found = Vec::new();
    found.extend(seen.trees.iter().filter_map(|tree| about_tree(tree, known)));
    found.extend(seen.entries.iter().filter_map(|entry| about_entry(entry, known)));
    found.extend(seen.rests.iter().filter_map(|rest| about_rest(rest, known)));
    found.extend(seen.processes.iter().filter_map(|process| about_process(process, known, now)));
    found.extend(seen.keepers.iter().filter_map(|keeper| about_keeper(keeper, seen, known, now)));
    found.extend(seen.runs.iter().filter_map(|run| about_run(run, seen, known, now)));
    if seen.trash_listed && !known.emptying {
        found.extend(seen.logs.iter().filter_map(|log| about_log(log, known, now)));
    }
    found.extend(seen.sockets.iter().filter_map(|socket| about_socket(socket, known, now)));
    found
}

/// Whose a claimed thing was, and why it is nobody's; `None` when it is somebody's.
fn unclaimed(claim: &Claim, known: &Known) -> Option<(Whose, String)> {
    match claim {
        Claim::Token { lane, home, home_there: _ } if *home == known.home => {
            let whose = known.left_by(Some(*lane))?;
            Some(match whose {
                Whose::Lane(_) => (whose, format!("it is of lane {lane}, which is closed")),
                // Our own token says whose it was, also when the record is gone.
                Whose::Unknown => (
                    Whose::Lane(*lane),
                    format!("it carries our token, and no record of lane {lane} is there"),
                ),
            })
        }
        Claim::Token { home_there: true, .. } => None,
        Claim::Token { lane, home, home_there: false } => {
            let home = home.display();
            Some((
                Whose::Unknown,
                format!("lane {lane} had it, of the home {home}, which is not there any more"),
            ))
        }
        Claim::Lock { lane, maker_lives } => match (known.left_by(Some(*lane))?, maker_lives) {
            // Another runtime is making it.
            (Whose::Unknown, true) => None,
            (whose, _) => {
                Some((whose, format!("lane {lane} locked it, and it carries no token that can be read")))
            }
        },
        Claim::Nothing => Some((Whose::Unknown, "nothing says whose it is".to_owned())),
    }
}

fn about_tree(tree: &SeenTree, known: &Known) -> Option<Orphan> {
    if known.lanes.values().any(|lane| lane.path == tree.place.path) {
        return None;
    }
    let (owner, why) = unclaimed(&tree.claim, known)?;
    let what = What::Tree { place: tree.place.clone(), repo: tree.repo.clone(), admin: tree.admin.clone() };
    let reason = format!("no open lane has this tree: {why}");
    Some(Orphan { what, owner, task: None, since: tree.since, reason })
}

fn about_entry(entry: &SeenEntry, known: &Known) -> Option<Orphan> {
    let (owner, why) = unclaimed(&entry.claim, known)?;
    let what = What::Entry {
        place: entry.place.clone(),
        repo: entry.repo.clone(),
        admin: entry.admin.clone(),
        tree: entry.tree.clone(),
    };
    let reason = format!("its tree {} is gone: {why}", entry.tree.display());
    Some(Orphan { what, owner, task: None, since: entry.since, reason })
}

fn about_rest(rest: &SeenRest, known: &Known) -> Option<Orphan> {
    // A restore frees the entry it brought back while its new lane is still being made.
    let restoring = known.lanes.values().any(|lane| lane.busy && lane.restored_from == Some(rest.lane));
    if restoring || known.lanes.contains_key(&rest.lane) {
        return None;
    }
    let written = known.left_by(Some(rest.lane))?;
    let (owner, why) = match (&rest.claim, rest.step, written) {
        (Claim::Nothing, _, Whose::Lane(lane)) => (written, format!("lane {lane} is closed")),
        // Another runtime may just be at it.
        (Claim::Nothing, Step::Emptying, Whose::Unknown) => return None,
        (Claim::Nothing, Step::Provisioning, Whose::Unknown) => {
            (written, format!("nobody knows lane {}", rest.lane))
        }
        (Claim::Token { .. } | Claim::Lock { .. }, _, _) => unclaimed(&rest.claim, known)?,
    };
    let step = match rest.step {
        Step::Provisioning => "undoing a provisioning",
        Step::Emptying if known.emptying => return None,
        Step::Emptying => "freeing an entry of the trash",
    };
    let reason = format!("{step} did not come to its end: {why}");
    let what = What::Rest(Kind::UndoRest, rest.place.clone());
    Some(Orphan { what, owner, task: None, since: rest.since, reason })
}

fn about_process(process: &SeenProcess, known: &Known, now: Timestamp) -> Option<Orphan> {
    if process.kept || process.since.age(now) < PROCESS_AGE || known.is_busy(process.tie.lane()) {
        return None;
    }
    let (owner, task, reason) = match &process.tie {
        Tie::Mark { home, .. } if *home != known.home => return None,
        Tie::Mark { task, .. } if known.tasks.contains(task) => return None,
        Tie::Mark { task, lane, .. } => {
            let open = lane.filter(|lane| known.lanes.contains_key(lane));
            let owner = match open {
                Some(lane) => Whose::Lane(lane),
                None => known.left_by(*lane)?,
            };
            (
                owner,
                *task,
                format!("it carries the mark of {task}, which has ended, and no keeper lives above it"),
            )
        }
        Tie::Folder { lane } => {
            let lost = match (known.lanes.get(lane), known.written.get(lane)) {
                (Some(open), _) => &open.lost,
                (None, Some(Written::Closed { lost, .. })) => lost,
                (None, Some(Written::Open) | None) => return None,
            };
            let running = &process.running;
            let of =
                lost.iter().find(|lost| lost.boot_id == running.boot_id && lost.start <= running.start)?;
            let reason = format!(
                "it carries no mark, it works in the tree of lane {lane}, and {} lost its keeper by force",
                of.task
            );
            (Whose::Lane(*lane), of.task, reason)
        }
    };
    let what = What::Process(process.running.clone());
    Some(Orphan { what, owner, task: Some(task), since: process.since, reason })
}

fn about_keeper(keeper: &SeenKeeper, seen: &Seen, known: &Known, now: Timestamp) -> Option<Orphan> {
    if !keeper.ours || known.tasks.contains(&keeper.task) || keeper.since.age(now) < PROCESS_AGE {
        return None;
    }
    let folder = seen.runs.iter().find(|run| run.task == keeper.task);
    let lane = folder.and_then(|run| run.lane);
    if folder.is_some() && lane.is_none() && keeper.since.age(now) < MAKING {
        return None;
    }
    let owner = owner_of_task(lane, known)?;
    let what = What::Keeper(keeper.running.clone(), keeper.task);
    let reason = format!("it keeps {}, which no open lane knows", keeper.task);
    Some(Orphan { what, owner, task: Some(keeper.task), since: keeper.since, reason })
}

fn about_run(run: &SeenRunFolder, seen: &Seen, known: &Known, now: Timestamp) -> Option<Orphan> {
    let kept = run.keeper_lives || seen.keepers.iter().any(|keeper| keeper.task == run.task);
    if kept || known.tasks.contains(&run.task) || (run.lane.is_none() && run.since.age(now) < MAKING) {
        return None;
    }
    let owner = owner_of_task(run.lane, known)?;
    let what = What::Rest(Kind::RunFolder, run.place.clone());
    let reason = format!("no keeper of {} lives, and no open lane waits for it", run.task);
    Some(Orphan { what, owner, task: Some(run.task), since: run.since, reason })
}

/// Whose a task was that no open lane has running; `None` while its lane is being made or ended.
fn owner_of_task(lane: Option<LaneId>, known: &Known) -> Option<Whose> {
    match lane {
        Some(_) if known.is_busy(lane) => None,
        Some(lane) if known.lanes.contains_key(&lane) => Some(Whose::Lane(lane)),
        Some(_) | None => known.left_by(lane),
    }
}

fn about_log(log: &SeenOfLane, known: &Known, now: Timestamp) -> Option<Orphan> {
    let lane = log.lane?;
    let brought_back = known.lanes.values().any(|open| open.restored_from == Some(lane));
    if brought_back || known.vouched.contains(&lane) {
        return None;
    }
    let owner = known.left_by(Some(lane))?;
    if let Some(Written::Closed { failed_at: Some(at), .. }) = known.written.get(&lane)
        && at.age(now) < TOLD_OUTPUT
    {
        return None;
    }
    let what = What::Rest(Kind::LogFolder, log.place.clone());
    let reason = format!("lane {lane} is neither open nor in the trash");
    Some(Orphan { what, owner, task: None, since: log.since, reason })
}

fn about_socket(socket: &SeenOfLane, known: &Known, now: Timestamp) -> Option<Orphan> {
    if socket.lane.is_none() && socket.since.age(now) < MAKING {
        return None;
    }
    let owner = known.left_by(socket.lane)?;
    let reason = match socket.lane {
        Some(lane) => format!("lane {lane} is not open"),
        None => "nobody listens there".to_owned(),
    };
    let what = What::Rest(Kind::Socket, socket.place.clone());
    Some(Orphan { what, owner, task: None, since: socket.since, reason })
}
