//! Starts the keeper of a task.

use super::Shared;
use crate::failure::{Code, Failure};
use crate::fault;
use crate::ids::TaskKind;
use crate::keeper::{self, Identity, Spec};
use crate::lanes::lane::{Lane, Task};
use crate::lanes::world::Launch;
use crate::task;
use crate::worktree;

impl Shared {
    pub(super) async fn start(&self, lane: &Lane, task: &Task, launch: Launch) -> Result<Identity, Failure> {
        fault::at("task.begin")?;
        task::Room::look().take(task.kind())?;
        let config = self.config(lane).await;
        let tree = lane.order.path.to_path_buf();
        let (root, id, at) = (lane.order.root.clone(), lane.id, tree.clone());
        let raised = tokio::task::spawn_blocking(move || worktree::overlay::raise(root.as_path(), id, &at));
        raised.await.map_err(|_aborted| Failure::new(Code::DaemonDown, "the runtime is stopping"))??;
        let cwd = launch.dir.as_ref().map_or_else(|| tree.clone(), |dir| tree.join(dir.as_path()));
        let grace = match task.kind() {
            TaskKind::Terminal => config.stop.terminal_grace,
            TaskKind::Run => config.stop.run_grace,
        };
        let (groups, rlimits) = self.confine(lane.id, task.id, &config.limits).await;
        let kill = groups.kill.clone();
        let spec = Spec {
            id: task.id,
            lane_id: task.lane_id,
            workspace_id: task.workspace_id,
            correlation_id: launch.correlation_id.unwrap_or_else(crate::ids::CorrelationId::generate),
            shape: task.shape.clone(),
            argv: launch.argv,
            env: self.environment(lane, task, launch.env, &cwd),
            cwd: cwd.into(),
            secret: task.secret.clone(),
            timeout_ms: launch.timeout_ms,
            grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
            run_dir: task.run_dir.clone(),
            log_dir: task.log_dir.clone(),
            log_limit: config.task.log_limit,
            groups,
            rlimits,
        };
        let started = self.launcher.start(spec).await;
        if let (Err(_), Some(kill)) = (&started, kill) {
            keeper::remove_group(kill.as_path());
        }
        let identity = started?.identity;
        fault::pass("task.started");
        if let Some(recipe) = launch.recipe {
            let folder = task.log_dir.to_path_buf();
            let written = tokio::task::spawn_blocking(move || recipe.write(&folder)).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(task = %task.id, %error, "it cannot be revived after a reboot");
            }
        }
        Ok(identity)
    }
}
