//! The watchdog: a cycle again and again until told to stop.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The first cycle comes so long after the start at the latest: what recovery has begun comes to rest first.
const FIRST: Duration = Duration::from_secs(5);

/// Runs `cycle` every so often, one at a time, until `stop` or until it says that nobody is there (false).
/// One that takes longer than `every` is followed by a pause as long as it took.
///
/// Dropping the future ends it.
pub async fn run<F>(every: Duration, stop: CancellationToken, cycle: impl Fn() -> F)
where
    F: Future<Output = bool>,
{
    let mut pause = every.min(FIRST);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let began = Instant::now();
        // A look at a file system that hangs does not keep us from stopping.
        let goes_on = tokio::select! {
            () = stop.cancelled() => return,
            goes_on = cycle() => goes_on,
        };
        if !goes_on {
            return;
        }
        pause = every.max(began.elapsed());
    }
}
