//! Which entries of the trash are due.

use std::time::Duration;

use lanes::clock::Timestamp;
use lanes::ids::{LaneId, WorkspaceId};
use lanes::worktree::TrashEntry;
use lanes::worktree::trash::expired;

use crate::records;

fn entry(id: u128, at: u64, complete: bool) -> TrashEntry {
    let order = records::order(LaneId::from_u128(id), "a", WorkspaceId::from_u128(1));
    TrashEntry { at: Timestamp(at), complete, ..records::entry(&order, &records::tree(&order)) }
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
