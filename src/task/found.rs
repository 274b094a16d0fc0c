//! Finds a task whose start nobody saw to its end.

use std::path::Path;
use std::time::Duration;

use super::{find_identity, sweep};
use crate::ids::{CorrelationId, LaneId, TaskId, WorkspaceId};
use crate::keeper::{Groups, Identity, Rlimits};
use crate::proc;
use crate::{clock, fault};

/// A task that was asked for, as far as that is known.
#[derive(Clone, Debug)]
pub struct Sought<'a> {
    /// Which.
    pub id: TaskId,
    /// Whose.
    pub lane_id: LaneId,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// What marks its processes.
    pub secret: &'a str,
    /// The folder of its keeper's socket.
    pub run_dir: &'a Path,
}

/// Who the task is, once a keeper that is on its way has come up. `None` when there is no keeper: then nothing of
/// the task is left either, what a killed keeper had started is ended.
///
/// Returns at once, but for a keeper in the middle of its start.
pub async fn found(sought: &Sought<'_>) -> Option<Identity> {
    fault::pass("task.found");
    if let Some(identity) = find_identity(sought.run_dir, sought.id).await {
        return Some(identity);
    }
    let _nobody_is_told = sweep(&sought.unknown(), Duration::ZERO).await;
    None
}

impl Sought<'_> {
    /// As its keeper would have written it down; without a process, so that only its secret tells who is of it.
    fn unknown(&self) -> Identity {
        Identity {
            id: self.id,
            lane_id: self.lane_id,
            workspace_id: self.workspace_id,
            correlation_id: CorrelationId::generate(),
            pid: 0,
            pid_start: 0,
            keeper_pid: 0,
            keeper_start: 0,
            boot_id: proc::boot_id(),
            secret: self.secret.to_owned(),
            started_at: clock::now(),
            groups: Groups::default(),
            rlimits: Rlimits::default(),
        }
    }
}
