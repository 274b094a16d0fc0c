//! Watches the rate of output: said, never acted upon. Pure: it is given the time.

use std::time::{Duration, Instant};

/// The rate that is the measure: 4 MiB in a second, the ceiling of the specification (NFR-007-004).
const FULL: u64 = 4 << 20;
/// Above three quarters of it a terminal is throttled …
const ON: u64 = FULL / 4 * 3;
/// … until it is below this much: one that is in between does not go back and forth.
const OFF: u64 = FULL / 100 * 65;
const SECOND: Duration = Duration::from_secs(1);

/// The rate of one terminal.
#[derive(Debug)]
pub(super) struct Rate {
    begun: Instant,
    bytes: u64,
    on: bool,
}

impl Rate {
    pub(super) const fn new(now: Instant) -> Self {
        Self { begun: now, bytes: 0, on: false }
    }

    /// True while it is throttled.
    pub(super) const fn is_on(&self) -> bool {
        self.on
    }

    /// Takes so many bytes of output.
    pub(super) fn output(&mut self, bytes: usize, now: Instant) {
        self.on_time(now);
        self.bytes += bytes as u64;
        self.on |= self.bytes > ON;
    }

    /// When to look again; only while it is throttled.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.on.then_some(self.begun + SECOND)
    }

    /// Looks at the second that is over.
    pub(super) fn on_time(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.begun);
        if passed < SECOND {
            return;
        }
        // Of one that was looked at late, because nothing came, more than one second is over.
        let rate = self.bytes / passed.as_secs().max(1);
        self.on &= rate >= OFF;
        self.begun = now;
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_above_and_off_below_and_stays_in_between() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut rate = Rate::new(begun);
        rate.output(3 << 20, at(500));
        assert!(!rate.is_on() && rate.wake_at().is_none());
        rate.output(2, at(600));
        assert!(rate.is_on());
        rate.on_time(at(1_000));
        assert!(rate.is_on(), "that second was above");
        rate.output((3 << 20) - 1, at(1_500));
        rate.on_time(at(2_000));
        assert!(rate.is_on(), "in between");
        rate.output(2 << 20, at(2_500));
        assert_eq!(rate.wake_at(), Some(at(3_000)));
        rate.on_time(at(3_000));
        assert!(!rate.is_on() && rate.wake_at().is_none());
        rate.output(3 << 20, at(60_000));
        assert!(!rate.is_on(), "long silence counts as silence");
    }
}
