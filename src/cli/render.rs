//! What people see of lanes, tasks, trash, events and failures: values to lines.

use std::time::Duration;

use super::sanitise::{clean, clean_bytes, clean_lines};
use super::table::{Align, Table};
use crate::api::{
    DaemonView, Guarantees, LaneResult, LaneView, LimitView, OrphanResult, OrphanView, RepairView, TaskView,
    TrashReply, TrashView,
};
use crate::bus::Event;
use crate::clock::Timestamp;
pub use crate::config::size_text as bytes;
use crate::doctor::{Check, Status};
use crate::failure::Failure;
use crate::keeper::{Exit, ExitStatus};
use crate::worktree::{Changes, Saved};

/// The lanes as a table.
pub fn lanes(lanes: &[LaneView], everywhere: bool, now: Timestamp) -> Table {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("STATE", Align::Left),
        ("BRANCH", Align::Left),
        ("COMMITS", Align::Left),
        ("CHANGES", Align::Left),
        ("TASKS", Align::Right),
        ("OUTPUT", Align::Right),
        ("REPOSITORY", Align::Left),
        ("WAITING FOR", Align::Left),
    ]);
    for lane in lanes {
        let live = lane.tasks.iter().filter(|task| is_live(task)).count();
        table.row([
            lane.name.clone(),
            state(lane),
            lane.branch.clone(),
            lane.changes.as_ref().map(commits).unwrap_or_default(),
            lane.changes.as_ref().map(changed).unwrap_or_default(),
            if live == 0 { String::new() } else { live.to_string() },
            lane.last_output_at.map(|at| age(at.age(now))).unwrap_or_default(),
            if everywhere { clean_bytes(lane.repo.as_bytes()).into_owned() } else { String::new() },
            lane.blocked.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn state(lane: &LaneView) -> String {
    if lane.cleanup_pending { format!("{}, cleanup pending", lane.state) } else { lane.state.clone() }
}

fn is_live(task: &TaskView) -> bool {
    matches!(task.state.as_str(), "starting" | "live")
}

/// `+2 -1` in commits.
fn commits(changes: &Changes) -> String {
    match (changes.ahead, changes.behind) {
        (0, 0) => String::new(),
        (ahead, 0) => format!("+{ahead}"),
        (0, behind) => format!("-{behind}"),
        (ahead, behind) => format!("+{ahead} -{behind}"),
    }
}

/// `3 files +20 -4`.
fn changed(changes: &Changes) -> String {
    match (changes.files, changes.insertions, changes.deletions) {
        (0, _, _) => String::new(),
        (files, 0, 0) => format!("{files} {}", plural(files, "file", "files")),
        (files, added, removed) => format!("{files} {} +{added} -{removed}", plural(files, "file", "files")),
    }
}

fn plural(n: u64, one: &'static str, many: &'static str) -> &'static str {
    if n == 1 { one } else { many }
}

/// `250ms`, `4s`, `12m`, `3h`, `5d`.
pub fn age(span: Duration) -> String {
    match span.as_secs() {
        0 => format!("{}ms", span.as_millis()),
        s @ 1..60 => format!("{s}s"),
        s @ 60..3_600 => format!("{}m", s / 60),
        s @ 3_600..86_400 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

/// What the doctor found: a line a check with its mark, below it what to do about one that is not well.
pub fn checks(checks: &[Check]) -> Vec<String> {
    let mut lines = Vec::new();
    for check in checks {
        let mark = match (check.fixed, check.status) {
            (Some(true), _) => "mended",
            (Some(false) | None, Status::Ok) => "ok",
            (Some(false) | None, Status::Note) => "note",
            (Some(false) | None, Status::Warn) => "WARN",
            (Some(false) | None, Status::Fail) => "FAIL",
        };
        lines.push(format!("{mark:<6} {:<20} {}", check.id, clean(&check.message)));
        if check.status != Status::Ok
            && let Some(hint) = &check.hint
        {
            lines.push(format!("{:27} -> {}", "", clean(hint)));
        }
    }
    lines
}

/// One lane, as lines of label and value.
pub fn lane(lane: &LaneView, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    let mut put = |label: &str, value: &str| lines.push(format!("{label:<11} {}", clean(value)));
    put("lane", &lane.name);
    put("id", &lane.id.to_string());
    put("state", &state(lane));
    if let Some(reason) = &lane.blocked {
        put("waits for", reason);
    }
    if let Some(reason) = &lane.close_reason {
        put("closed", reason);
    }
    put("branch", &lane.branch);
    put("base", &format!("{} ({})", lane.base.rev, short(&lane.base.sha)));
    if let Some(head) = &lane.head {
        put("head", short(head));
    }
    put("tree", &clean_bytes(lane.worktree.as_bytes()));
    put("repository", &clean_bytes(lane.repo.as_bytes()));
    if let Some(changes) = &lane.changes {
        let both = [commits(changes), changed(changes)].join("  ");
        put("changes", if both.trim().is_empty() { "none" } else { both.trim() });
    }
    if lane.shared {
        put("shared", "yes");
    }
    for agent in &lane.agents {
        put("agent", &format!("{} (for {})", agent.id, age(agent.since.age(now))));
    }
    if let Some(id) = lane.restored_from {
        put("restored", &format!("from {id}"));
    }
    put("ends trees", &lane.guarantees.tree_kill);
    put("limits", &limits(&lane.guarantees));
    put("made", &format!("{} ago", age(lane.created_at.age(now))));
    lines.extend(tasks(&lane.tasks, now));
    lines
}

/// `memory 2.0 GiB (cgroup_v2), open_files 64 (rlimits)`, or `none`.
fn limits(guarantees: &Guarantees) -> String {
    if guarantees.in_force.is_empty() {
        return guarantees.limits.clone();
    }
    let one = |limit: &LimitView| {
        let value = if limit.limit == "memory" { bytes(limit.value) } else { limit.value.to_string() };
        format!("{} {value} ({})", limit.limit, limit.by)
    };
    guarantees.in_force.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn tasks(tasks: &[TaskView], now: Timestamp) -> Vec<String> {
    if tasks.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&[
        ("TASK", Align::Left),
        ("STATE", Align::Left),
        ("PID", Align::Right),
        ("AGE", Align::Right),
        ("LEFT BEHIND", Align::Right),
        ("COMMAND", Align::Left),
    ]);
    for task in tasks {
        table.row([
            task.id.to_string(),
            task.exit
                .as_ref()
                .map_or_else(|| task.state.clone(), |exit| format!("{}, {}", task.state, ended(exit))),
            task.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            age(task.started_at.age(now)),
            if task.descendants.is_empty() { String::new() } else { task.descendants.len().to_string() },
            task.command.join(" "),
        ]);
    }
    std::iter::once(String::new()).chain(table.lines(None)).collect()
}

/// The first characters of an object id.
fn short(sha: &str) -> &str {
    sha.get(..12).unwrap_or(sha)
}

/// How a command ended, in words.
pub fn ended(exit: &Exit) -> String {
    let how = match exit.status {
        ExitStatus::Code(code) => format!("exit {code}"),
        ExitStatus::Signal(signal) => format!("signal {signal}"),
        ExitStatus::Lost(_) => "lost".into(),
    };
    if exit.timed_out { format!("timed out ({how})") } else { how }
}

/// What can be restored, as a table.
pub fn trash(entries: &[TrashView], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("ID", Align::Left),
        ("BRANCH", Align::Left),
        ("CLOSED", Align::Right),
        ("KEPT FOR", Align::Right),
        ("SIZE", Align::Right),
        ("FILES", Align::Left),
    ]);
    for entry in entries {
        table.row([
            entry.name.clone(),
            entry.id.to_string(),
            entry.branch.clone(),
            age(entry.at.age(now)),
            age(now.age(entry.expires)),
            bytes(entry.bytes),
            saved(entry),
        ]);
    }
    table
}

/// What follows the table of the trash: what had to wait, what was not as expected, what is not restorable,
/// and how much it is.
pub fn trash_more(reply: &TrashReply) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in &reply.trash {
        let said = entry.stays.iter().chain(&entry.notes);
        lines.extend(said.map(|line| format!("{}: {}", clean(&entry.name), clean_lines(line))));
    }
    for left in &reply.leftovers {
        let (path, size) = (left.path.to_string(), bytes(left.bytes));
        lines.push(format!("{} ({size}) cannot be restored: {}", clean(&path), clean_lines(&left.reason)));
    }
    if reply.trash.len() + reply.leftovers.len() > 1 {
        lines.push(format!("{} in all", bytes(reply.bytes)));
    }
    lines
}

fn saved(entry: &TrashView) -> String {
    match &entry.saved {
        Saved::Pending if entry.stays.is_some() => "kept whole for now".into(),
        Saved::Pending => "being saved".into(),
        Saved::Whole { reason } => format!("kept whole: {reason}"),
        Saved::Archived { files: 0, bytes: _ } if !entry.notes.is_empty() => "none".into(),
        Saved::Archived { files: 0, bytes: _ } => "nothing was changed".into(),
        Saved::Archived { files, bytes: size } => {
            format!("{files} saved ({})", bytes(*size))
        }
    }
}

/// What became of one lane.
pub fn result(result: &LaneResult, done: &str) -> Vec<String> {
    became(&clean_bytes(result.lane.as_bytes()), done, result.error.as_ref(), &result.notes)
}

/// What became of one suggestion.
pub fn orphan_result(result: &OrphanResult, done: &str) -> Vec<String> {
    became(&clean(&result.orphan), done, result.error.as_ref(), &result.notes)
}

fn became(what: &str, done: &str, error: Option<&Failure>, notes: &[String]) -> Vec<String> {
    let mut lines = match error {
        None => vec![format!("{what}: {done}")],
        Some(failure) => vec![format!("{what}: {}", clean_lines(&failure.message))],
    };
    if let Some(hint) = error.and_then(|failure| failure.hint.as_ref()) {
        lines.push(format!("    {}", clean_lines(hint)));
    }
    lines.extend(notes.iter().map(|note| format!("    {}", clean_lines(note))));
    lines
}

/// What looks left over: what it is, then why, then what would be done.
pub fn orphan(orphan: &OrphanView, now: Timestamp) -> Vec<String> {
    let facts = [
        format!("{} risk", clean(&orphan.risk)),
        age(orphan.since.age(now)),
        format!("owner {}", clean(&orphan.owner)),
    ];
    let mut lines = vec![
        format!("{}  {}", clean(&orphan.id), clean_bytes(orphan.resource.as_bytes())),
        format!("    {}, {}", clean(&orphan.kind), facts.join(", ")),
        format!("    {}", clean_lines(&orphan.reason)),
    ];
    lines.push(match orphan.declined_until {
        Some(until) => format!("    declined until {until}"),
        None => format!("    confirm: {}", clean(&orphan.action)),
    });
    lines
}

/// One repair.
pub fn repair(repair: &RepairView, dry_run: bool) -> String {
    let what = clean(&repair.action).replace('_', " ");
    let subject = clean(&repair.subject);
    let reason = clean(&repair.reason);
    match (&repair.error, repair.done || dry_run) {
        (Some(error), _) => format!("{what} {subject}: not done, {} ({reason})", clean_lines(error)),
        (None, true) if dry_run => format!("would {what} {subject} ({reason})"),
        (None, true) => format!("{what} {subject} ({reason})"),
        (None, false) => format!("{what} {subject}: not done ({reason})"),
    }
}

/// The runtime.
pub fn daemon(daemon: &DaemonView) -> Vec<String> {
    let mut lines = vec![
        format!(
            "running     pid {}, version {}, protocol {}",
            daemon.pid,
            clean(&daemon.version),
            daemon.protocol
        ),
        format!("home        {}", clean_bytes(daemon.home.as_bytes())),
        format!("up          {}", age(Duration::from_secs(daemon.uptime_s))),
        format!("open lanes  {}", daemon.lanes),
    ];
    if daemon.safe_mode {
        lines.push("safe mode   nothing new is started".into());
    }
    lines.extend(daemon.notes.iter().map(|note| format!("note        {}", clean_lines(note))));
    lines
}

/// One event on one line.
pub fn event(event: &Event) -> String {
    let lane = event.lane_id.map(|id| format!("  {id}")).unwrap_or_default();
    let task = event.task_id.map(|id| format!("  {id}")).unwrap_or_default();
    let payload = event.payload.to_string();
    let payload = if payload == "{}" { "" } else { &payload };
    let line = format!("{:>6}  {}  {}{lane}{task}  {payload}", event.offset, event.ts, event.topic);
    clean(line.trim_end()).into_owned()
}

/// A failure, as lines: what went wrong, then what to do.
pub fn failure(failure: &Failure) -> Vec<String> {
    let mut lines = vec![format!("lanes: {} [{}]", clean_lines(&failure.message), failure.code)];
    if let Some(hint) = &failure.hint {
        lines.push(format!("  hint: {}", clean_lines(hint)));
    }
    lines
}
