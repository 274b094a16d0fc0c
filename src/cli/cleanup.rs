//! `lanes cleanup` and `lanes restore`.

use super::args::{CleanupArgs, RestoreArgs, ReviveArgs};
use super::environment::{Environment, raws};
use super::session::Session;
use super::{create, main, render};
use crate::api::{Cleanup, LaneCleanup, LaneRestore, LaneResult, LaneRevive, Restore, ReviveParams};
use crate::failure::Failure;
use crate::raw::Raw;

/// Ends lanes; the exit code is that of the worst.
pub async fn cleanup(session: &Session, args: CleanupArgs) -> Result<u8, Failure> {
    let params = Cleanup {
        cwd: session.cwd(),
        lanes: raws(&args.lanes),
        all: args.all,
        merged: args.merged,
        force: args.force,
        dry_run: args.dry_run,
    };
    let mut reply = session.call::<LaneCleanup>(params).await?;
    for failure in reply.results.iter_mut().filter_map(|result| result.error.as_mut()) {
        failure.hint = failure.hint.take().or_else(|| main::default_hint(failure.code).map(str::to_owned));
    }
    session.output.reply(&reply, |output, reply| {
        let done = if args.dry_run { "would be closed" } else { "closed" };
        if reply.results.is_empty() {
            output.note("no lane to close");
        }
        output.lines(reply.results.iter().flat_map(|result| render::result(result, done)))
    })?;
    Ok(worst(&reply.results))
}

/// Starts again what a reboot ended; the exit code is that of the worst.
pub async fn revive(session: &Session, args: ReviveArgs) -> Result<u8, Failure> {
    let params = ReviveParams {
        cwd: session.cwd(),
        lanes: raws(&args.lanes),
        all: args.all,
        dry_run: args.dry_run,
        env: Some(Environment::variables()),
    };
    let mut reply = session.call::<LaneRevive>(params).await?;
    for failure in reply.results.iter_mut().filter_map(|result| result.error.as_mut()) {
        failure.hint = failure.hint.take().or_else(|| main::default_hint(failure.code).map(str::to_owned));
    }
    session.output.reply(&reply, |output, reply| {
        let done = if args.dry_run { "would be revived" } else { "revived" };
        if reply.results.is_empty() {
            output.note("no lane to revive");
        }
        output.lines(reply.results.iter().flat_map(|result| render::result(result, done)))
    })?;
    Ok(worst(&reply.results))
}

/// The exit code of several results: 0 when all are done; a usage mistake weighs less than a refusal or
/// a name that is not there, and those less than a failure or a timeout.
pub fn worst(results: &[LaneResult]) -> u8 {
    worst_of(results.iter().map(|result| (result.ok, result.error.as_ref())))
}

/// The same for results of any kind: whether it was done, and why not.
pub fn worst_of<'a>(results: impl Iterator<Item = (bool, Option<&'a Failure>)>) -> u8 {
    let weight = |code: &u8| match code {
        0 => 0,
        2 => 1,
        4 => 2,
        3 => 3,
        124 => 4,
        _failed => 5,
    };
    results
        .map(|(ok, error)| error.map_or(u8::from(!ok), |failure| main::exit_code(failure.code)))
        .max_by_key(weight)
        .unwrap_or(0)
}

/// Brings a lane back and prints its path.
pub async fn restore(session: &Session, args: RestoreArgs) -> Result<u8, Failure> {
    let params = Restore { lane: Raw::from(args.lane), cwd: session.cwd(), name: args.name };
    let reply = session.call::<LaneRestore>(params).await?;
    session.output.notes(&reply.notes);
    session.output.reply(&reply, |output, reply| {
        output.note(&format!("lane: {} on {}", reply.lane.name, reply.lane.branch));
        create::path(session, &reply.lane.worktree)
    })?;
    Ok(0)
}
