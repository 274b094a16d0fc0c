//! Tests of `src/ids.rs`.

use std::collections::HashSet;
use std::thread;

use lanes::ids::{
    CorrelationId, EventId, IdError, LaneId, PackageId, PlanId, SessionId, TaskId, TaskKind, WorkspaceId,
    parse_any,
};
use proptest::prelude::*;

#[track_caller]
fn check(text: &str, expected: &str) {
    let refused = text.parse::<LaneId>().map_err(|error| error.to_string());
    assert_eq!(refused.map_err(|message| message.contains(expected)), Err(true), "{text}: {expected}");
}

#[test]
fn an_id_is_read_back_as_it_was_written() {
    let id = LaneId::generate();
    assert_eq!(id.to_string().parse::<LaneId>(), Ok(id));
    let task = TaskId::generate(TaskKind::Run);
    assert_eq!(task.to_string().parse::<TaskId>(), Ok(task));
    assert_eq!(serde_json::to_value(id).ok().and_then(|json| serde_json::from_value(json).ok()), Some(id));
}

#[test]
fn every_kind_has_its_prefix_and_says_when_it_was_made() {
    let texts = [
        ("ws", WorkspaceId::generate().to_string()),
        ("ln", LaneId::generate().to_string()),
        ("ss", SessionId::generate().to_string()),
        ("ev", EventId::generate().to_string()),
        ("cor", CorrelationId::generate().to_string()),
        ("pl", PlanId::generate().to_string()),
        ("wp", PackageId::generate().to_string()),
        ("tm", TaskId::generate(TaskKind::Terminal).to_string()),
        ("rn", TaskId::generate(TaskKind::Run).to_string()),
    ];
    // The counter may be ahead of the clock, never behind the time when we learnt to make such ids.
    for (prefix, text) in texts {
        let (found, ms) = parse_any(&text).expect("invariant: we made it");
        assert_eq!(found, prefix);
        assert!(ms > 1_700_000_000_000, "{text}");
        assert_eq!(text.len(), prefix.len() + 27);
    }
}

#[test]
fn a_wrong_prefix_is_named() {
    let text = TaskId::generate(TaskKind::Terminal).to_string();
    assert_eq!(parse_any(&text).map(|(prefix, _ms)| prefix), Ok("tm"));
    assert!(matches!(text.parse::<LaneId>(), Err(IdError::WrongPrefix { .. })));
}

#[test]
fn what_is_no_id_is_refused_with_the_reason() {
    check("", "an underscore");
    check("ln", "an underscore");
    check("xx_01H00000000000000000000000", "is not ln");
    check("12_01H00000000000000000000000", "is not ln");
    check("LN_01H00000000000000000000000", "is not ln");
    check("ln_", "0 characters");
    check("ln_01H0000000000000000000000", "25 characters");
    check("ln_01H000000000000000000000000", "27 characters");
    check("ln_01h00000000000000000000000", "'h' at 2");
    check("ln_01H0000000000000000000000I", "'I' at 25");
    check("ln_01H0000000000000000000000\n", "at 25");
    check("ln_80000000000000000000000000", "128 bits");
    check("ln_é1H0000000000000000000000", "'é' at 0");
    check("ln_ZZZZZZZZZZZZZZZZZZZZZZZZZZ", "128 bits");
}

#[test]
fn the_smallest_and_the_largest_id_are_ids() {
    for value in [0, 1, u128::MAX] {
        let id = LaneId::from_u128(value);
        assert_eq!(id.to_string().parse::<LaneId>(), Ok(id));
    }
    assert_eq!(LaneId::from_u128(0).to_string(), "ln_00000000000000000000000000");
    assert_eq!(LaneId::from_u128(u128::MAX).to_string(), "ln_7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
}

#[test]
fn ids_of_one_thread_rise_as_values_and_as_text() {
    let ids: Vec<_> = (0..100_000).map(|_| EventId::generate()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(ids[..2_000].windows(2).all(|pair| pair[0].to_string() < pair[1].to_string()));
}

#[test]
fn eight_threads_never_make_the_same_id_and_each_sees_its_own_rise() {
    let make = || (0..50_000).map(|_| LaneId::generate()).collect::<Vec<_>>();
    let threads: Vec<_> = (0..8).map(|_| thread::spawn(make)).collect();
    let mut all = HashSet::new();
    for thread in threads {
        let ids = thread.join().expect("invariant: making ids does not panic");
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        all.extend(ids);
    }
    assert_eq!(all.len(), 8 * 50_000);
}

proptest! {
    #[test]
    fn any_value_is_read_back(value in any::<u128>()) {
        let id = CorrelationId::from_u128(value);
        let text = id.to_string();
        prop_assert_eq!(text.parse::<CorrelationId>(), Ok(id));
        prop_assert_eq!(parse_any(&text), Ok(("cor", (value >> 80) as u64)));
    }

    #[test]
    fn values_and_their_texts_have_the_same_order(a in any::<u128>(), b in any::<u128>()) {
        let (a, b) = (LaneId::from_u128(a), LaneId::from_u128(b));
        prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
    }

    #[test]
    fn no_text_makes_reading_panic(text in any::<String>()) {
        prop_assert!(text.parse::<LaneId>().is_err());
        let with_prefix = format!("ln_{text}").parse::<LaneId>();
        prop_assert!(with_prefix.is_err() || text.len() == 26);
    }

    #[test]
    fn whatever_is_read_is_written_the_same(text in "(ln|tm|rn|cor|xx)_[0-9A-Za-z]{25,27}") {
        if let Ok(id) = text.parse::<LaneId>() {
            prop_assert_eq!(id.to_string(), text);
        } else if let Ok(id) = text.parse::<TaskId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn one_changed_character_is_another_id_or_none(value in any::<u128>(), at in 3_usize..29, byte in any::<char>()) {
        let text = LaneId::from_u128(value).to_string();
        let changed = format!("{}{byte}{}", &text[..at], &text[at + 1..]);
        prop_assert!(changed == text || changed.parse::<LaneId>() != Ok(LaneId::from_u128(value)));
    }
}
