//! `lanes create`.

use super::args::CreateArgs;
use super::session::Session;
use super::{attach, sanitise};
use crate::api::{Attach, Create, CreateReply, LaneCreate, LaneRef, TaskAttach};
use crate::failure::{Code, Failure};
use crate::raw::Raw;

/// Makes a lane; its path is all that goes to standard output.
pub async fn create(session: &Session, args: CreateArgs) -> Result<u8, Failure> {
    if args.attach && session.output.json {
        return Err(Failure::new(Code::ValidationError, "--attach and --json do not go together"));
    }
    if args.attach {
        attach::check_terminal(session)?;
    }
    let daemon = session.daemon().await?;
    let reply: CreateReply = daemon
        .call::<LaneCreate>(Create {
            cwd: session.cwd(),
            name: args.name,
            base: args.base,
            branch: args.branch,
            ensure: args.ensure,
            grant_all: args.grant.is_some(),
            command: (!args.command.is_empty()).then(|| session.command(&args.command)),
        })
        .await?;
    session.output.notes(&reply.notes);
    if session.output.json {
        session.output.object(&reply)?;
        return Ok(0);
    }
    let what = if reply.existed { "lane is there" } else { "lane" };
    session.output.note(&format!("{what}: {} on {}", reply.lane.name, reply.lane.branch));
    if let Some(task) = &reply.task {
        session.output.note(&format!("terminal: {}", task.id));
    }
    if !args.attach {
        return path(session, &reply.lane.worktree).map(|()| 0);
    }
    let lane = LaneRef { lane: Raw::from(reply.lane.id.to_string()), cwd: session.cwd() };
    let terminal = reply.task.map(|task| task.id.to_string());
    let command = session.command(&[]);
    let task = daemon.call::<TaskAttach>(Attach { lane, terminal, new: false, command }).await?;
    attach::connect(session, &task, false).await
}

/// The path: as it is to a program, made harmless to a terminal.
pub fn path(session: &Session, path: &Raw) -> Result<(), Failure> {
    if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        return session.output.line(&sanitise::clean_bytes(path.as_bytes()));
    }
    session.output.bytes(&[path.as_bytes(), b"\n"].concat())
}
