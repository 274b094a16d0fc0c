//! The kill ladder: ask, wait for the grace, then SIGKILL until nobody is left. Pure: it is given the time.

use std::time::{Duration, Instant};

/// Between two rounds of SIGKILL at first; a round is also due whenever a child ends.
const ROUND: Duration = Duration::from_millis(20);
/// Rounds get rarer up to this: what does not die by then sleeps in the kernel or is not ours to end.
const SLOWEST_ROUND: Duration = Duration::from_secs(5);
/// After so much killing the end of the command is told although somebody is left.
const GIVE_UP_TELLING: Duration = Duration::from_secs(5);

/// Where the ending of a tree is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    kill_at: Instant,
    killing_since: Option<Instant>,
    next_round: Instant,
    pause: Duration,
}

impl Ending {
    /// Begins: everybody has just been asked.
    pub(super) fn begin(now: Instant, grace: Duration) -> Self {
        let kill_at = now.checked_add(grace).unwrap_or(now + Duration::from_secs(86_400 * 365));
        Self { kill_at, killing_since: None, next_round: kill_at, pause: ROUND }
    }

    /// Somebody asks again: the shorter grace counts.
    pub(super) fn hasten(&mut self, now: Instant, grace: Duration) {
        let earlier = now.checked_add(grace).is_some_and(|at| at < self.kill_at);
        if earlier && self.killing_since.is_none() {
            self.kill_at = now + grace;
            self.next_round = self.kill_at;
        }
    }

    /// True when it is time for (another) SIGKILL for everybody.
    pub(super) fn round_is_due(&mut self, now: Instant, somebody_ended: bool) -> bool {
        let early = somebody_ended && self.killing_since.is_some();
        if now < self.next_round && !early {
            return false;
        }
        // Rounds get rarer only while nothing happens.
        let nothing_happens = self.killing_since.is_some() && !somebody_ended;
        self.killing_since.get_or_insert(now);
        self.pause = if nothing_happens { (self.pause * 2).min(SLOWEST_ROUND) } else { ROUND };
        self.next_round = now + self.pause;
        true
    }

    /// When to look again.
    pub(super) const fn wake_at(&self) -> Instant {
        self.next_round
    }

    /// True when waiting for the last of them should not keep the end from being told.
    pub(super) fn gives_up_telling(&self, now: Instant) -> bool {
        self.killing_since.is_some_and(|since| now.duration_since(since) >= GIVE_UP_TELLING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_the_grace_kills_in_rounds_and_gives_up_telling() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ending = Ending::begin(start, Duration::from_millis(1_000));
        assert!(!ending.round_is_due(at(500), true), "the grace is theirs, also when one ends");
        assert_eq!(ending.wake_at(), at(1_000));
        ending.hasten(at(500), Duration::from_millis(900));
        assert_eq!(ending.wake_at(), at(1_000), "a longer grace changes nothing");
        ending.hasten(at(500), Duration::from_millis(100));
        assert!(ending.round_is_due(at(600), false));
        assert!(!ending.round_is_due(at(610), false));
        assert!(ending.round_is_due(at(611), true), "at once when somebody ended");
        assert!(ending.round_is_due(at(631), false));
        assert_eq!(ending.wake_at(), at(671), "and rarer while nothing happens");
        assert!(!ending.gives_up_telling(at(5_000)) && ending.gives_up_telling(at(5_600)));
    }
}
