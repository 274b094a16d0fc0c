//! Runs the set-up commands of the configuration.

use std::time::Duration;

use serde_json::json;

use super::Shared;
use super::watch::{ended, stop};
use crate::bus::{Context, redact};
use crate::clock;
use crate::config::Hook;
use crate::failure::{Code, Failure};
use crate::ids::{TaskId, TaskKind};
use crate::keeper::{Exit, ExitStatus, Shape};
use crate::lanes::lane::{Lane, Stage, Task};
use crate::lanes::world::Launch;
use crate::raw::Raw;
use crate::task;

/// How long a set-up command may take.
const HOOK_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// The end of a hook's output that goes into a message, in bytes.
pub(super) const HOOK_TAIL: usize = 2000;

impl Shared {
    /// Runs a set-up command of the configuration as a task of its own and respects its exit status.
    pub(super) async fn hook(
        &self,
        lane: &Lane,
        hook: &Hook,
        name: &str,
        context: &Context,
    ) -> Result<(), Failure> {
        let mut record = self.begin_hook(lane, hook, context).await?;
        let id = record.id;
        let started = json!({ "task_id": id, "command": record.command, "hook": name });
        self.tell(lane, &record, context, "lane.command.started", started).await?;
        let exit = ended(&record, || {}).await;
        record.exit = Some(exit.clone());
        record.stage = Stage::Ended;
        stop(&record, &self.config(lane).await).await?;
        let done = json!({ "task_id": id, "exit": exit.status, "ms": exit.ms, "max_rss_kb": exit.max_rss_kb, "hook": name });
        self.tell(lane, &record, context, "lane.command.completed", done).await?;
        let words = task::tail(record.log_dir.as_path(), HOOK_TAIL);
        let _absent = tokio::fs::remove_dir_all(record.run_dir.as_path()).await;
        if exit.status == ExitStatus::Code(0) {
            return Ok(());
        }
        let how = how_it_ended(&exit);
        Err(Failure::new(
            Code::GitFailed,
            format!("the {name} hook of the configuration failed ({how}): {}", words.trim()),
        )
        .hint(format!(
            "mend the command in lanes.toml, then: lanes trust; all it said: lanes logs {} --run {id}",
            lane.id
        ))
        .details(json!({ "task_id": id })))
    }

    /// Starts the keeper of a set-up command.
    pub(super) async fn begin_hook(
        &self,
        lane: &Lane,
        hook: &Hook,
        context: &Context,
    ) -> Result<Task, Failure> {
        let id = TaskId::generate(TaskKind::Run);
        let argv: Vec<Raw> = hook.argv().into_iter().map(Raw::from).collect();
        let place = (lane.id, lane.workspace_id());
        let shape = Shape::Run { stdin: false };
        let secret = Task::new_secret();
        let task = Task {
            command: redacted(&argv),
            ..Task::asked_for(&self.home, id, place, shape, secret, clock::now())
        };
        let env = std::env::vars_os().map(|(key, value)| (key.into(), value.into())).collect();
        let timeout_ms = Some(u64::try_from(HOOK_TIMEOUT.as_millis()).unwrap_or(u64::MAX));
        let correlation_id = Some(context.correlation_id);
        let launch = Launch { argv, env, dir: None, timeout_ms, recipe: None, correlation_id };
        let identity = self.start(lane, &task, launch).await?;
        Ok(Task { identity: Some(identity), stage: Stage::Live, ..task })
    }

    async fn tell(
        &self,
        lane: &Lane,
        task: &Task,
        context: &Context,
        topic: &'static str,
        payload: serde_json::Value,
    ) -> Result<(), Failure> {
        let mut draft = context.draft(topic, payload);
        draft.workspace_id = Some(lane.workspace_id());
        draft.lane_id = Some(lane.id);
        draft.task_id = Some(task.id);
        let writes = vec![crate::bus::Write::put(crate::bus::Table::Tasks, task.id, task)];
        self.bus.commit(crate::bus::Batch { events: vec![draft], writes }).await.map(drop)
    }
}

/// How a command ended, for people.
pub(super) fn how_it_ended(exit: &Exit) -> String {
    match exit.status {
        ExitStatus::Code(code) => format!("exit {code}"),
        ExitStatus::Signal(signal) => format!("signal {signal}"),
        ExitStatus::Lost(_) => "nobody knows how".to_owned(),
    }
}

/// An argument list as it may be shown and kept.
fn redacted(argv: &[Raw]) -> Vec<String> {
    redact::arguments(argv).iter().map(ToString::to_string).collect()
}
