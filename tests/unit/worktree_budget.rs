//! What the room on a disk is still good for.

use lanes::worktree::Floors;
use lanes::worktree::budget::{DiskFacts, Room, Short, Usage, Verdict, judge};
use proptest::prelude::*;

/// Floors of 100 bytes and 10 inodes; a spare takes 50 bytes and 5 inodes.
const FACTS: DiskFacts = DiskFacts {
    free: Room { bytes: 1_000, inodes: Some(1_000) },
    floors: Floors { bytes: 100, inodes: 10 },
    budget: None,
    spares: Usage { bytes: 100, inodes: 10 },
    trash: Usage { bytes: 30, inodes: 3 },
    next: Usage { bytes: 50, inodes: 5 },
};

fn check(facts: DiskFacts, expected: Verdict) {
    assert_eq!(judge(&facts), expected, "{facts:?}");
}

fn free(bytes: u64, inodes: Option<u64>) -> DiskFacts {
    DiskFacts { free: Room { bytes, inodes }, ..FACTS }
}

#[test]
fn refills_stop_first_then_spares_go_then_lanes_are_refused() {
    check(FACTS, Verdict::Fine);
    check(free(250, Some(1_000)), Verdict::Fine);
    check(free(249, Some(1_000)), Verdict::NoRefills(Short::Bytes));
    check(free(100, Some(1_000)), Verdict::NoRefills(Short::Bytes));
    check(free(99, Some(1_000)), Verdict::GiveUpSpares(Short::Bytes));
    check(DiskFacts { spares: Usage::default(), ..free(99, None) }, Verdict::RefuseLanes(Short::Bytes));
}

#[test]
fn inodes_count_as_bytes_do_where_their_number_is_fixed() {
    check(free(1_000, Some(25)), Verdict::Fine);
    check(free(1_000, Some(24)), Verdict::NoRefills(Short::Inodes));
    check(free(1_000, Some(9)), Verdict::GiveUpSpares(Short::Inodes));
    let none = DiskFacts { spares: Usage::default(), ..free(1_000, Some(9)) };
    check(none, Verdict::RefuseLanes(Short::Inodes));
    check(free(1_000, None), Verdict::Fine);
}

#[test]
fn a_budget_stops_refills_and_gives_up_spares_but_refuses_no_lane() {
    let with = |budget| DiskFacts { budget: Some(budget), ..FACTS };
    check(with(180), Verdict::Fine);
    check(with(179), Verdict::NoRefills(Short::Budget));
    check(with(130), Verdict::NoRefills(Short::Budget));
    check(with(129), Verdict::GiveUpSpares(Short::Budget));
    check(DiskFacts { spares: Usage::default(), ..with(0) }, Verdict::NoRefills(Short::Budget));
}

#[test]
fn floors_of_nothing_ask_for_nothing() {
    let none = Floors { bytes: 0, inodes: 0 };
    check(DiskFacts { floors: none, ..free(0, Some(0)) }, Verdict::Fine);
}

/// How bad it is.
const fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Fine => 0,
        Verdict::NoRefills(_) => 1,
        Verdict::GiveUpSpares(_) => 2,
        Verdict::RefuseLanes(_) => 3,
    }
}

proptest! {
    #[test]
    fn giving_up_a_spare_never_makes_it_worse_and_one_more_is_never_given_up_at_once(
        free in 0_u64..600,
        budget in proptest::option::of(0_u64..600),
        spares in 0_u64..6,
    ) {
        let facts = |spares: u64, free: u64| DiskFacts {
            free: Room { bytes: free, inodes: None },
            budget,
            spares: Usage { bytes: spares * 50, inodes: spares * 5 },
            ..FACTS
        };
        let now = judge(&facts(spares, free));
        if now == Verdict::Fine {
            let then = judge(&facts(spares + 1, free.saturating_sub(50)));
            prop_assert!(matches!(then, Verdict::Fine | Verdict::NoRefills(_)), "{then:?}");
        }
        if spares > 1 {
            prop_assert!(rank(judge(&facts(spares - 1, free + 50))) <= rank(now));
        }
    }
}
