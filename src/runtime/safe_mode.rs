//! Safe mode: a runtime that crashed again and again takes up what lives and starts nothing new.

use serde_json::json;

use super::owner::Owner;
use crate::bus::Context;
use crate::failure::{Code, Failure};
use crate::store::{CRASH_WINDOW, Holder};

/// Why a runtime starts in safe mode; none when it does not. A limit of 0 is never reached.
pub(super) fn reason(holder: &Holder, limit: u64) -> Option<String> {
    let crashes = holder.crashes.len() as u64;
    (limit > 0 && crashes >= limit)
        .then(|| format!("the runtime crashed {crashes} times within {} s", CRASH_WINDOW.as_secs()))
}

impl Owner {
    /// Refuses what would start something new while in safe mode.
    ///
    /// # Errors
    /// `SAFE_MODE`.
    pub(super) fn may_start(&self) -> Result<(), Failure> {
        let Some(reason) = &self.safe_mode else { return Ok(()) };
        Err(Failure::new(Code::SafeMode, format!("nothing new is started in safe mode: {reason}")))
    }

    /// Says that safe mode begins, or that it ends with this runtime.
    pub(super) async fn tell_safe_mode(&self, on: bool, context: &Context) -> Result<(), Failure> {
        let Some(reason) = &self.safe_mode else { return Ok(()) };
        let reason = if on { reason } else { "the runtime was stopped" };
        let payload = json!({ "safe_mode": on, "reason": reason });
        self.mention(context.draft("daemon.safe_mode.changed", payload)).await
    }
}
