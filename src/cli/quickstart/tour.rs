//! The steps of the quickstart.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::super::connect::{self, Daemon, Piece, Running};
use super::super::environment::Environment;
use super::super::exec::exit_of;
use super::super::session::Session;
use super::proof::{self, Baseline};
use super::report::Report;
use super::scratch::{LANES, Scratch};
use super::show::Show;
use crate::api::{
    Cleanup, Command, Create, EventReplay, Exec, LaneCleanup, LaneCreate, LaneRef, LaneView, Replay,
    Subscribe, TaskExec, TaskView, TrashEmpty, TrashEmptyParams,
};
use crate::bus::Event;
use crate::failure::{Code, Failure};
use crate::raw::Raw;
use crate::worktree::Mode;

/// How long something that has been closed may take to vanish from the process table.
const VANISH: Duration = Duration::from_secs(2);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(20);

/// What happened in a lane.
enum Update {
    Made(usize, Box<LaneView>, Duration),
    State(String, String),
    Said(usize, String),
    Ended(usize, Box<TaskView>, u8, Duration),
    Failed(usize, Failure),
}

/// All steps. What fails ends it; [`tidy`] follows in any case.
pub async fn tour(
    session: &Session,
    scratch: &Scratch,
    before: &Baseline,
    report: &mut Report,
) -> Result<(), Failure> {
    let names = scratch.names();
    let begun = Instant::now();
    let daemon = Daemon::open(&session.at).await?;
    report.step("a daemon of its own is up", begun.elapsed());

    let mut show = Show::new(session.output, &names);
    let (sender, mut updates) = mpsc::channel(256);
    let _states = watch(&daemon, sender.clone()).await?;
    let lanes = create(session, &daemon, &names, &sender, &mut updates, &mut show, report).await?;
    let tasks = run(session, &daemon, &lanes, &sender, &mut updates, &mut show, report).await?;

    report.check(
        "each lane has its own file, no other lane and not the checkout has it",
        proof::leaks(scratch, &lanes),
    );
    report.check("your checkout is as it was", before.checkout_changed(scratch).await);

    close(session, &daemon, &lanes, report).await?;
    let ids: Vec<String> = tasks.iter().map(|task| task.id.to_string()).collect();
    proved(scratch, before, &lanes, &ids, report).await?;
    events(&daemon, report).await
}

/// Tells states as they change, from the bus.
async fn watch(daemon: &Daemon, sender: mpsc::Sender<Update>) -> Result<JoinSet<()>, Failure> {
    let topics = vec!["lane.state.changed".to_owned()];
    let mut notices = daemon.subscribe(Subscribe { since: Some(0), topics, lane: None }).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok(Some(notice)) = notices.next().await {
            let Some(event) = notice.event else { continue };
            let Some((lane, state)) = change(&event) else { continue };
            if sender.send(Update::State(lane, state)).await.is_err() {
                return;
            }
        }
    });
    Ok(tasks)
}

fn change(event: &Event) -> Option<(String, String)> {
    Some((event.lane_id?.to_string(), event.payload.get("to")?.as_str()?.to_owned()))
}

async fn create(
    session: &Session,
    daemon: &Daemon,
    names: &[String],
    sender: &mpsc::Sender<Update>,
    updates: &mut mpsc::Receiver<Update>,
    show: &mut Show,
    report: &mut Report,
) -> Result<Vec<LaneView>, Failure> {
    let begun = Instant::now();
    let mut calls = JoinSet::new();
    for (nth, name) in names.iter().enumerate() {
        let (daemon, sender) = (daemon.clone(), sender.clone());
        let params = Create { cwd: session.cwd(), name: Some(name.clone()), ..Create::default() };
        calls.spawn(async move {
            let begun = Instant::now();
            let update = match daemon.call::<LaneCreate>(params).await {
                Ok(reply) => Update::Made(nth, Box::new(reply.lane), begun.elapsed()),
                Err(failure) => Update::Failed(nth, failure),
            };
            let _the_tour_has_ended = sender.send(update).await;
        });
    }
    show.draw()?;
    let mut made: Vec<Option<LaneView>> = vec![None; names.len()];
    let mut times = Vec::new();
    while made.iter().any(Option::is_none) {
        match updates.recv().await {
            Some(Update::Made(nth, lane, took)) => {
                times.push(took.as_millis());
                show.made(nth, took)?;
                made[nth] = Some(*lane);
            }
            Some(Update::Failed(nth, failure)) => return Err(in_lane(&names[nth], failure)),
            Some(_other) => {}
            None => break,
        }
    }
    times.sort_unstable();
    let each = format!("{LANES} lanes made at once, each in {} to {} ms", times[0], times[times.len() - 1]);
    report.step(each, begun.elapsed());
    Ok(made.into_iter().flatten().collect())
}

