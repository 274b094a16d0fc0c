//! Faults while something is taken back, and in the start that takes up what another fault has cut off.

use crate::support::e2e::Scene;
use crate::support::fault::{Ground, Kind};
use crate::support::fault_case::{Case, Request, all_of};

/// A provisioning that is refused at its last step, so that it is undone.
const UNDONE: &str = "provision.files=error:EIO@1";
/// A restore that is refused at its last step, so that it is rolled back.
const ROLLED_BACK: &str = "restore.tree=error:EIO@1";
const NO_MORE: &str = "";

#[test]
fn what_is_taken_back_is_cut_off() {
    let (create, full, merged) =
        (Request::Create, Request::Restore(Kind::Full), Request::Restore(Kind::Merged));
    let whole = Request::Restore(Kind::Nested);
    let cases: [Case<'_>; 17] = [
        (create, UNDONE, "undo.begin=kill@1", NO_MORE),
        (create, UNDONE, "undo.tree=kill@1", NO_MORE),
        (create, UNDONE, "undo.admin=kill@1", NO_MORE),
        (create, UNDONE, "undo.branch=kill@1", NO_MORE),
        (create, UNDONE, "undo.removed=kill@1", NO_MORE),
        (create, UNDONE, "undo.tree=error:ENOSPC@1", NO_MORE),
        (create, UNDONE, "undo.branch=error:EIO@1", NO_MORE),
        (full, ROLLED_BACK, "rollback.begin=kill@1", NO_MORE),
        (whole, ROLLED_BACK, "rollback.tree=kill@1", NO_MORE),
        (full, ROLLED_BACK, "rollback.admin=kill@1", NO_MORE),
        (merged, ROLLED_BACK, "rollback.branch=kill@1", NO_MORE),
        (merged, ROLLED_BACK, "rollback.admin=error:ENOSPC@1", NO_MORE),
        // Nobody is left who could roll back: the next start does.
        (create, "", "provision.files=kill@1", "undo.admin=kill@1"),
        (create, "", "provision.added=kill@1", "undo.tree=error:EIO@1"),
        (full, "", "restore.tree=kill@1", "rollback.tree=kill@1"),
        (merged, "", "restore.published=kill@1", "rollback.branch=kill@1"),
        (whole, "", "restore.moved=kill@1", "rollback.begin=error:EIO@1"),
    ];
    let mut ground = Ground::new();
    all_of(&mut ground, &cases);
    ground.tell("taken back", &["undo.", "rollback."]);
}

#[test]
fn a_start_that_takes_something_up_is_cut_off() {
    let (cleanup, exec) = (Request::Cleanup(Kind::Full), Request::Exec);
    let retired = "retire.tree=kill@1";
    let cases: [Case<'_>; 22] = [
        (cleanup, "", retired, "daemon.lock=kill@1"),
        (cleanup, "", retired, "daemon.lock=error:EMFILE@1"),
        (cleanup, "", retired, "store.open=kill@1"),
        (cleanup, "", retired, "store.open=error:EACCES@1"),
        (cleanup, "", retired, "store.migrate=kill@1"),
        (cleanup, "", retired, "store.migrate=error:EIO@1"),
        (cleanup, "", retired, "daemon.opened=kill@1"),
        (cleanup, "", retired, "recover.begin=kill@1"),
        (cleanup, "", retired, "recover.begin=error:EIO@1"),
        (cleanup, "", retired, "recover.repair=kill@1"),
        (cleanup, "", retired, "recover.repair=error:ENOSPC@1"),
        (cleanup, "", retired, "recover.done=kill@1"),
        (cleanup, "", retired, "daemon.serve=kill@1"),
        (cleanup, "", retired, "daemon.serve=error:EMFILE@1"),
        (cleanup, "", retired, "daemon.serving=kill@1"),
        (cleanup, "", retired, "retire.admin=kill@1"),
        (cleanup, "", retired, "store.commit=kill@2"),
        (cleanup, "", "clean.stopped=kill@1", "git.run=exit:128@3"),
        (exec, "", "keeper.spawned=kill@1", "task.found=kill@1"),
        (exec, "", "keeper.told=kill@1", "recover.repair=kill@1"),
        (exec, "", "daemon.stop=kill@1", NO_MORE),
        (exec, "", "daemon.stopped=kill@1", NO_MORE),
    ];
    let mut ground = Ground::new();
    all_of(&mut ground, &cases);
    ground.tell("start", &["daemon.", "recover.", "store.open", "store.migrate", "task.found"]);
}

#[test]
fn a_store_that_is_being_moved_aside_is_moved_by_the_next_start() {
    let ground = Ground::new();
    let worked = ground.work("a", Kind::Full);
    ground.stop();
    let store = ground.scene.home().join("lanes.db");
    std::fs::write(&store, vec![b'x'; 8192]).expect("damages");
    for suffix in ["-wal", "-shm"] {
        let _not_there_after_a_good_end =
            std::fs::remove_file(ground.scene.home().join(format!("lanes.db{suffix}")));
    }
    for (faults, code) in [("store.aside=kill@3", 1), ("store.aside=error:EACCES@1", 1)] {
        let ran = ground.start(faults);
        assert_eq!((ran.code, ground.has_passed(faults)), (Some(code), true), "{}", ran.stderr);
        ground.is_answered(&ran);
    }
    ground.recover();
    ground.is_whole(&worked, &worked.made.path);
    let aside = std::fs::read_dir(ground.scene.home()).expect("a folder").flatten();
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().starts_with("lanes.db.corrupt-"));
    assert_eq!(aside.count(), 1);
    ground.end_adopted(&worked);
}

#[test]
fn submodules_that_were_fetched_go_with_a_lane_that_was_cut_off() {
    let scene = Scene::new();
    scene.may_crash();
    let other = scene.path().join("work/other");
    scene.git_in(scene.path(), &["init", "-q", other.to_str().expect("text")]);
    scene.git_in(&other, &["commit", "-q", "--allow-empty", "-m", "first"]);
    scene.git(&["submodule", "--quiet", "add", other.to_str().expect("text"), "part"]);
    scene.commit("with a part");
    for faults in ["provision.submodules=kill", "provision.submodules=error:ENOSPC"] {
        let start = scene.command(&scene.repo(), &["daemon", "start"]).env("LANES_FAULTS", faults).output();
        assert!(start.expect("starts").status.success());
        assert_ne!(scene.lanes(&["create", "a"]).code, Some(0));
        scene.ok(&["daemon", "restart"]);
        scene.nothing_open();
        scene.ok(&["daemon", "stop"]);
        assert!(!scene.inventory().branches.contains("lanes/a"));
    }
    scene.create("a");
    scene.ok(&["cleanup", "a"]);
}
