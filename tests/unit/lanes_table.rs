//! Tests of `src/lanes/table.rs`: every pair, and the table as the documentation prints it.

use lanes::lanes::table::{Event, Move, State, lookup, print};

/// DESIGN §4, row by row, written down a second time by hand.
const ROWS: [(&str, &str, &str); 24] = [
    ("new", "create", "provisioning"),
    ("new", "request_cleanup", "closed"),
    ("provisioning", "provision_complete", "ready"),
    ("provisioning", "provision_failed", "closed"),
    ("provisioning", "request_cleanup", "pending"),
    ("ready", "start_running", "running"),
    ("running", "command_complete", "ready"),
    ("blocked", "command_complete", "ready"),
    ("running", "block", "blocked"),
    ("blocked", "unblock", "running"),
    ("ready", "share", "shared"),
    ("running", "share", "shared"),
    ("blocked", "share", "shared"),
    ("shared", "start_running", "shared"),
    ("shared", "command_complete", "shared"),
    ("shared", "block", "shared"),
    ("shared", "unblock", "shared"),
    ("shared", "unshare", "by facts"),
    ("ready", "request_cleanup", "cleaning"),
    ("running", "request_cleanup", "cleaning"),
    ("blocked", "request_cleanup", "cleaning"),
    ("shared", "request_cleanup", "cleaning"),
    ("cleaning", "request_cleanup", "cleaning"),
    ("cleaning", "cleanup_complete", "closed"),
];

fn answer(state: State, event: Event) -> &'static str {
    match lookup(state, event) {
        Move::To(next) => next.name(),
        Move::ByFacts => "by facts",
        Move::Pending => "pending",
        Move::Nothing => "nothing",
        Move::Refused => "refused",
    }
}

#[test]
fn every_pair_is_answered_as_the_design_says() {
    let mut pairs = 0;
    for state in State::ALL {
        for event in Event::ALL {
            let row = ROWS.iter().find(|(from, on, _to)| *from == state.name() && *on == event.name());
            let wanted = match row {
                Some((_from, _on, to)) => to,
                None if state == State::Closed && event == Event::RequestCleanup => "nothing",
                None => "refused",
            };
            assert_eq!(answer(state, event), wanted, "{} + {}", state.name(), event.name());
            pairs += 1;
        }
    }
    assert_eq!(pairs, 88);
}

#[test]
fn names_are_read_back() {
    for state in State::ALL {
        assert_eq!(State::from_name(state.name()), Some(state));
        assert_eq!(serde_json::to_value(state).expect("a state is JSON"), state.name());
    }
    for event in Event::ALL {
        assert_eq!(serde_json::to_value(event).expect("an event is JSON"), event.name());
    }
    assert_eq!(State::from_name("active"), None);
}

#[test]
fn the_documentation_prints_this_table() {
    let text = include_str!("../../ARCHITECTURE.md");
    assert!(text.contains(&print()), "ARCHITECTURE.md should contain this table:\n{}", print());
}
