//! `lanes gc`.

use super::args::GcArgs;
use super::render;
use super::sanitise::clean;
use super::session::Session;
use crate::api::{FreedView, Gc, GcParams, GcReply};
use crate::failure::Failure;

/// Frees what nobody needs any more, and says what it was.
pub async fn gc(session: &Session, args: GcArgs) -> Result<u8, Failure> {
    let params = GcParams { cwd: session.cwd(), all: args.all, dry_run: args.dry_run };
    let reply = session.call::<Gc>(params).await?;
    let done = if args.dry_run { "would free" } else { "freed" };
    session.output.notes(&reply.notes);
    session.output.reply(&reply, |output, reply| {
        if reply.freed.is_empty() {
            output.note("nothing to free");
            return Ok(());
        }
        output.lines(lines(reply, done))
    })?;
    Ok(u8::from(!reply.notes.is_empty()))
}

fn lines(reply: &GcReply, done: &str) -> Vec<String> {
    let line = |freed: &FreedView| {
        let (kind, path) = (freed.kind.name(), clean(&freed.path.to_string()).into_owned());
        let (bytes, reason) = (render::bytes(freed.bytes), clean(&freed.reason).into_owned());
        format!("{done} {kind} {path}, {bytes}, {} inodes: {reason}", freed.inodes)
    };
    let mut lines: Vec<String> = reply.freed.iter().map(line).collect();
    if reply.freed.len() > 1 {
        lines.push(format!("{done} {}, {} inodes in all", render::bytes(reply.bytes), reply.inodes));
    }
    lines
}
