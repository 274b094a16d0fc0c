//! `lane.revive`: what a reboot ended is started again.

use std::sync::Arc;
use std::time::Duration;

use super::owner::Owner;
use super::resolve::Found;
use super::task_requests::Options;
use crate::api::{Command, LaneRef, LaneResult, ResultsReply, ReviveParams, Size};
use crate::bus::Context;
use crate::failure::{Code, Failure};
use crate::ids::TaskKind;
use crate::keeper::Shape;
use crate::lanes::Handle;
use crate::lanes::lane::{Lane, Lost, Task};
use crate::lanes::machine::Input;
use crate::task::Recipe;

/// Between two starts: fifty agents that begin at once would take the machine from each other.
const APART: Duration = Duration::from_millis(200);

impl Owner {
    /// `lane.revive`.
    pub(super) async fn revive(
        &self,
        asked: ReviveParams,
        context: Context,
    ) -> Result<ResultsReply, Failure> {
        self.may_start()?;
        let mut results = Vec::new();
        let mut handles: Vec<Handle> = Vec::new();
        if asked.all {
            let workspace = self.workspace_at(asked.cwd.as_path()).await?;
            let ours = |handle: &Handle| handle.lane().workspace_id() == workspace.id;
            handles.extend(self.registry.all().into_iter().filter(ours));
        } else if asked.lanes.is_empty() {
            return Err(Failure::new(Code::ValidationError, "no lane is named").hint("name one, or all"));
        }
        for words in &asked.lanes {
            let reference = LaneRef { lane: words.clone(), cwd: asked.cwd.clone() };
            match self.find(&reference).await {
                Ok(Found::Open(handle)) => handles.push(handle),
                Ok(Found::Closed(lane)) => {
                    let closed =
                        Failure::new(Code::InvalidTransition, format!("lane {} is closed", lane.name()))
                            .hint(format!("bring it back first: lanes restore {}", lane.name()));
                    results.push(failed(words.clone(), Some(&lane), closed));
                }
                Err(failure) => results.push(failed(words.clone(), None, failure)),
            }
        }
        let mut started = false;
        for handle in handles {
            let lane = handle.lane();
            let done = self.revive_lane(&handle, &lane, &asked, &context, &mut started).await;
            results.push(match done {
                Ok(notes) => {
                    LaneResult { lane: lane.name().into(), id: Some(lane.id), ok: true, error: None, notes }
                }
                Err(failure) => failed(lane.name().into(), Some(&lane), failure),
            });
        }
        Ok(ResultsReply { results })
    }

    /// Starts what the reboot ended in one lane; says what, for people.
    async fn revive_lane(
        &self,
        handle: &Handle,
        lane: &Arc<Lane>,
        asked: &ReviveParams,
        context: &Context,
        started: &mut bool,
    ) -> Result<Vec<String>, Failure> {
        self.guard(context, Some(lane), "revive the tasks of")?;
        let mut notes = Vec::new();
        for (task, recipe) in to_revive(lane) {
            let words = task.command.join(" ");
            let Some(recipe) = recipe else {
                // Nobody waited for a terminal on the other side; a run in the foreground had somebody.
                if task.kind() == TaskKind::Terminal {
                    notes.push(format!(
                        "{} was not written down, it holds a secret: start it again: {words}",
                        task.id
                    ));
                }
                continue;
            };
            if asked.dry_run {
                notes.push(format!("would start {words} again"));
                continue;
            }
            if std::mem::replace(started, true) {
                tokio::time::sleep(APART).await;
            }
            let size = match task.shape {
                Shape::Terminal { cols, rows } => Some(Size { cols, rows }),
                Shape::Run { .. } => None,
            };
            let command = Command {
                argv: recipe.command(),
                env: asked.env.clone(),
                dir: recipe.dir.clone(),
                size,
                resume: recipe.resume.clone(),
            };
            let options = Options {
                stdin: false,
                timeout_ms: recipe.timeout_ms,
                heartbeat_ms: task.heartbeat_ms,
                agent: task.agent.clone(),
                detached: true,
            };
            let (_lane, new) =
                self.start_task(handle, task.kind(), command, options, context.clone()).await?;
            handle.apply(Input::Revived { id: task.id, by: new.id }, context.clone()).await?;
            Recipe::remove(task.log_dir.as_path());
            notes.push(format!("{} runs again as {}: {words}", task.id, new.id));
        }
        if notes.is_empty() {
            notes.push("nothing was ended by a reboot".to_owned());
        }
        Ok(notes)
    }
}

/// What a reboot ended and nobody has started since, each with what starts it again, when that was kept.
fn to_revive(lane: &Lane) -> Vec<(Task, Option<Recipe>)> {
    let ended =
        lane.tasks.values().filter(|task| task.lost == Some(Lost::Reboot) && task.revived_as.is_none());
    ended.map(|task| (task.clone(), Recipe::read(task.log_dir.as_path()))).collect()
}

fn failed(words: crate::raw::Raw, lane: Option<&Lane>, failure: Failure) -> LaneResult {
    LaneResult {
        lane: words,
        id: lane.map(|lane| lane.id),
        ok: false,
        error: Some(failure),
        notes: Vec::new(),
    }
}
