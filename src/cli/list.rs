//! `lanes ls`, `lanes show`, `lanes path`.

use super::args::{LaneArg, LsArgs};
use super::session::Session;
use super::{create, render};
use crate::api::{LaneGet, LaneList, List};
use crate::clock;
use crate::failure::Failure;

/// Lists lanes.
pub async fn ls(session: &Session, args: LsArgs) -> Result<u8, Failure> {
    let params = List { cwd: session.cwd(), all: args.all, everywhere: args.everywhere };
    let reply = session.call::<LaneList>(params).await?;
    session.output.reply(&reply, |output, reply| {
        output.notes(&reply.notes);
        let table = render::lanes(&reply.lanes, args.everywhere, clock::now());
        if table.is_empty() {
            output.note("no open lanes; make one with `lanes create NAME`");
            return Ok(());
        }
        output.table(&table)
    })?;
    Ok(0)
}

/// Shows a lane.
pub async fn show(session: &Session, args: LaneArg) -> Result<u8, Failure> {
    let reply = session.call::<LaneGet>(session.lane(&args.lane)).await?;
    session.output.notes(&reply.notes);
    session.output.reply(&reply, |output, reply| output.lines(render::lane(&reply.lane, clock::now())))?;
    Ok(0)
}

/// Prints the path of a lane.
pub async fn path(session: &Session, args: LaneArg) -> Result<u8, Failure> {
    let lane = session.get(&args.lane).await?;
    if session.output.json {
        session.output.object(&serde_json::json!({ "path": lane.worktree }))?;
    } else {
        create::path(session, &lane.worktree)?;
    }
    Ok(0)
}
