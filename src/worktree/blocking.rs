//! Work that blocks, on a thread of its own.

use super::error::WorktreeError;

/// Runs it there and waits. Whoever stops waiting does not stop the work.
///
/// # Errors
/// What the work says; `Stopped` with the attempt when the runtime ended first.
pub(super) async fn blocking<T: Send + 'static>(
    attempt: &'static str,
    work: impl FnOnce() -> Result<T, WorktreeError> + Send + 'static,
) -> Result<T, WorktreeError> {
    tokio::task::spawn_blocking(work).await.map_err(|_stopped| WorktreeError::Stopped { attempt })?
}
