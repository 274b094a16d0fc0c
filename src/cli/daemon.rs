//! `lanes daemon`, `lanes reconcile`, `lanes api`: the runtime itself.

use super::args::{ApiCommand, DaemonCommand, ReconcileArgs};
use super::connect::{self, Daemon};
use super::environment::Environment;
use super::output::Output;
use super::session::Session;
use super::{logging, render};
use crate::api::{DaemonStatus, Nothing, Reconcile, ReconcileParams};
use crate::failure::{Code, Failure};

/// Runs the daemon in this process.
pub fn run(at: &Environment) -> Result<u8, Failure> {
    if at.in_lane {
        return Err(connect::down_in_lane());
    }
    let readiness = connect::detach(at)?;
    logging::to_stderr(Some(at.log.as_deref().unwrap_or("info")))?;
    connect::run(at, readiness).map(|()| 0)
}

/// The commands that look after it from outside.
pub async fn daemon(session: &Session, command: DaemonCommand) -> Result<u8, Failure> {
    match command {
        DaemonCommand::Run => run(&session.at),
        DaemonCommand::Start => {
            let _answers = Daemon::open(&session.at).await?;
            status(session).await
        }
        DaemonCommand::Stop => {
            let stopped = stop(session).await?;
            session.output.reply(&Nothing {}, |output, _| {
                output.line(if stopped {
                    "stopped; lanes and what runs in them go on"
                } else {
                    "not running"
                })
            })?;
            Ok(0)
        }
        DaemonCommand::Restart => {
            if session.at.in_lane {
                return Err(Failure::new(
                    Code::NotYourLane,
                    "the daemon is not restarted from inside a lane",
                )
                .hint("run it in a terminal outside of any lane"));
            }
            let _was_running = stop(session).await?;
            let _answers = Daemon::open(&session.at).await?;
            status(session).await
        }
        DaemonCommand::Status => status(session).await,
    }
}

/// Asks it to stop and waits until it has; false when none was there.
async fn stop(session: &Session) -> Result<bool, Failure> {
    match Daemon::running(&session.at).await? {
        Some(daemon) => connect::stop(&session.at, daemon).await.map(|()| true),
        None => Ok(false),
    }
}

async fn status(session: &Session) -> Result<u8, Failure> {
    let Some(daemon) = Daemon::running(&session.at).await? else {
        return Err(Failure::new(Code::DaemonDown, "the daemon is not running"));
    };
    let reply = daemon.call::<DaemonStatus>(Nothing {}).await?;
    session.output.reply(&reply, |output, reply| output.lines(render::daemon(&reply.daemon)))?;
    Ok(0)
}

/// Compares and repairs.
pub async fn reconcile(session: &Session, args: ReconcileArgs) -> Result<u8, Failure> {
    let reply = session.call::<Reconcile>(ReconcileParams { dry_run: args.dry_run }).await?;
    session.output.reply(&reply, |output, reply| {
        if reply.repairs.is_empty() {
            output.note("everything is as it is written down");
        }
        output.lines(reply.repairs.iter().map(|repair| render::repair(repair, args.dry_run)))?;
        if reply.suggestions > 0 {
            output.note(&format!("{} more look left over: lanes orphans ls", reply.suggestions));
        }
        Ok(())
    })?;
    let failed = reply.repairs.iter().any(|repair| repair.error.is_some());
    Ok(u8::from(failed))
}

/// Prints the schema of the protocol.
pub fn schema(output: Output) -> Result<u8, Failure> {
    let document = serde_json::to_string_pretty(&connect::schema_document())
        .map_err(|_| Failure::new(Code::HandlerError, "the schema cannot be written as JSON"))?;
    output.line(&document).map(|()| 0)
}

/// `lanes api …`
pub async fn api(session: &Session, command: ApiCommand) -> Result<u8, Failure> {
    match command {
        ApiCommand::Schema => schema(session.output),
        ApiCommand::Stdio => {
            let _answers = Daemon::open(&session.at).await?;
            connect::stdio(&session.at).await.map(|()| 0)
        }
    }
}
