//! Records as the store keeps them, back to values.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::bus::{Snapshot, Table};
use crate::ids::LaneId;
use crate::lanes::lane::{ENDED_TASKS, Lane, Stage, Task};
use crate::lanes::workspace::Record;

fn rows(snapshot: &Snapshot, wanted: Table) -> impl Iterator<Item = &Value> {
    snapshot
        .records
        .iter()
        .filter(move |(table, _rows)| *table == wanted)
        .flat_map(|(_table, rows)| rows.iter().map(|(_key, body)| body))
}

fn read<T: serde::de::DeserializeOwned>(body: &Value) -> Option<T> {
    match T::deserialize(body) {
        Ok(value) => Some(value),
        Err(error) => {
            // A record of ours that we cannot read: said, kept, and left alone.
            tracing::error!(%error, "a record in the store could not be read");
            None
        }
    }
}

/// Every lane with its tasks: the live ones and the last that ended.
pub fn lanes(snapshot: &Snapshot) -> Vec<Lane> {
    let mut lanes: BTreeMap<LaneId, Lane> =
        rows(snapshot, Table::Lanes).filter_map(read::<Lane>).map(|lane| (lane.id, lane)).collect();
    for task in rows(snapshot, Table::Tasks).filter_map(read::<Task>) {
        if let Some(lane) = lanes.get_mut(&task.lane_id) {
            lane.tasks.insert(task.id, task);
        }
    }
    for lane in lanes.values_mut() {
        let ended: Vec<_> =
            lane.tasks.values().filter(|task| task.stage == Stage::Ended).map(|task| task.id).collect();
        let surplus = ended.len().saturating_sub(ENDED_TASKS);
        for id in ended.into_iter().take(surplus) {
            lane.tasks.remove(&id);
        }
    }
    lanes.into_values().collect()
}

/// These lanes, and all that they were brought back from, one from the other.
pub fn with_origins(
    ids: impl IntoIterator<Item = LaneId>,
    lanes: &BTreeMap<LaneId, Lane>,
) -> BTreeSet<LaneId> {
    let mut found = BTreeSet::new();
    for id in ids {
        let mut next = Some(id);
        while let Some(id) = next.filter(|id| found.insert(*id)) {
            next = lanes.get(&id).and_then(|lane| lane.restored_from);
        }
    }
    found
}

/// Every workspace.
pub fn workspaces(snapshot: &Snapshot) -> Vec<Record> {
    rows(snapshot, Table::Workspaces).filter_map(read::<Record>).collect()
}
