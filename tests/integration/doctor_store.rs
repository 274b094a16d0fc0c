//! Faults planted in the store: told, and left to the daemon that knows how to rebuild it.

use crate::support::doctor::{doctor, picture, same};
use crate::support::e2e::Scene;

fn stopped() -> Scene {
    let scene = Scene::new().without_spares();
    scene.create("a");
    scene.ok(&["daemon", "stop"]);
    scene
}

/// The doctor tells it, and leaves every byte as it was, asked to mend or not.
#[track_caller]
fn told(scene: &Scene, status: &str, words: &str) {
    for args in [&[][..], &["--fix"]] {
        let before = picture(scene.path());
        let said = doctor(scene, args);
        same(&before, &picture(scene.path()));
        let check = said.has("store.integrity", status);
        assert!(check["message"].as_str().expect("text").contains(words), "{check}");
        assert_eq!(said.code, i32::from(status == "fail"));
    }
}

#[test]
fn a_damaged_store_is_told_and_the_next_daemon_rebuilds_it() {
    let scene = stopped();
    let path = scene.home().join("lanes.db");
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes[..16].copy_from_slice(b"not a database!!");
    std::fs::write(&path, &bytes).expect("written");
    told(&scene, "fail", "file is not a database");
    scene.ok(&["ls"]);
    let said = doctor(&scene, &[]);
    said.is_well();
    assert!(said.has("store.aside", "note")["message"].as_str().expect("text").contains(".corrupt-"));
}

#[test]
fn a_page_that_is_damaged_is_told() {
    let scene = stopped();
    let path = scene.home().join("lanes.db");
    let mut bytes = std::fs::read(&path).expect("reads");
    // Every page but the first, which has the schema.
    bytes[4096..].fill(0xa5);
    std::fs::write(&path, &bytes).expect("written");
    told(&scene, "fail", "damaged");
    scene.ok(&["ls"]);
}

#[test]
fn a_newer_store_is_told() {
    let scene = stopped();
    let path = scene.home().join("lanes.db");
    let set = |version: i64| {
        let store = rusqlite::Connection::open(&path).expect("opens");
        store.pragma_update(None, "user_version", version).expect("set");
    };
    set(lanes::store::VERSION + 1);
    told(&scene, "fail", "newer version");
    set(lanes::store::VERSION);
    scene.ok(&["ls"]);
}

#[test]
fn a_store_that_is_gone_but_for_its_log_is_told() {
    let scene = Scene::new().without_spares();
    scene.create("a");
    let _gone = scene.kill_daemon();
    for file in ["lanes.db", "daemon.sock"] {
        std::fs::remove_file(scene.home().join(file)).expect("removed");
    }
    told(&scene, "fail", "its log is not");
    scene.ok(&["ls"]);
}

#[test]
fn a_log_without_its_index_is_not_read_by_making_one() {
    let scene = Scene::new().without_spares();
    scene.create("a");
    let _gone = scene.kill_daemon();
    std::fs::remove_file(scene.home().join("lanes.db-shm")).expect("removed");
    let before = picture(scene.path());
    let said = doctor(&scene, &[]);
    same(&before, &picture(scene.path()));
    assert!(
        said.has("store.integrity", "note")["message"].as_str().expect("text").contains("was not closed")
    );
    scene.ok(&["ls"]);
    doctor(&scene, &[]).is_well();
}

#[test]
fn a_running_daemon_is_not_disturbed() {
    let scene = Scene::new().without_spares();
    for round in 0..20 {
        let making = scene.start(&["create", &format!("n{round}")]);
        let said = doctor(&scene, &[]);
        assert_eq!(said.code, 0, "{:#?}", said.ill());
        assert_eq!(making.wait_with_output().expect("ends").status.code(), Some(0));
    }
    assert_eq!(scene.json(&["ls"])["lanes"].as_array().map(Vec::len), Some(20));
}
