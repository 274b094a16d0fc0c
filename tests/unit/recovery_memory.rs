//! What the watchdog remembers: seen twice before it is told, told once, put off, forgotten, read again.

use std::time::Duration;

use lanes::clock::Timestamp;
use lanes::recovery::memory::{Memory, Rules, Told};
use lanes::recovery::orphan::Orphan;

use crate::recovery_orphan::rest;

const RULES: Rules = Rules { cooldown: Duration::from_secs(86_400), settle: Duration::from_secs(1) };

fn at(seconds: u64) -> Timestamp {
    Timestamp(1_000_000_000_000 + seconds * 1_000)
}

/// Looks at these moments, and gives how many were told at each.
fn looks(memory: &mut Memory, looks: &[(u64, &[Orphan])]) -> Vec<usize> {
    let mut counts = Vec::new();
    for (seconds, seen) in looks {
        let Told { memory: next, tell, .. } = memory.look(seen, at(*seconds), RULES);
        *memory = next;
        counts.push(tell.len());
    }
    counts
}

#[test]
fn what_is_seen_a_second_time_is_told_once() {
    let (one, mut memory) = ([rest(1, 0)], Memory::default());
    assert_eq!(looks(&mut memory, &[(0, &one), (60, &one), (120, &one)]), [0, 1, 0]);
    assert!(memory.suggests(&one[0].id(), at(120)));
}

#[test]
fn a_second_look_too_soon_tells_nothing() {
    let (one, mut memory) = ([rest(1, 0)], Memory::default());
    let first = memory.look(&one, at(0), RULES);
    assert!(first.unsettled);
    let soon = Timestamp(at(0).as_ms() + 999);
    assert!(first.memory.look(&one, soon, RULES).tell.is_empty());
    memory = first.memory;
    assert_eq!(looks(&mut memory, &[(1, &one)]), [1]);
}

#[test]
fn what_came_and_went_is_never_told() {
    let (one, mut memory) = ([rest(1, 0)], Memory::default());
    assert_eq!(looks(&mut memory, &[(0, &one), (60, &[]), (120, &one), (180, &[])]), [0, 0, 0, 0]);
    assert!(memory.things.is_empty());
}

#[test]
fn a_suggestion_whose_thing_is_gone_disappears() {
    let (one, mut memory) = ([rest(1, 0)], Memory::default());
    looks(&mut memory, &[(0, &one), (60, &one)]);
    let told = memory.look(&[], at(120), RULES);
    assert_eq!(told.gone, [one[0].id()]);
    assert!(!told.memory.suggests(&one[0].id(), at(120)));
    assert_eq!(told.memory.look(&[], at(180), RULES).gone, Vec::<String>::new(), "said once");
}

#[test]
fn what_was_out_of_sight_for_a_while_is_not_told_again() {
    let (one, mut memory) = ([rest(1, 0)], Memory::default());
    assert_eq!(
        looks(&mut memory, &[(0, &one), (60, &one), (120, &[]), (180, &[]), (240, &one)]),
        [0, 1, 0, 0, 0]
    );
    assert!(memory.suggests(&one[0].id(), at(240)));
    looks(&mut memory, &[(300, &[]), (300 + 3_600, &[])]);
    assert!(memory.things.is_empty(), "an hour later nobody knows it");
}

#[test]
fn a_declined_thing_comes_back_after_the_cooldown_also_when_it_was_away() {
    let (one, mut memory) = ([rest(1, 0)], Memory::default());
    looks(&mut memory, &[(0, &one), (60, &one)]);
    memory.decline(&one[0].id(), at(60 + 86_400));
    assert!(!memory.suggests(&one[0].id(), at(61)));
    let day = 86_400;
    // A disk that is not mounted for a while does not make it new.
    let counts =
        looks(&mut memory, &[(120, &one), (180, &[]), (day, &one), (day + 61, &one), (day + 120, &one)]);
    assert_eq!(counts, [0, 0, 0, 1, 0]);
}

#[test]
fn what_was_dealt_with_is_known_for_a_day() {
    let (one, mut memory) = ([rest(1, 0)], Memory::default());
    let id = one[0].id();
    // A cycle may see that it is gone before that is noted.
    looks(&mut memory, &[(0, &one), (60, &one), (65, &[])]);
    memory.confirm(&id, at(70));
    looks(&mut memory, &[(120, &[])]);
    assert_eq!(memory.matching(&id[..8]), [id.as_str()]);
    looks(&mut memory, &[(70 + 86_401, &[])]);
    assert!(memory.matching(&id).is_empty());
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_things_quiet() {
    let (one, mut memory) = ([rest(1, 0)], Memory::default());
    looks(&mut memory, &[(1_000_000, &one)]);
    assert_eq!(looks(&mut memory, &[(0, &one), (60, &one)]), [0, 1]);
}

#[test]
fn it_is_read_as_it_was_written_and_a_damaged_record_is_none() {
    let (one, mut memory) = ([rest(1, 0), rest(2, 0)], Memory::default());
    looks(&mut memory, &[(0, &one), (60, &one)]);
    memory.decline(&one[0].id(), at(90_000));
    memory.cycles = 7;
    let body = serde_json::to_value(&memory).expect("writes");
    assert_eq!(Memory::read(body.clone()), Some(memory));
    let mut newer = body;
    newer["version"] = 99.into();
    for damaged in [newer, serde_json::json!({}), serde_json::json!("x"), serde_json::json!({ "version": 1 })]
    {
        assert_eq!(Memory::read(damaged), None);
    }
}
