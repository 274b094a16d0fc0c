//! `lanes logs`.

use std::io::IsTerminal;

use super::args::LogsArgs;
use super::connect::{Piece, Running, Stream};
use super::sanitise::OutputFilter;
use super::session::Session;
use crate::api::{Chunk, LaneView, TaskGet, TaskRef, TaskReply};
use crate::failure::{Code, Failure};
use crate::ids::TaskKind;
use crate::raw::Raw;

/// Prints recorded output.
pub async fn logs(session: &Session, args: LogsArgs) -> Result<u8, Failure> {
    let reply = find(session, &args).await?;
    let mut running = if args.follow {
        Running::open(&reply, args.since).await?
    } else {
        Running::recorded(&reply, args.since)
    };
    let mut filter = (std::io::stdout().is_terminal() && !args.raw).then(OutputFilter::default);
    loop {
        let piece = tokio::select! {
            piece = running.next() => piece?,
            _interrupted = tokio::signal::ctrl_c() => return Ok(130),
        };
        match piece {
            Piece::Output { offset, stream, at, bytes } if session.output.json => {
                let chunk = Chunk { offset, stream: name(stream).into(), at, data: Raw(bytes) };
                session.output.line(&serde_json::json!(chunk).to_string())?;
            }
            Piece::Output { bytes, .. } => match &mut filter {
                Some(filter) => session.output.bytes(&filter.feed(&bytes))?,
                None => session.output.bytes(&bytes)?,
            },
            Piece::Gap { from, to } if session.output.json => {
                session.output.line(&serde_json::json!({ "gap": [from, to] }).to_string())?;
            }
            Piece::Gap { from, to } => {
                session.output.note(&format!("bytes {from} to {to} are no longer recorded"));
            }
            Piece::Ended(_) => return Ok(0),
        }
    }
}

async fn find(session: &Session, args: &LogsArgs) -> Result<TaskReply, Failure> {
    let daemon = session.daemon().await?;
    let lane_ref = session.lane(&args.lane);
    let named = match (&args.terminal, &args.run) {
        (Some(id), _) => Some((id, TaskKind::Terminal)),
        (None, Some(id)) => Some((id, TaskKind::Run)),
        (None, None) => None,
    };
    let task = match named {
        Some((id, _)) => id.clone(),
        None => {
            let lane = daemon.call::<crate::api::LaneGet>(lane_ref.clone()).await?.lane;
            latest(&lane)?
        }
    };
    let reply = daemon.call::<TaskGet>(TaskRef { task, lane: Some(lane_ref) }).await?;
    match named {
        Some((_, kind)) if kind != reply.task.kind => Err(Failure::new(
            Code::TaskNotFound,
            format!("{} is not a {}", reply.task.id, if kind == TaskKind::Run { "run" } else { "terminal" }),
        )),
        Some(_) | None => Ok(reply),
    }
}

/// The task that was started last.
fn latest(lane: &LaneView) -> Result<String, Failure> {
    let last = lane.tasks.iter().max_by_key(|task| (task.started_at, task.id.timestamp_ms()));
    last.map(|task| task.id.to_string()).ok_or_else(|| {
        Failure::new(Code::TaskNotFound, format!("nothing has run in {} yet", lane.name))
            .hint("run something with `lanes exec LANE -- CMD` or `lanes attach LANE`")
    })
}

/// Its name in JSON.
const fn name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
        Stream::Terminal => "terminal",
    }
}