fn in_lane(name: &str, mut failure: Failure) -> Failure {
    failure.message = format!("in lane {name}: {}", failure.message);
    failure
}

async fn run(
    session: &Session,
    daemon: &Daemon,
    lanes: &[LaneView],
    sender: &mpsc::Sender<Update>,
    updates: &mut mpsc::Receiver<Update>,
    show: &mut Show,
    report: &mut Report,
) -> Result<Vec<TaskView>, Failure> {
    let begun = Instant::now();
    let mut followers = JoinSet::new();
    for (nth, lane) in lanes.iter().enumerate() {
        followers.spawn(follow(daemon.clone(), session.cwd(), lane.clone(), nth, sender.clone()));
    }
    let mut ended: Vec<TaskView> = Vec::new();
    let mut busy = Duration::ZERO;
    while ended.len() < lanes.len() {
        match updates.recv().await {
            Some(Update::Said(nth, line)) => show.said(nth, &line)?,
            Some(Update::State(id, state)) => {
                if let Some(nth) = lanes.iter().position(|lane| lane.id.to_string() == id) {
                    show.state(nth, &state)?;
                }
            }
            Some(Update::Ended(_, task, 0, took)) => {
                busy += took;
                ended.push(*task);
            }
            Some(Update::Ended(nth, _, code, _)) => {
                let what = format!("the command in lane {} ended with {code}", lanes[nth].name);
                return Err(Failure::new(Code::HandlerError, what));
            }
            Some(Update::Failed(nth, failure)) => return Err(in_lane(&lanes[nth].name, failure)),
            Some(Update::Made(..)) => {}
            None => break,
        }
    }
    let took = begun.elapsed();
    report.step(format!("a command in each at once ({} ms of commands)", busy.as_millis()), took);
    Ok(ended)
}

/// Does what an agent does: says something now and then, writes a file, commits it.
fn script(name: &str) -> Command {
    const TEXT: &str = "\
        set -e; \
        for step in reading thinking writing; do echo \"$step\"; sleep 0.2; done; \
        printf 'written in lane %s\\n' \"$1\" > \"$2\"; \
        git -c core.hooksPath=/dev/null add -- \"$2\"; \
        git -c core.hooksPath=/dev/null -c commit.gpgsign=false -c gc.auto=0 \
            -c user.name=lanes -c user.email=lanes@localhost commit --quiet -m \"$2\"; \
        echo \"committed $(git rev-parse --short HEAD)\"";
    let argv = ["/bin/sh", "-c", TEXT, "sh", name, &proof::own_file(name)];
    Command {
        argv: argv.into_iter().map(Raw::from).collect(),
        env: Some(Environment::variables()),
        ..Command::default()
    }
}

/// Starts the command of a lane and follows its output at its keeper.
async fn follow(daemon: Daemon, cwd: Raw, lane: LaneView, nth: usize, sender: mpsc::Sender<Update>) {
    let update = match accompany(&daemon, cwd, &lane, nth, &sender).await {
        Ok(update) => update,
        Err(failure) => Update::Failed(nth, failure),
    };
    let _the_tour_has_ended = sender.send(update).await;
}

async fn accompany(
    daemon: &Daemon,
    cwd: Raw,
    lane: &LaneView,
    nth: usize,
    sender: &mpsc::Sender<Update>,
) -> Result<Update, Failure> {
    let begun = Instant::now();
    let params = Exec {
        lane: LaneRef { lane: Raw::from(lane.id.to_string()), cwd },
        command: script(&lane.name),
        stdin: false,
        timeout_ms: Some(60_000),
        heartbeat_ms: None,
        detached: false,
        agent: None,
    };
    let reply = daemon.call::<TaskExec>(params).await?;
    let mut running = Running::open(&reply, 0).await?;
    loop {
        match running.next().await? {
            Piece::Output { bytes, .. } => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                for line in text.lines().filter(|line| !line.trim().is_empty()) {
                    let _the_tour_has_ended = sender.send(Update::Said(nth, line.to_owned())).await;
                }
            }
            Piece::Gap { .. } => {}
            Piece::Ended(exit) => {
                let exit = daemon.settled(&reply, exit).await;
                return Ok(Update::Ended(nth, Box::new(reply.task), exit_of(&exit), begun.elapsed()));
            }
        }
    }
}

