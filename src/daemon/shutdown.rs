//! The order in which the socket stops, and how long each step may take.
//!
//! 1. Refuse: the socket is gone, requests are answered with `DAEMON_DOWN`.
//! 2. Cancel: subscriptions end, requests that change nothing are answered with `DAEMON_DOWN`.
//! 3. Wait [`DRAIN`]: requests that change something come to their end, and their replies are written.
//! 4. Cut off [`CUT`]: what still runs is dropped and answered with `DAEMON_DOWN`.
//! 5. Abort: connections that are still open are closed, and counted in what `serve` returns.

use std::time::Duration;

/// How long requests that change something may go on: the longest step of ours without an owner of its own
/// (one git call) has this long on a busy machine.
pub const DRAIN: Duration = Duration::from_secs(8);
/// How long the answers to what was dropped may take to be written.
pub const CUT: Duration = Duration::from_secs(2);
/// All of it: `serve` returns so long after it was told to stop, at the latest.
pub const TOTAL: Duration = Duration::from_secs(10);

const _: () = assert!(DRAIN.as_millis() + CUT.as_millis() == TOTAL.as_millis());
