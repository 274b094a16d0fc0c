//! Tests of `src/fault.rs`: the rules as they are read. Release builds have no fail points, and nothing to read.
#![cfg(debug_assertions)]

use lanes::fault::{Action, parse};

#[track_caller]
fn check(rules: &str, expected: &[(&str, Option<&str>, Action, Option<u64>)]) {
    let read = parse(rules).expect("good rules");
    let read: Vec<_> =
        read.iter().map(|rule| (&*rule.name, rule.of.as_deref(), rule.action.clone(), rule.nth)).collect();
    assert_eq!(read, expected);
}

#[test]
fn rules_say_what_happens_where_and_which_time() {
    check("", &[]);
    check("retire.tree=kill", &[("retire.tree", None, Action::Kill, None)]);
    check("store.commit=error:ENOSPC@3", &[("store.commit", None, Action::Error(libc::ENOSPC), Some(3))]);
    check("git.run(update-ref)=exit:128", &[("git.run", Some("update-ref"), Action::Exit(128), None)]);
    check(
        "undo.tree=pause:/a/b  lock.entry=error:EIO",
        &[
            ("undo.tree", None, Action::Pause("/a/b".into()), None),
            ("lock.entry", None, Action::Error(libc::EIO), None),
        ],
    );
}

#[test]
fn a_rule_that_cannot_be_read_is_named() {
    for (rule, why) in [
        ("nowhere=kill", "nowhere=kill: there is no such fail point"),
        ("retire.tree", "retire.tree: there is no = in it"),
        ("retire.tree=explode", "retire.tree=explode: the action is not known"),
        ("retire.tree=error:EPERM", "retire.tree=error:EPERM: the action is not known"),
        ("retire.tree=kill@soon", "retire.tree=kill@soon: after @ comes a number"),
        ("git.run=exit:bad", "git.run=exit:bad: an exit code is a number"),
    ] {
        assert_eq!(parse(rule).expect_err(rule), why);
    }
}
