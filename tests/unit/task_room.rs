//! Tests of `src/task/room.rs`: a start is refused before it does harm.

use lanes::failure::Code;
use lanes::ids::TaskKind;
use lanes::task::Room;

#[track_caller]
fn check(kind: TaskKind, terminals: (u64, u64), files: (u64, u64), free: bool) {
    let room = Room { terminals: Some(terminals), files: Some(files) };
    match room.take(kind) {
        Ok(()) => assert!(free, "{room:?} is full"),
        Err(failure) => {
            assert!(!free, "{failure:?}");
            assert_eq!(failure.code, Code::AtCapacity);
            assert!(failure.hint.is_some());
        }
    }
}

#[test]
fn what_is_nearly_full_is_full() {
    check(TaskKind::Terminal, (3, 4096), (10, 1024), true);
    check(TaskKind::Terminal, (4079, 4096), (10, 1024), true);
    check(TaskKind::Terminal, (4080, 4096), (10, 1024), false);
    check(TaskKind::Terminal, (5000, 4096), (10, 1024), false);
    check(TaskKind::Run, (5000, 4096), (10, 1024), true);
    check(TaskKind::Run, (0, 4096), (959, 1024), true);
    check(TaskKind::Run, (0, 4096), (960, 1024), false);
    check(TaskKind::Terminal, (0, 4096), (960, 1024), false);
    assert!(Room::default().take(TaskKind::Terminal).is_ok(), "what nobody can tell is no reason");
}