async fn close(
    session: &Session,
    daemon: &Daemon,
    lanes: &[LaneView],
    report: &mut Report,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let lanes = lanes.iter().map(|lane| Raw::from(lane.id.to_string())).collect();
    let reply =
        daemon.call::<LaneCleanup>(Cleanup { cwd: session.cwd(), lanes, ..Cleanup::default() }).await?;
    report.step(format!("{} lanes closed at once", reply.results.len()), begun.elapsed());
    let said =
        |failure: Option<Failure>| failure.map_or_else(|| "not closed".into(), |failure| failure.message);
    let failed = reply.results.into_iter().filter(|result| !result.ok);
    report.check(
        "every lane is closed",
        failed.map(|result| format!("{}: {}", result.lane, said(result.error))).collect(),
    );
    Ok(())
}

/// Looks for what is left. Branches with a commit that is nowhere else are kept by design; these are ours,
/// so they are deleted here, each only as it was seen.
async fn proved(
    scratch: &Scratch,
    before: &Baseline,
    lanes: &[LaneView],
    tasks: &[String],
    report: &mut Report,
) -> Result<(), Failure> {
    report.check("no folder of a lane is left", proof::trees(lanes));
    report.check("no admin entry of a lane is left", before.new_admin().0);
    let processes = vanished(|| proof::processes(lanes, tasks)).await;
    report.check("no process of a lane is left", processes);
    let home = scratch.home();
    report.check("no socket of a lane is left", vanished(|| proof::sockets(&home, true)).await);
    let mut kept = 0;
    for found in before.new_refs(scratch).await? {
        let Some((name, sha)) = found.split_once(' ') else { continue };
        let ours = lanes.iter().any(|lane| name == format!("refs/heads/{}", lane.branch));
        if ours {
            kept += 1;
            scratch.git(Mode::Write, &["update-ref", "-d", name, sha]).await?;
        }
    }
    if kept > 0 {
        report.note(format!(
            "{kept} branches were kept, since their commits were nowhere else; quickstart deleted its own"
        ));
    }
    report.check("no branch is left", before.new_refs(scratch).await?);
    report.check("your checkout is still as it was", before.checkout_changed(scratch).await);
    Ok(())
}

/// What is still found when it had a moment to go.
async fn vanished(look: impl Fn() -> Vec<String>) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let found = look();
        if found.is_empty() || begun.elapsed() > VANISH {
            return found;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Reads all events again: from the first on, without a hole.
async fn events(daemon: &Daemon, report: &mut Report) -> Result<(), Failure> {
    let page = daemon.call::<EventReplay>(Replay::default()).await?;
    let holes = page.events.iter().zip(1..).filter(|(event, wanted)| event.offset != *wanted);
    let found =
        holes.map(|(event, wanted)| format!("event {} at place {wanted}", event.offset)).take(3).collect();
    report.check(format!("{} events on the bus, in order and without a hole", page.events.len()), found);
    Ok(())
}

/// Takes everything away that may be there, also when a step failed.
pub async fn tidy(
    session: &Session,
    scratch: &Scratch,
    before: &Baseline,
    report: &mut Report,
) -> Result<(), Failure> {
    let Some(daemon) = Daemon::running(&session.at).await? else { return Ok(()) };
    let begun = Instant::now();
    let all = Cleanup { cwd: session.cwd(), all: true, force: true, ..Cleanup::default() };
    let closed = daemon.call::<LaneCleanup>(all).await;
    let emptied = daemon
        .call::<TrashEmpty>(TrashEmptyParams { cwd: session.cwd(), ..TrashEmptyParams::default() })
        .await;
    let stopped = connect::stop(&session.at, daemon).await;
    let (_closed, _emptied) = (closed?, emptied?);
    stopped?;
    report.step("trash emptied, daemon stopped", begun.elapsed());
    let (trees, vault) = before.new_admin();
    report.check("no admin entry of git is left", [trees, vault].concat());
    let home = scratch.home();
    report.check("no socket is left", vanished(|| proof::sockets(&home, false)).await);
    Ok(())
}
