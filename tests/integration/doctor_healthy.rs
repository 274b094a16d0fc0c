//! The doctor where nothing is wrong, where nothing is there, and where the daemon does not answer: it says so
//! and changes not one byte.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::support::doctor::{doctor, doctor_in, picture, same};
use crate::support::e2e::Scene;

/// Lanes that are open, one with a task; one in the trash with commits and files nobody else has.
fn lived_in() -> Scene {
    let scene = Scene::new();
    scene.create_with(&["create", "a", "--", "sleep", "300"]);
    let gone = scene.create("gone");
    std::fs::write(gone.path.join("untracked"), "mine\n").expect("writes");
    std::fs::write(gone.path.join("staged"), "only in the index\n").expect("writes");
    scene.git_in(&gone.path, &["add", "staged"]);
    scene.git_in(&gone.path, &["commit", "-q", "--allow-empty", "-m", "by nobody else"]);
    scene.git_in(&gone.path, &["checkout", "-q", "--detach"]);
    scene.git_in(&gone.path, &["commit", "-q", "--allow-empty", "-m", "detached"]);
    std::fs::write(gone.path.join("more"), "staged at the end\n").expect("writes");
    scene.git_in(&gone.path, &["add", "more"]);
    scene.ok(&["cleanup", "gone"]);
    let _saved = scene.saved(&gone.id);
    // Nothing is made any more in the background.
    scene.stocked(2, &scene.git(&["rev-parse", "HEAD"]));
    scene
}

#[test]
fn a_healthy_machine_is_told_healthy_and_nothing_changes() {
    let scene = lived_in();
    let places = [scene.repo(), scene.root()];
    let before = places.each_ref().map(|place| picture(place));
    let said = doctor(&scene, &[]);
    said.is_well();
    for (place, before) in places.iter().zip(&before) {
        same(before, &picture(place));
    }
    for id in [
        "git.version",
        "daemon.status",
        "home.modes",
        "home.runs",
        "store.integrity",
        "lanes.trees",
        "trees.links",
    ] {
        let _well = said.has(id, "ok");
    }
    assert!(said.has("trash.vault", "ok")["message"].as_str().expect("text").contains("kept reachable"));
    assert!(said.checks.iter().all(|check| check["fixable"] == false), "{:#?}", said.checks);
    // From inside a lane it looks, and mends nothing.
    let inside = scene.ok(&["exec", "a", "--", env!("CARGO_BIN_EXE_lanes"), "doctor"]);
    assert!(inside.contains("daemon.status"), "{inside}");
    let refused = scene.lanes(&["exec", "a", "--", env!("CARGO_BIN_EXE_lanes"), "--json", "doctor", "--fix"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("NOT_YOUR_LANE"), "{refused:?}");
    // With nobody there, the home is as it was, too.
    scene.ok(&["daemon", "stop"]);
    let whole = picture(scene.path());
    doctor(&scene, &[]).is_well();
    same(&whole, &picture(scene.path()));
    let fixed = doctor(&scene, &["--fix"]);
    fixed.is_well();
    assert!(fixed.checks.iter().all(|check| check["fixed"].is_null()), "{:#?}", fixed.checks);
    assert_eq!(scene.lanes(&["daemon", "status"]).code, Some(1), "it started a daemon");
}

#[test]
fn what_a_killed_daemon_left_is_read_without_a_change() {
    let scene = lived_in();
    let _gone = scene.kill_daemon();
    let store = scene.home().join("lanes.db-wal");
    assert!(std::fs::metadata(&store).expect("its log is there").len() > 0);
    let whole = picture(scene.path());
    let said = doctor(&scene, &[]);
    same(&whole, &picture(scene.path()));
    said.is_well();
    assert!(said.has("daemon.socket", "note")["fixable"] == true, "{:#?}", said.checks);
    assert_eq!(said.has("lanes.trees", "ok")["message"], "1 open lane is where it should be");
    let fixed = doctor(&scene, &["--fix"]);
    assert_eq!(fixed.has("daemon.socket", "ok")["fixed"], true);
    assert!(!scene.home().join("daemon.sock").exists());
    scene.ok(&["ls"]);
}

#[test]
fn nothing_is_made_where_nothing_is() {
    let scene = Scene::new();
    let said = doctor_in(&scene, Path::new("/"), &[]);
    said.is_well();
    assert!(said.has("repository.open", "ok")["message"].as_str().expect("text").contains("no repository"));
    let _not_yet = said.has("home.folder", "note");
    assert!(!scene.home().exists());
    // Half made: one folder of it is there.
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(scene.home().join("run")).expect("made");
    let before = picture(&scene.home());
    let said = doctor(&scene, &["--fix"]);
    said.is_well();
    assert!(said.has("home.folder", "note")["message"].as_str().expect("text").contains("half made"));
    same(&before, &picture(&scene.home()));
}

#[test]
fn a_daemon_that_hangs_is_told_and_holds_nobody_up() {
    let scene = Scene::new();
    scene.create("a");
    let pid = scene.daemon();
    kill_process(pid, Signal::STOP).expect("signals");
    let begun = Instant::now();
    let said = doctor(&scene, &["--fix"]);
    let took = begun.elapsed();
    kill_process(pid, Signal::CONT).expect("signals");
    assert_eq!(said.code, 1);
    let told = said.has("daemon.status", "fail");
    assert!(told["message"].as_str().expect("text").contains("does not answer"), "{told}");
    assert_eq!(told["fixable"], false);
    let _still_looked_at = said.has("store.integrity", "ok");
    assert!(took < Duration::from_secs(30), "{took:?}");
    doctor(&scene, &[]).is_well();
}

#[tokio::test]
async fn a_look_that_hangs_is_given_up() {
    let (never, waits) = std::sync::mpsc::channel::<()>();
    let hangs = move || waits.recv();
    let late =
        lanes::doctor::within("home.disk", Duration::from_millis(20), hangs).await.expect_err("too late");
    assert_eq!((late.id, late.status), ("home.disk", lanes::doctor::Status::Fail));
    assert!(late.hint.is_some_and(|hint| hint.contains("hangs")));
    drop(never);
}

#[test]
fn a_git_that_hangs_or_is_missing_is_told() {
    let mut scene = Scene::new();
    let slow = scene.script("git", "#!/bin/sh\nexec sleep 300\n");
    let path = std::env::var_os("PATH").expect("a PATH");
    let mut all = std::ffi::OsString::from(slow.parent().expect("a folder"));
    all.push(":");
    all.push(&path);
    scene.set("PATH", &all);
    let said = doctor(&scene, &[]);
    assert_eq!(said.code, 1);
    let _told = said.has("git.version", "fail");
    scene.set("PATH", scene.path().join("tmp"));
    let said = doctor(&scene, &[]);
    assert_eq!(said.code, 1);
    let _told = said.has("git.version", "fail");
    let _rest = said.has("machine.clock", "ok");
    scene.set("PATH", path);
}
