//! `lanes trash ls` and `lanes trash empty`.

use std::ffi::OsString;

use super::environment::raws;
use super::render;
use super::sanitise::clean;
use super::session::Session;
use crate::api::{TrashEmpty, TrashEmptyParams, TrashList};
use crate::clock;
use crate::failure::Failure;

/// Lists what can be restored.
pub async fn ls(session: &Session) -> Result<u8, Failure> {
    let reply = session.call::<TrashList>(session.here()).await?;
    session.output.reply(&reply, |output, reply| {
        if reply.trash.is_empty() {
            output.note("the trash is empty");
            return Ok(());
        }
        output.table(&render::trash(&reply.trash, clock::now()))
    })?;
    Ok(0)
}

/// Frees it for good, after asking.
pub async fn empty(session: &Session, lanes: &[OsString], yes: bool) -> Result<u8, Failure> {
    let daemon = session.daemon().await?;
    if !yes {
        let found = daemon.call::<TrashList>(session.here()).await?.trash;
        let named = |entry: &crate::api::TrashView| {
            lanes.is_empty()
                || lanes.iter().any(|lane| *lane == *entry.name || *lane == *entry.id.to_string())
        };
        let doomed: Vec<_> = found.into_iter().filter(named).collect();
        if doomed.is_empty() {
            session.output.note("nothing to free");
            return Ok(0);
        }
        for line in render::trash(&doomed, clock::now()).lines(session.output.width) {
            session.output.note(&line);
        }
        if !session.confirm("This cannot be undone. Free these for good?", "--yes")? {
            session.output.note("nothing was freed");
            return Ok(1);
        }
    }
    let reply =
        daemon.call::<TrashEmpty>(TrashEmptyParams { cwd: session.cwd(), lanes: raws(lanes) }).await?;
    session.output.reply(&reply, |output, reply| {
        output.lines(reply.trash.iter().map(|entry| format!("freed {} ({})", clean(&entry.name), entry.id)))
    })?;
    Ok(0)
}
