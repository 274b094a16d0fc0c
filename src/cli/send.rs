//! `lanes send`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::args::{BeatArgs, SendArgs};
use super::connect::Daemon;
use super::sanitise::clean;
use super::session::Session;
use super::{cleanup, main, render};
use crate::api::{
    Beat, Input, InputReply, LaneList, LaneRef, LaneResult, List, ResultsReply, TaskBeat, TaskInput,
};
use crate::failure::{Code, Failure};
use crate::ids::TaskKind;
use crate::raw::Raw;

/// Types into the terminal of a lane, or of all.
pub async fn send(session: &Session, args: SendArgs) -> Result<u8, Failure> {
    let wrong = |message: &str| Err(Failure::new(Code::ValidationError, message));
    match (args.all, args.words.as_slice()) {
        (true, [text]) => all(session, text, !args.no_enter).await,
        (true, _) => wrong("with --all only the text is given"),
        (false, [lane, text]) => {
            let lane = session.lane(lane);
            let daemon = session.daemon().await?;
            let reply = one(&daemon, lane, args.terminal, text, !args.no_enter).await?;
            session.output.reply(&reply, |_, _| Ok(()))?;
            Ok(0)
        }
        (false, _) => wrong("a lane and a text are needed: lanes send LANE TEXT"),
    }
}

/// Says that a task is alive although it writes nothing.
pub async fn beat(session: &Session, args: BeatArgs) -> Result<u8, Failure> {
    let task = match (&args.lane, args.task) {
        (None, None) => session.at.own_task.clone(),
        (Some(_), task) | (None, task) => task,
    };
    let lane = match (&args.lane, &task) {
        (Some(lane), _) => Some(session.lane(lane)),
        (None, None) => Some(session.lane(&OsString::from("."))),
        (None, Some(_)) => None,
    };
    let reply = session.daemon().await?.call::<TaskBeat>(Beat { lane, task }).await?;
    session.output.reply(&reply, |_, _| Ok(()))?;
    Ok(0)
}

async fn one(
    daemon: &Daemon,
    lane: LaneRef,
    task: Option<String>,
    text: &OsString,
    enter: bool,
) -> Result<InputReply, Failure> {
    let wanted = text.as_bytes().len() as u64;
    let data = Raw(text.as_bytes().to_vec());
    let reply = daemon.call::<TaskInput>(Input { lane: Some(lane), task, data, enter }).await?;
    if reply.accepted < wanted {
        return Err(Failure::new(
            Code::Backpressure,
            format!("the program took {} of {wanted} bytes, it does not read", reply.accepted),
        ));
    }
    Ok(reply)
}

async fn all(session: &Session, text: &OsString, enter: bool) -> Result<u8, Failure> {
    let daemon = session.daemon().await?;
    let lanes =
        daemon.call::<LaneList>(List { cwd: session.cwd(), all: false, everywhere: false }).await?.lanes;
    let with_terminal = |lane: &&crate::api::LaneView| {
        lane.tasks.iter().any(|task| task.kind == TaskKind::Terminal && task.state == "live")
    };
    let mut results = Vec::new();
    for lane in lanes.iter().filter(with_terminal) {
        let named = LaneRef { lane: Raw::from(lane.id.to_string()), cwd: session.cwd() };
        let error = one(&daemon, named, None, text, enter).await.err().map(|mut failure| {
            failure.hint = failure.hint.or_else(|| main::default_hint(failure.code).map(str::to_owned));
            failure
        });
        let name = Raw::from(lane.name.as_str());
        results.push(LaneResult {
            lane: name,
            id: Some(lane.id),
            ok: error.is_none(),
            error,
            notes: Vec::new(),
        });
    }
    let reply = ResultsReply { results };
    session.output.reply(&reply, |output, reply| {
        if reply.results.is_empty() {
            output.note("no lane has a live terminal");
        }
        output.lines(reply.results.iter().flat_map(|result| render::result(result, &clean("sent"))))
    })?;
    Ok(cleanup::worst(&reply.results))
}
