//! `lanes trash ls` and `lanes trash empty`.

use super::args::EmptyArgs;
use super::environment::raws;
use super::render;
use super::sanitise::clean;
use super::session::Session;
use crate::api::{TrashEmpty, TrashEmptyParams, TrashList, TrashReply};
use crate::clock;
use crate::failure::Failure;
use crate::raw::Raw;

/// Lists what can be restored.
pub async fn ls(session: &Session) -> Result<u8, Failure> {
    let reply = session.call::<TrashList>(session.here()).await?;
    session.output.reply(&reply, |output, reply| {
        if reply.trash.is_empty() && reply.leftovers.is_empty() {
            output.note("the trash is empty");
            return Ok(());
        }
        if !reply.trash.is_empty() {
            output.table(&render::trash(&reply.trash, clock::now()))?;
        }
        output.lines(render::trash_more(reply))
    })?;
    Ok(0)
}

/// Frees it for good, after asking. What was shown is what is freed: a lane that is closed while somebody
/// thinks about the answer is not among them.
pub async fn empty(session: &Session, args: EmptyArgs) -> Result<u8, Failure> {
    let daemon = session.daemon().await?;
    let mut params = TrashEmptyParams {
        cwd: session.cwd(),
        lanes: raws(&args.lanes),
        older_than_ms: args.older_than.map(|least| u64::try_from(least.as_millis()).unwrap_or(u64::MAX)),
        dry_run: args.dry_run,
    };
    if !args.yes && !args.dry_run {
        let asked = TrashEmptyParams { dry_run: true, ..params.clone() };
        let doomed = daemon.call::<TrashEmpty>(asked).await?;
        if doomed.trash.is_empty() && doomed.leftovers.is_empty() {
            session.output.note("nothing to free");
            return Ok(0);
        }
        for line in render::trash(&doomed.trash, clock::now()).lines(session.output.width) {
            session.output.note(&line);
        }
        session.output.notes(&render::trash_more(&doomed));
        if !session.confirm("This cannot be undone. Free these for good?", "--yes")? {
            session.output.note("nothing was freed");
            return Ok(1);
        }
        params.lanes = ids(&doomed);
        if params.lanes.is_empty() {
            // Only what earlier calls could not free: that is tried again in any case.
            params.older_than_ms = Some(u64::MAX);
        }
    }
    let reply = daemon.call::<TrashEmpty>(params).await?;
    let done = if args.dry_run { "would free" } else { "freed" };
    session.output.notes(&reply.notes);
    session.output.reply(&reply, |output, reply| {
        let entries = reply.trash.iter().map(|entry| {
            format!("{done} {} ({}), {}", clean(&entry.name), entry.id, render::bytes(entry.bytes))
        });
        let leftovers = reply
            .leftovers
            .iter()
            .map(|left| format!("{done} {}, {}", clean(&left.path.to_string()), render::bytes(left.bytes)));
        output.lines(entries.chain(leftovers))
    })?;
    Ok(u8::from(!reply.notes.is_empty()))
}

fn ids(reply: &TrashReply) -> Vec<Raw> {
    let entries = reply.trash.iter().map(|entry| entry.id);
    let leftovers = reply.leftovers.iter().filter_map(|left| left.id);
    entries.chain(leftovers).map(|id| Raw::from(id.to_string())).collect()
}
