//! Work that may block, run on a thread that may; and what is said when the runtime ends meanwhile.

use crate::failure::{Code, Failure};

/// Runs what looks at disks or processes beside the requests. What has begun runs on when nobody waits for it any
/// more.
///
/// # Errors
/// `DAEMON_DOWN` when the runtime ends before the work has begun, or the work panics.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|_aborted| stopping())
}

/// What a request hears that the end of the runtime cut off.
pub(super) fn stopping() -> Failure {
    Failure::new(Code::DaemonDown, "the runtime is stopping").hint("try again")
}
