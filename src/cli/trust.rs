//! `lanes trust`.

use super::args::TrustArgs;
use super::sanitise::clean;
use super::session::Session;
use crate::api::{Trust, TrustParams};
use crate::failure::Failure;

/// Shows exactly what is approved, and approves exactly what was shown.
pub async fn trust(session: &Session, args: TrustArgs) -> Result<u8, Failure> {
    let daemon = session.daemon().await?;
    let params = |approve, revoke| TrustParams { cwd: session.cwd(), approve, revoke };
    if args.revoke {
        let reply = daemon.call::<Trust>(params(None, true)).await?;
        session.output.reply(&reply, |output, _| output.line("no longer approved"))?;
        return Ok(0);
    }
    let mut reply = daemon.call::<Trust>(params(None, false)).await?;
    let shows = !session.output.json;
    if reply.items.is_empty() {
        session.output.reply(&reply, |output, _| output.line("there is nothing to approve"))?;
        return Ok(0);
    }
    if shows {
        session.output.line("The configuration of this repository runs or opens up:")?;
        session.output.lines(reply.items.iter().map(|item| format!("    {}", clean(item))))?;
    }
    if reply.approved {
        session.output.reply(&reply, |output, _| output.line("It is approved."))?;
        return Ok(0);
    }
    if !args.yes && !session.confirm("Approve it?", "--yes")? {
        session.output.note("not approved");
        return Ok(3);
    }
    reply = daemon.call::<Trust>(params(Some(reply.fingerprint), false)).await?;
    session.output.reply(&reply, |output, _| output.line("Approved; a change will be asked again."))?;
    Ok(0)
}
