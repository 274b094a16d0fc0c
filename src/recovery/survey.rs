//! Looks at what is there, and changes nothing.

use std::collections::BTreeSet;
use std::path::Path;

use super::plan::{SeenLane, SeenRun};
use crate::ids::TaskId;
use crate::lanes::lane::{Lane, Stage};
use crate::task;

/// A lane as it is written down and as its tree is found.
pub fn lane(lane: &Lane, owned: bool) -> SeenLane {
    let tree = match &lane.tree {
        // Only a folder that is certainly absent counts as gone; one that cannot be looked at is there.
        Some(tree) => !is_absent(tree.path.as_path()),
        None => true,
    };
    SeenLane {
        id: lane.id,
        name: lane.name().to_owned(),
        state: lane.state(),
        owned,
        tree,
        unended: lane.tasks.values().filter(|task| task.stage != Stage::Ended).count(),
    }
}

fn is_absent(path: &Path) -> bool {
    matches!(path.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
}

/// The run folders of a home. `known` are the tasks that open lanes wait for.
pub fn runs(run: &Path, known: &BTreeSet<TaskId>) -> Vec<SeenRun> {
    let Ok(folder) = std::fs::read_dir(run) else { return Vec::new() };
    let mut ids: Vec<TaskId> =
        folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    ids.sort_unstable();
    ids.into_iter()
        .map(|id| {
            let identity = task::read_identity(&run.join(id.text().as_str()));
            SeenRun {
                id,
                known: known.contains(&id),
                keeper: identity.as_ref().is_some_and(task::keeper_alive),
            }
        })
        .collect()
}
