//! Tests of `src/task/stale.rs`: when a silent keeper is stale, and when it is not.

use std::time::Duration;

use lanes::task::{Look, Suspicion, Verdict};

/// One look a second: whether it answered, where its log ended, its processor time.
#[track_caller]
fn check(looks: &[(u64, u64)], expected: &[Verdict]) {
    let seen = looks.iter().enumerate().map(|(at, (log_end, ticks))| Look {
        log_end: *log_end,
        ticks: *ticks,
        ..silent(at as u64, at as u64)
    });
    after(seen.collect(), expected);
}

#[track_caller]
fn after(looks: Vec<Look>, expected: &[Verdict]) {
    let mut looks = looks.into_iter();
    let mut suspicion = Suspicion::new(Duration::from_secs(3), looks.next().expect("a first look"));
    let verdicts: Vec<Verdict> = looks.map(|look| suspicion.look(look)).collect();
    assert_eq!(verdicts, expected);
}

fn silent(awake: u64, passed: u64) -> Look {
    Look {
        awake: Duration::from_secs(awake),
        passed: Duration::from_secs(passed),
        answered: false,
        lives: true,
        log_end: 0,
        ticks: 0,
    }
}

const STALE: Verdict = Verdict::Stale(Duration::from_secs(3));

#[test]
fn silence_without_progress_is_stale_after_its_time() {
    check(&[(0, 0), (0, 0), (0, 0), (0, 0)], &[Verdict::Wait, Verdict::Wait, STALE]);
}

#[test]
fn output_or_processor_time_starts_over() {
    check(&[(0, 0), (0, 0), (1, 0), (1, 0), (1, 0)], &[Verdict::Wait; 4]);
    check(&[(0, 0), (0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5)], &[Verdict::Wait; 6]);
    check(&[(0, 0), (1, 0), (1, 0), (1, 0), (1, 0)], &[Verdict::Wait, Verdict::Wait, Verdict::Wait, STALE]);
}

#[test]
fn an_answer_or_an_end_ends_the_suspicion() {
    let answered = Look { answered: true, ..silent(9, 9) };
    after(vec![silent(0, 0), answered], &[Verdict::Answers]);
    let gone = Look { lives: false, answered: true, ..silent(1, 1) };
    after(vec![silent(0, 0), gone], &[Verdict::Gone]);
}

#[test]
fn a_suspend_or_a_late_look_starts_over() {
    let suspended = vec![silent(0, 0), silent(1, 1), silent(2, 3_600), silent(3, 3_601), silent(4, 3_602)];
    after(suspended, &[Verdict::Wait; 4]);
    let stopped = vec![silent(0, 0), silent(60, 60), silent(61, 61), silent(62, 62), silent(63, 63)];
    after(stopped, &[Verdict::Wait, Verdict::Wait, Verdict::Wait, STALE]);
}
