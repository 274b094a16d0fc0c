//! `lanes wait`.

use std::time::{Duration, Instant};

use clap::ValueEnum as _;

use super::args::{Until, WaitArgs};
use super::exec::exit_of;
use super::render;
use super::sanitise::clean;
use super::session::Session;
use crate::api::{LaneRef, LaneWait, Wait, WaitReply};
use crate::failure::{Code, Failure};

/// How much longer than asked an answer may take.
const MARGIN: Duration = Duration::from_secs(2);

/// Waits; with `exit`, passes the exit code of the task that ended last.
pub async fn wait(session: &Session, args: WaitArgs) -> Result<u8, Failure> {
    let until = args.until.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let lane = session.lane(&args.lane);
    let waiting = ask(session, &lane, &until, args.timeout);
    let reply = match args.timeout {
        // The runtime tells what the lane is instead; this is for the time without one.
        Some(limit) => tokio::time::timeout(limit + MARGIN, waiting).await.unwrap_or_else(|_elapsed| {
            Err(Failure::new(Code::Timeout, "the daemon has gone and did not come back in time")
                .hint("start it: lanes daemon start"))
        })?,
        None => waiting.await?,
    };
    session.output.reply(&reply, |output, reply| {
        let exit = reply.task.as_ref().and_then(|task| task.exit.as_ref()).map(render::ended);
        let exit = exit.map(|how| format!(", {how}")).unwrap_or_default();
        output.line(&format!("{}: {}{exit}", clean(&reply.lane.name), clean(&reply.lane.state)))
    })?;
    let exit = reply.task.as_ref().and_then(|task| task.exit.as_ref()).filter(|_| args.until == Until::Exit);
    Ok(exit.map_or(0, exit_of))
}

/// Asks, and again when the runtime went away and is back: what is waited for went on meanwhile.
async fn ask(
    session: &Session,
    lane: &LaneRef,
    until: &str,
    timeout: Option<Duration>,
) -> Result<WaitReply, Failure> {
    let begun = Instant::now();
    let mut daemon = session.daemon().await?;
    loop {
        let left = timeout.map(|limit| limit.saturating_sub(begun.elapsed()));
        let timeout_ms = left.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        let params = Wait { lane: lane.clone(), until: until.to_owned(), timeout_ms };
        match daemon.call::<LaneWait>(params).await {
            Err(failure) if failure.code == Code::DaemonDown && failure.retryable => {
                daemon = session.back().await?;
            }
            answer => return answer,
        }
    }
}
