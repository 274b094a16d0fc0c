//! Rules for names, and decisions about branches, on values.

use std::path::PathBuf;

use lanes::failure::{Code, Failure};
use lanes::worktree::lane_name;
use lanes::worktree::names::branch_name;
use lanes::worktree::resolve::{Head, decide_existing, decide_new, parse_heads};

fn check_lane(name: &str, good: bool) {
    let result = lane_name(name);
    assert_eq!(result.is_ok(), good, "{name:?}: {result:?}");
    if let Err(error) = result {
        let failure = Failure::from(error);
        assert_eq!(failure.code, Code::NameInvalid);
        assert!(failure.message.contains("cannot be used: ") && failure.hint.is_some());
    }
}

#[test]
fn lane_names_follow_their_rules() {
    for good in ["a", "A1", "fix-login", "v1.2_3", "0", &"x".repeat(63)] {
        check_lane(good, true);
    }
    let long = "x".repeat(64);
    let bad = [
        "",
        "-a",
        ".a",
        "_a",
        "a/b",
        "a b",
        "a..b",
        "a.",
        "a.lock",
        "a\nb",
        "ä",
        "a\u{202e}",
        "../x",
        &long,
        "a~",
        "@",
    ];
    for bad in bad {
        check_lane(bad, false);
    }
}

#[test]
fn branch_names_follow_the_rules_of_git() {
    for good in ["lanes/a", "feature/ü", "a.b/c-d", "x@y"] {
        assert!(branch_name(good).is_ok(), "{good:?}");
    }
    for bad in [
        "", "-x", "HEAD", "@", "a//b", "/a", "a/", "a/.b", "a.lock/b", "a..b", "a@{b", "a b", "a:b", "a\\b",
        "a\tb",
    ] {
        assert!(branch_name(bad).is_err(), "{bad:?}");
    }
}

fn head(name: &str, at: Option<&str>) -> Head {
    Head { name: name.to_owned(), sha: "0".repeat(40), checked_out: at.map(PathBuf::from) }
}

#[test]
fn a_branch_called_lanes_in_the_way_is_explained() {
    let failure = Failure::from(decide_new("lanes/a", ["lanes"]).expect_err("it is in the way"));
    assert!(failure.message.contains("'lanes' is in the way"), "{}", failure.message);
    assert!(failure.hint.is_some_and(|hint| hint.contains("lanes.branch_prefix")));
    assert!(decide_new("lanes/a", ["lanesx", "lanes/ab"]).is_ok());
}

#[test]
fn a_branch_in_use_says_where() {
    let failure = Failure::from(decide_existing("x", &[head("x", Some("/there"))]).expect_err("in use"));
    assert_eq!(failure.code, Code::BranchCheckedOut);
    assert!(failure.message.contains("/there"));
}

#[test]
fn records_of_branches_are_read_also_with_odd_paths() {
    let bytes = b"refs/heads/a\x00s1\x00/p\nq\x00\nrefs/heads/b/c\x00s2\x00\x00\n";
    let heads = parse_heads(bytes);
    assert_eq!(heads.len(), 2);
    assert_eq!((heads[0].name.as_str(), heads[0].checked_out.clone()), ("a", Some(PathBuf::from("/p\nq"))));
    assert_eq!((heads[1].name.as_str(), heads[1].sha.as_str(), &heads[1].checked_out), ("b/c", "s2", &None));
}
