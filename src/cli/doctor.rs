//! `lanes doctor`: how the machine, the home and the repository are, whether or not a daemon runs.

use serde_json::json;

use super::args::DoctorArgs;
use super::render;
use super::session::Session;
use crate::doctor::{self, Status, Subject};
use crate::failure::{Code, Failure};
use crate::task;

/// Looks, mends when asked to, and prints.
pub async fn doctor(session: &Session, args: DoctorArgs) -> Result<u8, Failure> {
    let at = &session.at;
    let in_lane = at.in_lane || task::peer_lane(std::process::id(), &at.home).is_some();
    if args.fix && in_lane {
        return Err(Failure::new(Code::NotYourLane, "nothing is mended from inside a lane")
            .hint("run it in a terminal outside of any lane; without --fix it looks from here, too"));
    }
    let subject = Subject::new(at.home.clone(), at.cwd.clone(), at.user_file.clone());
    let mut checks = doctor::examine(&subject).await;
    if args.fix {
        checks = doctor::mend(&subject, checks).await;
    }
    let failed = checks.iter().any(|check| check.status == Status::Fail);
    session.output.reply(&json!({ "checks": checks }), |output, _object| {
        output.lines(render::checks(&checks))?;
        let left = checks.iter().filter(|check| check.fixable && check.fixed.is_none()).count();
        if left > 0 {
            output.note(&format!("lanes doctor --fix mends {left} of these"));
        }
        Ok(())
    })?;
    Ok(u8::from(failed))
}
