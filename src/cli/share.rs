//! `lanes share`, `unshare`, `join`, `leave`, `block`, `unblock`, `detach`: facts about a lane.

use super::args::{AgentArgs, BlockArgs, LaneArg};
use super::sanitise::clean;
use super::session::Session;
use crate::api::{
    AgentRef, Block, LaneBlock, LaneJoin, LaneLeave, LaneReply, LaneShare, LaneUnblock, LaneUnshare,
    TaskDetach,
};
use crate::failure::Failure;

fn done(session: &Session, reply: &LaneReply) -> Result<u8, Failure> {
    session.output.notes(&reply.notes);
    session.output.reply(reply, |output, reply| {
        output.line(&format!("{}: {}", clean(&reply.lane.name), clean(&reply.lane.state)))
    })?;
    Ok(0)
}

/// Lets several agents in.
pub async fn share(session: &Session, args: LaneArg) -> Result<u8, Failure> {
    done(session, &session.call::<LaneShare>(session.lane(&args.lane)).await?)
}

/// Ends sharing.
pub async fn unshare(session: &Session, args: LaneArg) -> Result<u8, Failure> {
    done(session, &session.call::<LaneUnshare>(session.lane(&args.lane)).await?)
}

/// Attaches an agent.
pub async fn join(session: &Session, args: AgentArgs) -> Result<u8, Failure> {
    let params = AgentRef { lane: session.lane(&args.lane), agent: args.agent };
    done(session, &session.call::<LaneJoin>(params).await?)
}

/// Detaches an agent.
pub async fn leave(session: &Session, args: AgentArgs) -> Result<u8, Failure> {
    let params = AgentRef { lane: session.lane(&args.lane), agent: args.agent };
    done(session, &session.call::<LaneLeave>(params).await?)
}

/// Says that a lane waits for somebody.
pub async fn block(session: &Session, args: BlockArgs) -> Result<u8, Failure> {
    let params = Block { lane: session.lane(&args.lane), reason: args.reason };
    done(session, &session.call::<LaneBlock>(params).await?)
}

/// Says that it waits no more.
pub async fn unblock(session: &Session, args: LaneArg) -> Result<u8, Failure> {
    done(session, &session.call::<LaneUnblock>(session.lane(&args.lane)).await?)
}

/// Disconnects those who are attached.
pub async fn detach(session: &Session, args: LaneArg) -> Result<u8, Failure> {
    let reply = session.call::<TaskDetach>(session.lane(&args.lane)).await?;
    session.output.reply(&reply, |_output, _nothing| Ok(()))?;
    Ok(0)
}
