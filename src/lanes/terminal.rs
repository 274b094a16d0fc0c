//! What follows for a task from its phase, its signals and what is seen of it: pure decisions on values.

use serde_json::json;

use super::lane::{SIGNALS, Task};
use super::machine::{Sight, Step};
use super::phase::{self, Happening};
use super::table::State;
use crate::api::SignalView;
use crate::clock::Timestamp;
use crate::ids::{TaskId, TaskKind};
use crate::keeper::{Exit, ExitStatus, Shape};

const HUP: i32 = 1;
const KILL: i32 = 9;
const TERM: i32 = 15;

/// Moves a terminal as the table says, and tells it. A run has no phases.
pub(super) fn advance(step: &mut Step, id: TaskId, happening: Happening) {
    let Some(task) = step.lane.tasks.get_mut(&id).filter(|task| task.kind() == TaskKind::Terminal) else {
        return;
    };
    let from = task.phase;
    let Some(to) = phase::next(from, happening) else { return };
    task.phase = to;
    note(step, id);
    let told = json!({ "task_id": id, "from": from, "to": to, "event": happening });
    step.task_fact("terminal.state.changed", id, told);
}

fn note(step: &mut Step, id: TaskId) {
    if !step.tasks.contains(&id) {
        step.tasks.push(id);
    }
}

/// It could not be started, or was told to end before.
pub(super) fn not_started(step: &mut Step, id: TaskId) {
    let told_to_end = step.lane.tasks.get(&id).is_some_and(was_told_to_end);
    advance(step, id, if told_to_end { Happening::Terminated } else { Happening::SpawnFailed });
}

/// Its command has ended: as somebody asked, or not.
pub(super) fn ended(step: &mut Step, id: TaskId, exit: &Exit, at: Timestamp) {
    let cleaning = step.lane.state() == State::Cleaning;
    let Some(task) = step.lane.tasks.get_mut(&id).filter(|task| task.kind() == TaskKind::Terminal) else {
        return;
    };
    let told = cleaning || exit.timed_out || was_told_to_end(task);
    let expected = match exit.status {
        ExitStatus::Code(_) => true,
        ExitStatus::Signal(number) => told || task.signals.iter().any(|sent| sent.signal == number),
        ExitStatus::Lost(_) => cleaning,
    };
    if let (true, ExitStatus::Signal(number)) = (told, exit.status) {
        let known = task.signals.iter().any(|sent| sent.signal == number);
        if !known {
            let outcome = if number == KILL { "escalated" } else { "delivered" };
            record(task, SignalView { signal: number, at, outcome: outcome.to_owned(), error: None });
        }
    }
    advance(step, id, if expected { Happening::Terminated } else { Happening::UnexpectedExit });
}

/// True when it was sent what begins the end of a task.
fn was_told_to_end(task: &Task) -> bool {
    let ends = |sent: &SignalView| matches!(sent.signal, HUP | KILL | TERM) && sent.error.is_none();
    task.signals.iter().any(ends)
}

fn record(task: &mut Task, signal: SignalView) {
    task.signals.push_back(signal);
    while task.signals.len() > SIGNALS {
        task.signals.pop_front();
    }
}

/// A signal was sent to it.
pub(super) fn signalled(step: &mut Step, id: TaskId, signal: SignalView) {
    let Some(task) = step.lane.tasks.get_mut(&id).filter(|task| task.kind() == TaskKind::Terminal) else {
        return;
    };
    record(task, signal);
    note(step, id);
}

/// It is being ended because nothing is heard of it.
pub(super) fn stale(step: &mut Step, id: TaskId, silent_ms: u64, reason: &'static str, at: Timestamp) {
    signalled(step, id, SignalView { signal: TERM, at, outcome: "delivered".into(), error: None });
    let told = json!({ "task_id": id, "silent_ms": silent_ms, "reason": reason });
    step.task_fact("lane.par_task.stale", id, told);
}

/// Asking it to end was not enough.
pub(super) fn force_killed(step: &mut Step, id: TaskId, reason: &'static str, ms: u64, at: Timestamp) {
    signalled(step, id, SignalView { signal: KILL, at, outcome: "escalated".into(), error: None });
    step.task_fact("lane.par_task.force_killed", id, json!({ "task_id": id, "reason": reason, "ms": ms }));
}

/// Something was seen of a terminal.
pub(super) fn seen(step: &mut Step, id: TaskId, sight: Sight) {
    let Some(task) = step.lane.tasks.get_mut(&id) else { return };
    let (topic, mut told) = match sight {
        Sight::Resized { cols, rows, by } => {
            let shape = Shape::Terminal { cols, rows };
            if task.shape == shape {
                return;
            }
            task.shape = shape;
            note(step, id);
            ("terminal.resized", json!({ "task_id": id, "cols": cols, "rows": rows, "by": by }))
        }
        Sight::OutputDropped { from, to } => {
            ("terminal.output_dropped", json!({ "task_id": id, "from": from, "to": to }))
        }
        Sight::Title(title) => ("terminal.title", json!({ "task_id": id, "title": title })),
        Sight::Cwd(cwd) => ("terminal.cwd", json!({ "task_id": id, "cwd": cwd })),
        Sight::Notification { title, body } => {
            ("terminal.notification", json!({ "task_id": id, "title": title, "body": body }))
        }
        Sight::Prompt { mark, exit } => {
            ("terminal.prompt", json!({ "task_id": id, "mark": mark, "exit": exit }))
        }
    };
    // What is absent is not null.
    if let Some(fields) = told.as_object_mut() {
        fields.retain(|_name, value| !value.is_null());
    }
    step.task_fact(topic, id, told);
}
