//! What the machine has to do, and how long work in the background rests for it.

use std::time::Duration;

use lanes::worktree::pace::rest_after;
use lanes::worktree::pressure::{Pressure, Sample, Stall, parse_idle, parse_stall, weigh};

const SECOND: Duration = Duration::from_secs(1);

fn stall(avg10: f64, total_us: u64) -> Option<Stall> {
    Some(Stall { avg10, total_us })
}

/// Two processors, nobody waits, both idle for so many ticks.
fn calm(idle_ticks: u64) -> Sample {
    Sample {
        cpu: stall(0.0, 0),
        io: stall(0.0, 0),
        memory: stall(0.0, 0),
        idle_ticks: Some(idle_ticks),
        load: Some(0.1),
        cpus: 2,
    }
}

fn check(before: Option<Sample>, now: Sample, expected: Pressure) {
    assert_eq!(weigh(before.as_ref(), &now, SECOND, Duration::ZERO), expected, "{before:?} {now:?}");
}

#[test]
fn a_moment_is_judged_by_what_happened_since_the_one_before() {
    let before = Some(calm(0));
    check(before, calm(200), Pressure::Calm);
    check(before, Sample { cpu: stall(0.0, 60_000), ..calm(200) }, Pressure::Busy);
    check(before, Sample { cpu: stall(0.0, 260_000), ..calm(200) }, Pressure::Pressed);
    check(before, Sample { io: stall(0.0, 60_000), ..calm(200) }, Pressure::Busy);
    check(before, Sample { io: stall(0.0, 260_000), ..calm(200) }, Pressure::Pressed);
    check(before, Sample { memory: stall(0.0, 60_000), ..calm(200) }, Pressure::Pressed);
    // It was bad until just now, and is not any more.
    check(before, Sample { cpu: stall(90.0, 0), ..calm(200) }, Pressure::Calm);
}

#[test]
fn processors_that_others_use_are_not_ours() {
    check(Some(calm(0)), calm(75), Pressure::Calm);
    check(Some(calm(0)), calm(74), Pressure::Busy);
}

#[test]
fn what_we_did_ourselves_is_no_pressure() {
    let now = Sample { io: stall(0.0, 240_000), ..calm(60) };
    assert_eq!(weigh(Some(&calm(0)), &now, SECOND, Duration::from_millis(250)), Pressure::Calm);
    assert_eq!(weigh(Some(&calm(0)), &now, SECOND, Duration::ZERO), Pressure::Busy);
}

#[test]
fn with_nothing_before_the_averages_decide() {
    check(None, calm(0), Pressure::Calm);
    check(None, Sample { cpu: stall(30.0, 0), ..calm(0) }, Pressure::Pressed);
    check(None, Sample { io: stall(10.0, 0), ..calm(0) }, Pressure::Busy);
    check(None, Sample { load: Some(1.5), ..calm(0) }, Pressure::Busy);
    let soon = weigh(Some(&calm(0)), &calm(0), Duration::from_millis(5), Duration::ZERO);
    assert_eq!(soon, Pressure::Calm, "too little time to say that nobody was idle");
}

#[test]
fn where_nobody_says_who_waits_the_load_decides() {
    let load = |load| Sample { load: Some(load), cpus: 4, ..Sample::default() };
    check(None, load(1.0), Pressure::Calm);
    check(None, load(3.5), Pressure::Busy);
    check(None, load(6.0), Pressure::Pressed);
    check(None, Sample { cpus: 1, ..Sample::default() }, Pressure::Calm);
}

#[test]
fn the_more_there_is_to_do_the_longer_the_rest_but_it_ends() {
    let rest = |ms, pressure| rest_after(Duration::from_millis(ms), pressure).as_millis();
    assert_eq!(rest(4, Pressure::Calm), 12);
    assert_eq!(rest(4, Pressure::Busy), 76);
    assert_eq!(rest(4, Pressure::Pressed), 396);
    assert_eq!(rest(60_000, Pressure::Pressed), 2_000);
}

#[test]
fn the_files_of_the_kernel_are_read() {
    let text = "some avg10=1.70 avg60=2.52 avg300=5.45 total=632131537\n\
                full avg10=0.29 avg60=0.80 avg300=1.04 total=161338982\n";
    assert_eq!(parse_stall(text), stall(1.7, 632_131_537));
    assert_eq!(parse_stall("full avg10=0.29 avg60=0.80 avg300=1.04 total=1\n"), None);
    assert_eq!(parse_stall(""), None);
    assert_eq!(parse_idle("cpu  10 20 30 4000 50 0 7 0 0 0\ncpu0 1 2 3 4 5 0 0 0 0 0\n"), Some(4_050));
    assert_eq!(parse_idle("intr 5\n"), None);
}
