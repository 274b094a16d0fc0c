//! Watches the terminals of lanes: screens are kept, questions answered, what programs say is told.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use super::Shared;
use crate::bus::{Actor, Batch, Context, Table, Write};
use crate::keeper::protocol::{Mark, Reply, Said};
use crate::keeper::{Checkpoint, Exit, Shape};
use crate::lanes::lane::Task;
use crate::lanes::machine::Input;
use crate::lanes::world::Tell;
use crate::task::{TaskError, Watcher};

/// So much output after one drawing the next is made: what a client that comes has to read at most.
const PAINT_BYTES: u64 = 128 << 10;
/// Between two drawings of one terminal: of a flood each takes some 60 ms, behind everything else, and who
/// attaches to it a moment later has little to read.
const PAINT_PAUSE: Duration = Duration::from_millis(250);
/// Between two batches of what a program said: one that says a lot fills the store with it.
const TELL_PAUSE: Duration = Duration::from_millis(250);
/// What waits to be told; the oldest is dropped.
const MAX_WAITING: usize = 64;
/// How long the last words of a command that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Between two attempts to reach a keeper.
const RECONNECT: Duration = Duration::from_millis(200);

/// What waits to be told.
enum News {
    Mark(Mark),
    /// Columns and rows.
    Size(u16, u16),
}

/// What was told of a terminal; beside the events, so that each is told once whatever happens.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Told {
    /// The offset after the last mark.
    offset: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cwd: Option<String>,
    /// Columns and rows.
    size: (u16, u16),
}

impl Told {
    /// What of this is told: topic and payload. The same title or folder again is none.
    fn take(&mut self, task: &Task, mark: &Mark) -> Option<(&'static str, Value)> {
        self.offset = self.offset.max(mark.offset);
        let id = task.id;
        match &mark.said {
            Said::Title { title } => {
                let fresh = self.title.replace(title.clone()).as_ref() != Some(title);
                fresh.then(|| ("terminal.title", json!({ "task_id": id, "title": title })))
            }
            Said::Cwd { cwd } => {
                let fresh = self.cwd.replace(cwd.clone()).as_ref() != Some(cwd);
                fresh.then(|| ("terminal.cwd", json!({ "task_id": id, "cwd": cwd })))
            }
            Said::Prompt { mark, exit } => {
                let mut payload = json!({ "task_id": id, "mark": mark });
                if let Some(exit) = exit {
                    payload["exit"] = json!(exit);
                }
                Some(("terminal.prompt", payload))
            }
            Said::Notification { title, body } => {
                let mut payload = json!({ "task_id": id, "body": body });
                if let Some(title) = title {
                    payload["title"] = json!(title);
                }
                Some(("terminal.notification", payload))
            }
            Said::Dropped { from, to } => {
                Some(("terminal.output_dropped", json!({ "task_id": id, "from": from, "to": to })))
            }
        }
    }

    /// The same for a size.
    fn resized(&mut self, task: &Task, cols: u16, rows: u16) -> Option<(&'static str, Value)> {
        let fresh = std::mem::replace(&mut self.size, (cols, rows)) != (cols, rows);
        let payload = json!({ "task_id": task.id, "cols": cols, "rows": rows, "by": "client" });
        fresh.then_some(("terminal.resized", payload))
    }
}

fn key(task: &Task) -> String {
    format!("terminal:{}", task.id)
}

impl Shared {
    /// Watches a terminal until its command has ended, as `ended` tells; a run has nothing to watch.
    pub(super) async fn watching_screen(
        &self,
        task: &Task,
        tell: &Tell,
        ended: impl Future<Output = Exit>,
    ) -> Exit {
        let Shape::Terminal { cols, rows } = task.shape else { return ended.await };
        let exit = {
            let (mut ended, mut watched) = (pin!(ended), pin!(self.watch_screen(task, tell, (cols, rows))));
            tokio::select! {
                exit = &mut ended => {
                    let _said_nothing_more = timeout(LAST_WORDS, watched).await;
                    exit
                }
                () = &mut watched => ended.await,
            }
        };
        let writes = vec![Write::remove(Table::Meta, key(task))];
        let _found_by_nobody = self.bus.commit(Batch { events: Vec::new(), writes }).await;
        exit
    }

