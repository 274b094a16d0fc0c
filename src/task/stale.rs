//! When a keeper that does not answer counts as stale. Pure: it is given what was seen.

use std::time::Duration;

/// Between two looks at a keeper that is suspected.
pub const EVERY: Duration = Duration::from_secs(1);
/// A look that came so much later than [`EVERY`], or so much more of which passed in suspend, tells
/// nothing about the keeper: the machine or we were stopped, and so was it.
const LATE: Duration = Duration::from_secs(5);

/// What was seen of a keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// On a clock that stands still in suspend.
    pub awake: Duration,
    /// On a clock that does not.
    pub passed: Duration,
    /// It answered.
    pub answered: bool,
    /// It lives.
    pub lives: bool,
    /// Where its log ends.
    pub log_end: u64,
    /// Processor time of the keeper and all below it, in clock ticks.
    pub ticks: u64,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Look again.
    Wait,
    /// It answers: nothing is wrong any more.
    Answers,
    /// It has ended.
    Gone,
    /// No answer and no progress for so long.
    Stale(Duration),
}

/// A keeper that left a request unanswered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspicion {
    stale_after: Duration,
    since: Duration,
    last: Look,
}

impl Suspicion {
    /// Begins with a first look.
    pub const fn new(stale_after: Duration, first: Look) -> Self {
        Self { stale_after, since: first.awake, last: first }
    }

    /// Decides after another look.
    pub fn look(&mut self, now: Look) -> Verdict {
        let before = std::mem::replace(&mut self.last, now);
        if !now.lives {
            return Verdict::Gone;
        }
        if now.answered {
            return Verdict::Answers;
        }
        let awake = now.awake.saturating_sub(before.awake);
        let suspended = now.passed.saturating_sub(before.passed).saturating_sub(awake);
        let stopped = awake > EVERY + LATE || suspended > LATE;
        if stopped || now.log_end != before.log_end || now.ticks != before.ticks {
            self.since = now.awake;
            return Verdict::Wait;
        }
        let silent = now.awake.saturating_sub(self.since);
        if silent >= self.stale_after { Verdict::Stale(silent) } else { Verdict::Wait }
    }
}
