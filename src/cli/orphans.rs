//! `lanes orphans ls`, `lanes orphans confirm` and `lanes orphans decline`.

use super::args::OrphansCommand;
use super::cleanup::worst_of;
use super::session::Session;
use super::{main, render};
use crate::api::{
    OrphanConfirm, OrphanDecline, OrphanList, OrphanListParams, OrphanRefs, OrphanResultsReply,
};
use crate::clock;
use crate::failure::Failure;

/// What looks left over, and what becomes of it.
pub async fn orphans(session: &Session, command: OrphansCommand) -> Result<u8, Failure> {
    match command {
        OrphansCommand::Ls { all } => ls(session, all).await,
        OrphansCommand::Confirm { orphans } => {
            let reply = session.call::<OrphanConfirm>(OrphanRefs { orphans }).await?;
            results(session, reply, "done")
        }
        OrphansCommand::Decline { orphans } => {
            let reply = session.call::<OrphanDecline>(OrphanRefs { orphans }).await?;
            results(session, reply, "declined")
        }
    }
}

async fn ls(session: &Session, all: bool) -> Result<u8, Failure> {
    let reply = session.call::<OrphanList>(OrphanListParams { all }).await?;
    session.output.reply(&reply, |output, reply| {
        if reply.orphans.is_empty() {
            output.note("nothing looks left over");
            return Ok(());
        }
        output.lines(reply.orphans.iter().flat_map(|orphan| render::orphan(orphan, clock::now())))?;
        output.note("lanes orphans confirm ID has it done; lanes orphans decline ID puts it off");
        Ok(())
    })?;
    Ok(0)
}

fn results(session: &Session, mut reply: OrphanResultsReply, done: &str) -> Result<u8, Failure> {
    for failure in reply.results.iter_mut().filter_map(|result| result.error.as_mut()) {
        failure.hint = failure.hint.take().or_else(|| main::default_hint(failure.code).map(str::to_owned));
    }
    session.output.reply(&reply, |output, reply| {
        output.lines(reply.results.iter().flat_map(|result| render::orphan_result(result, done)))
    })?;
    Ok(worst_of(reply.results.iter().map(|result| (result.ok, result.error.as_ref()))))
}