    /// Watches until the command has ended.
    async fn watch_screen(&self, task: &Task, tell: &Tell, size: (u16, u16)) {
        let known = self.bus.get(Table::Meta, key(task)).await.ok().flatten();
        let mut told = known
            .and_then(|body| serde_json::from_value(body).ok())
            .unwrap_or_else(|| Told { size, ..Told::default() });
        loop {
            match self.watch_once(task, tell, &mut told).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => tracing::debug!(task = %task.id, %error, "the terminal cannot be watched now"),
            }
            if !super::watch::keeper_lives(task) {
                break;
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    /// Watches over one connection; true when the command has ended.
    async fn watch_once(&self, task: &Task, tell: &Tell, told: &mut Told) -> Result<bool, TaskError> {
        let painted = Checkpoint::read(task.log_dir.as_path()).map_or(0, |found| found.offset);
        let (run_dir, mut output_at) = (task.run_dir.as_path(), painted + PAINT_BYTES);
        let mut watcher = Watcher::connect(run_dir, told.offset, output_at).await?;
        let mut waiting: Vec<News> = Vec::new();
        let (mut tell_at, mut paint_at, mut due) = (Instant::now(), Instant::now(), false);
        loop {
            let next = tokio::select! {
                next = watcher.next() => Some(next),
                () = sleep_until(tell_at), if !waiting.is_empty() => None,
                () = sleep_until(paint_at), if due => None,
            };
            match next {
                Some(Some(Reply::Query { offset, private })) => {
                    self.answer(task, &mut watcher, offset, private).await?;
                }
                Some(Some(Reply::Offset(_))) => due = true,
                Some(Some(Reply::Mark(mark))) => push(&mut waiting, News::Mark(mark)),
                Some(Some(Reply::Size { cols, rows, .. })) => push(&mut waiting, News::Size(cols, rows)),
                Some(Some(Reply::Exited(_))) => {
                    self.tell_marks(task, told, &mut waiting).await;
                    return Ok(true);
                }
                Some(Some(Reply::Throttled { on, .. })) => {
                    let _lane_is_closing = tell.send(Input::Throttled(task.id, on)).await;
                }
                // The rest is for those who asked for it.
                Some(Some(
                    Reply::Hello(_)
                    | Reply::Status(_)
                    | Reply::Accepted(_)
                    | Reply::Done
                    | Reply::Refused(..)
                    | Reply::Room
                    | Reply::Leave
                    | Reply::Screen { .. }
                    | Reply::Draw(_)
                    | Reply::Output { .. }
                    | Reply::Gap { .. }
                    | Reply::Live(_),
                ))
                | None => {}
                Some(None) => {
                    self.tell_marks(task, told, &mut waiting).await;
                    return Ok(false);
                }
            }
            let now = Instant::now();
            if !waiting.is_empty() && now >= tell_at {
                self.tell_marks(task, told, &mut waiting).await;
                tell_at = now + TELL_PAUSE;
            }
            if due && now >= paint_at {
                due = false;
                match self.painter.paint(&task.log_dir).await {
                    Ok(offset) => output_at = offset + PAINT_BYTES,
                    Err(error) => {
                        tracing::debug!(task = %task.id, %error, "the screen was not written down");
                        output_at += PAINT_BYTES;
                    }
                }
                paint_at = Instant::now() + PAINT_PAUSE;
                watcher.output_at(output_at).await?;
            }
        }
    }

    /// Tells where the cursor is, to a program that nobody is attached to.
    async fn answer(
        &self,
        task: &Task,
        watcher: &mut Watcher,
        offset: u64,
        private: bool,
    ) -> Result<(), TaskError> {
        let found = self.painter.find_cursor(&task.log_dir, offset).await;
        let Ok((row, col)) = found else { return Ok(()) };
        let mark = if private { "?" } else { "" };
        watcher.answer(offset, format!("\x1b[{mark}{row};{col}R").into_bytes()).await
    }

    /// Tells what waits, in one batch with what was told, so that it is told once.
    async fn tell_marks(&self, task: &Task, told: &mut Told, waiting: &mut Vec<News>) {
        let mut next = told.clone();
        let said = waiting.drain(..).filter_map(|news| match news {
            News::Mark(mark) => next.take(task, &mark),
            News::Size(cols, rows) => next.resized(task, cols, rows),
        });
        let mut context = Context::new(Actor::lanes());
        if let Some(identity) = &task.identity {
            context.correlation_id = identity.correlation_id;
        }
        let events: Vec<_> = said
            .map(|(topic, payload)| {
                let mut draft = context.draft(topic, payload);
                draft.workspace_id = Some(task.workspace_id);
                draft.lane_id = Some(task.lane_id);
                draft.task_id = Some(task.id);
                draft
            })
            .collect();
        if events.is_empty() && next.offset == told.offset && next.size == told.size {
            return;
        }
        let writes = vec![Write::put(Table::Meta, key(task), &next)];
        match self.bus.commit(Batch { events, writes }).await {
            Ok(_) => *told = next,
            Err(error) => {
                tracing::warn!(task = %task.id, %error, "what a program said was not written down");
            }
        }
    }
}

fn push(waiting: &mut Vec<News>, news: News) {
    if waiting.len() >= MAX_WAITING {
        waiting.remove(0);
    }
    waiting.push(news);
}
