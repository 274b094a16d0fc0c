//! Looks at what is there, and changes nothing.

use std::collections::BTreeSet;

use super::outside::{Outside, TreeAt};
use super::plan::{SeenLane, SeenRun, SeenTree, Survey};
use super::records;
use crate::bus::{Bus, Table};
use crate::failure::Failure;
use crate::ids::{LaneId, TaskId};
use crate::lanes::lane::{Lane, Stage};
use crate::lanes::table::State;
use crate::lanes::{Handle, Registry};
use crate::worktree::TrashEntry;

/// What repairs need of what was seen.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Lanes that are not closed, with their trees as they are now.
    pub lanes: Vec<Lane>,
    /// Lanes that are closed, and of whose tree something is there.
    pub closed: Vec<Lane>,
    /// The trash.
    pub trash: Vec<TrashEntry>,
}

/// Looks.
///
/// The outside is looked at first and the store afterwards: a record is written before its effect, so that
/// what a lane makes in this moment is never seen without its record.
///
/// # Errors
/// When the store or all of the outside cannot be read.
pub async fn survey(
    bus: &Bus,
    registry: &Registry,
    outside: &dyn Outside,
) -> Result<(Survey, Found), Failure> {
    let outlook = outside.look().await?;
    // Before and after: a lane may be closed, or made, in between.
    let mut owned: BTreeSet<LaneId> = registry.all().iter().map(Handle::id).collect();
    let snapshot = bus.snapshot(vec![Table::Lanes, Table::Tasks]).await?;
    owned.extend(registry.all().iter().map(Handle::id));
    let (closed, open): (Vec<Lane>, Vec<Lane>) =
        records::lanes(&snapshot).into_iter().partition(|lane| lane.state() == State::Closed);
    let mut lanes = Vec::new();
    let mut found = Found::default();
    let begun = |lane: &&Lane| outlook.begun.contains(&lane.id);
    found.closed = closed.iter().filter(begun).cloned().collect();
    let closed: BTreeSet<LaneId> = closed.iter().map(|lane| lane.id).collect();
    for mut lane in open {
        let at = outside.tree_at(&lane).await;
        if let (TreeAt::Here { dev, ino }, Some(tree)) = (&at, &mut lane.tree) {
            (tree.dev, tree.ino) = (*dev, *ino);
        }
        lanes.push(seen(&lane, owned.contains(&lane.id), at));
        found.lanes.push(lane);
    }
    let unended = |task: &&crate::lanes::lane::Task| task.stage != Stage::Ended;
    let known: BTreeSet<TaskId> =
        found.lanes.iter().flat_map(|lane| lane.tasks.values()).filter(unended).map(|task| task.id).collect();
    let mut trees = Vec::new();
    for (order, admin_id, at) in outlook.trees {
        let here = matches!(at, TreeAt::Here { .. });
        let asked = here && order.home == outside.home() && closed.contains(&order.lane_id);
        let work = asked && outside.holds_work(&order, &admin_id).await;
        trees.push(SeenTree { order, admin_id, at, work });
    }
    found.trash = outlook.trash.iter().map(|(entry, _restoring)| entry.clone()).collect();
    let runs = outlook.runs.into_iter().map(|run| SeenRun { known: known.contains(&run.id), run }).collect();
    let (home, begun, trash, unswept) = (outside.home(), outlook.begun, outlook.trash, outlook.unswept);
    Ok((Survey { home, lanes, closed, trees, begun, trash, runs, unswept }, found))
}

fn seen(lane: &Lane, owned: bool, tree: TreeAt) -> SeenLane {
    SeenLane {
        id: lane.id,
        name: lane.name().to_owned(),
        state: lane.state(),
        owned,
        stuck: lane.cleanup_failure.is_some(),
        tree,
        unended: lane.tasks.values().filter(|task| task.stage != Stage::Ended).count(),
    }
}
