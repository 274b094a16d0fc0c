//! What the doctor says of spare trees.

use lanes::doctor::{Mend, SpareFacts, Status, judge_spares};
use lanes::worktree::{DiskFacts, Floors, Room, Usage};

/// Two trees and a template, with room.
fn well() -> SpareFacts {
    SpareFacts {
        cwd: "/work".into(),
        watched: true,
        templates: 1,
        pooled: 2,
        disk: DiskFacts {
            free: Room { bytes: 1 << 30, inodes: Some(1_000_000) },
            floors: Floors { bytes: 1 << 20, inodes: 10 },
            spares: Usage { bytes: 3 << 20, inodes: 30 },
            ..DiskFacts::default()
        },
        ..SpareFacts::default()
    }
}

fn check(facts: &SpareFacts, expected: &[(Status, &str)]) {
    let checks = judge_spares(facts);
    assert_eq!(checks.len(), expected.len(), "{checks:?}");
    for (check, (status, words)) in checks.iter().zip(expected) {
        assert_eq!(check.status, *status, "{check:?}");
        assert!(check.message.contains(words), "{check:?}");
    }
}

#[test]
fn spares_that_are_well_are_counted() {
    check(&well(), &[(Status::Ok, "2 ready trees and 1 template take 3.0 MiB")]);
    check(&SpareFacts::default(), &[(Status::Ok, "no spare trees")]);
}

#[test]
fn what_is_left_behind_is_freed_by_the_daemon() {
    let facts = SpareFacts { rubbish: vec!["/r/.pool/x".into()], ..well() };
    check(&facts, &[(Status::Warn, "1 spare tree was left behind: /r/.pool/x")]);
    assert_eq!(judge_spares(&facts)[0].mend, Some(Mend::Gc("/work".into())));
    check(&SpareFacts { watched: false, ..facts }, &[(Status::Note, "1 spare tree was left behind")]);
    let facts = SpareFacts { homeless: vec!["/r/.pool/x".into()], ..well() };
    check(&facts, &[(Status::Note, "of a home that is gone")]);
    check(&SpareFacts { unlocked: vec!["/x".into()], ..well() }, &[(Status::Warn, "not locked")]);
}

#[test]
fn too_little_room_for_spares_is_said() {
    let free = |bytes| {
        let mut facts = well();
        facts.disk.free.bytes = bytes;
        facts
    };
    check(&free((2 << 20) - 1), &[(Status::Note, "less than twice `disk.min_free`")]);
    check(&free((1 << 20) - 1), &[(Status::Warn, "given up: there is less than `disk.min_free`")]);
    let mut over = well();
    over.disk.budget = Some(1);
    check(&over, &[(Status::Warn, "more than `disk.budget`")]);
}
