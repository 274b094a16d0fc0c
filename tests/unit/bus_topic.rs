//! Tests of `src/bus/topic.rs`.

use lanes::bus::topic::{MAX_PATTERNS, TOPICS, is_name};
use lanes::bus::{BusError, Pattern};
use proptest::prelude::*;

#[track_caller]
fn check(pattern: &str, topic: &str, expected: bool) {
    let parsed: Pattern = pattern.parse().unwrap_or_else(|error| panic!("{pattern}: {error}"));
    assert_eq!(parsed.matches(topic), expected, "{pattern} on {topic}");
    assert_eq!(parsed.to_string(), pattern);
}

#[test]
fn a_pattern_is_a_topic_a_prefix_or_a_star() {
    check("lane.created", "lane.created", true);
    check("lane.created", "lane.created.x", false);
    check("lane.*", "lane.created", true);
    check("lane.*", "lane.par_task.bound", true);
    check("lane.*", "lane", false);
    check("lane.*", "lanes.created", false);
    check("lane.par_task.*", "lane.par_task.bound", true);
    check("lane.par_task.*", "lane.created", false);
    check("*", "anything.at_all", true);
}

#[test]
fn what_is_no_pattern_is_refused() {
    for text in
        ["", ".", ".*", "**", "lane*", "lane.*.x", "*.lane", "Lane.created", "lane..x", "lane.", " *", "ä"]
    {
        assert!(matches!(text.parse::<Pattern>(), Err(BusError::Pattern { .. })), "{text:?}");
    }
    let many = vec!["lane.*"; MAX_PATTERNS + 1];
    assert_eq!(Pattern::parse_all(&many), Err(BusError::Patterns { found: MAX_PATTERNS + 1 }));
}

#[test]
fn no_pattern_means_every_topic() {
    assert_eq!(Pattern::parse_all::<&str>(&[]), Ok(vec![Pattern::All]));
}

#[test]
fn names_follow_the_grammar() {
    for name in ["a", "a1", "lane.par_task.force_killed", "x_.y_1"] {
        assert!(is_name(name), "{name}");
    }
    for text in ["", "1a", "_a", "a.", ".a", "a..b", "a.1", "A", "a-b", "a b", "a\n", &"a".repeat(129)] {
        assert!(!is_name(text), "{text:?}");
    }
}

#[test]
fn every_known_topic_is_a_topic_and_listed_once() {
    let mut names: Vec<_> = TOPICS.iter().map(|known| known.name).collect();
    assert!(names.iter().all(|name| is_name(name)));
    assert!(TOPICS.iter().all(|known| known.about.contains('{')));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TOPICS.len());
}

proptest! {
    #[test]
    fn the_grammar_is_that_of_the_design(text in "[a-zA-Z0-9_.*-]{0,12}") {
        let part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase())
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        prop_assert_eq!(is_name(&text), text.split('.').all(part));
    }

    #[test]
    fn reading_a_pattern_never_panics(text in any::<String>()) {
        let _any_outcome = text.parse::<Pattern>();
    }
}
