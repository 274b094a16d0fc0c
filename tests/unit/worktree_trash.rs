//! Which entries of the trash are due.

use std::time::Duration;

use lanes::clock::Timestamp;
use lanes::ids::{LaneId, WorkspaceId};
use lanes::raw::Raw;
use lanes::worktree::trash::expired;
use lanes::worktree::{Base, Branch, Order, Saved, TrashEntry, Tree};

fn entry(id: u128, at: u64, complete: bool) -> TrashEntry {
    let branch = Branch { name: "lanes/a".to_owned(), created: true };
    let order = Order {
        lane_id: LaneId::from_u128(id),
        name: "a".to_owned(),
        workspace_id: WorkspaceId::from_u128(1),
        token: "t".to_owned(),
        home: Raw::from("/home"),
        root: Raw::from("/root"),
        path: Raw::from("/root/a"),
        base: Base { rev: "main".to_owned(), sha: "a".to_owned(), target: None },
        branch: branch.clone(),
        lock_reason: String::new(),
        submodules: false,
        copy: Vec::new(),
        link: Vec::new(),
    };
    let tree = Tree {
        path: Raw::from("/root/a"),
        admin_id: "a".to_owned(),
        dev: 1,
        ino: 1,
        branch,
        backend: "git".to_owned(),
        ms: 0,
        notes: Vec::new(),
    };
    TrashEntry {
        order,
        tree,
        head: None,
        on_branch: None,
        branch_deleted: false,
        branch_tip: None,
        branch_config: Vec::new(),
        pins: Vec::new(),
        vault_commit: None,
        saved: Saved::Pending,
        stays: None,
        at: Timestamp(at),
        complete,
        notes: Vec::new(),
    }
}

fn check(entries: &[(TrashEntry, u64)], keep_ms: u64, max: Option<u64>, expected: &[u128]) {
    let due = expired(entries, Duration::from_millis(keep_ms), max, Timestamp(1000));
    assert_eq!(due, expected.iter().copied().map(LaneId::from_u128).collect::<Vec<_>>());
}

#[test]
fn the_old_are_due_then_the_oldest_until_the_rest_fits() {
    let entries = [
        (entry(3, 900, true), 10),
        (entry(1, 100, true), 10),
        (entry(2, 500, true), 10),
        (entry(4, 50, false), 99),
    ];
    check(&entries, 1000, None, &[]);
    check(&entries, 900, None, &[]);
    check(&entries, 899, None, &[1]);
    check(&entries, 1000, Some(30), &[]);
    check(&entries, 1000, Some(29), &[1]);
    check(&entries, 600, Some(10), &[1, 2]);
    check(&entries, 1000, Some(0), &[1, 2, 3]);
}

#[test]
fn an_entry_from_the_future_is_not_due() {
    check(&[(entry(1, 5000, true), 1)], 0, None, &[]);
}

#[test]
fn an_entry_written_by_an_earlier_version_can_be_read() {
    let mut value = serde_json::to_value(entry(1, 1, true)).expect("json");
    let object = value.as_object_mut().expect("an object");
    for added in ["branch_tip", "branch_config", "notes"] {
        assert!(object.remove(added).is_some());
    }
    assert_eq!(serde_json::from_value::<TrashEntry>(value).expect("an entry"), entry(1, 1, true));
}
