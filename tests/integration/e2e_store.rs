//! The store damaged, cut off, exchanged, deleted and write-protected, around lanes that live.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::e2e::{Made, Scene};
use crate::support::stage::until;

/// A scene with a lane that runs something and holds work, and one in the trash.
fn scene() -> (Scene, Made, Value) {
    let scene = Scene::new();
    scene.may_crash();
    let lane = scene.create_with(&["create", "a", "--", "cat"]);
    scene.sh("a", "echo new > new; echo more > more; git add more; git commit -qm more");
    scene.create("gone");
    scene.sh("gone", "echo kept > kept");
    scene.ok(&["cleanup", "gone"]);
    let task = live(&scene);
    (scene, lane, task)
}

fn live(scene: &Scene) -> Value {
    let tasks = scene.json(&["show", "a"])["lane"]["tasks"].clone();
    let terminal = tasks.as_array().expect("a list").iter().find(|task| task["kind"] == "terminal");
    let terminal = terminal.expect("it is there");
    json!([terminal["id"], terminal["pid"], terminal["keeper_pid"], terminal["state"]])
}

/// Everything is as `scene` made it; then the lane is ended and nothing is left.
fn check_whole(scene: &Scene, lane: &Made, task: &Value) {
    let shown = scene.json(&["show", "a"])["lane"].clone();
    assert_eq!((shown["id"].as_str(), shown["state"].as_str()), (Some(lane.id.as_str()), Some("running")));
    assert_eq!(live(scene), *task, "the same processes");
    scene.ok(&["send", "a", "there"]);
    let terminal = task[0].as_str().expect("an id");
    until("it answers", || scene.ok(&["logs", "a", "--terminal", terminal]).contains("there"));
    assert_eq!(scene.git_in(&lane.path, &["status", "--porcelain"]), "?? new");
    let back = scene.restore(&["gone"]);
    assert_eq!(fs::read_to_string(back.path.join("kept")).expect("reads"), "kept\n");
    scene.ok(&["cleanup", "--all"]);
    scene.nothing_open();
}

fn offsets(scene: &Scene) -> Vec<u64> {
    let text = scene.ok(&["--json", "events", "--since", "0"]);
    let event = |line: &str| serde_json::from_str::<Value>(line).expect("an object")["offset"].as_u64();
    text.lines().map(|line| event(line).expect("a number")).collect()
}

/// Damages the store between two daemons; the next one says so and finds everything again.
fn check_damage(damage: impl FnOnce(&Path), said: &str) {
    let (scene, lane, task) = scene();
    let epoch = scene.events("lane.created")[0]["epoch"].clone();
    scene.ok(&["daemon", "stop"]);
    damage(&scene.home().join("lanes.db"));
    let status = scene.ok(&["daemon", "start"]);
    assert!(status.contains(said), "it is not said: {status}");
    assert_ne!(scene.events("daemon.started")[0]["epoch"], epoch, "offsets begin anew");
    check_whole(&scene, &lane, &task);
}

#[test]
fn a_store_of_garbage_is_kept_aside_and_everything_is_found_again() {
    check_damage(|store| fs::write(store, [0xA5; 20_000]).expect("writes"), "lanes.db.corrupt-");
}

#[test]
fn a_store_that_was_cut_off_is_kept_aside_and_everything_is_found_again() {
    let cut = |store: &Path| {
        let file = fs::OpenOptions::new().write(true).open(store).expect("opens");
        file.set_len(5_000).expect("cuts");
    };
    check_damage(cut, "lanes.db.corrupt-");
}

#[test]
fn a_store_that_was_deleted_between_two_daemons_is_made_from_what_exists() {
    check_damage(|store| fs::remove_file(store).expect("removes"), "the store was not there");
}

#[test]
fn a_store_that_is_deleted_or_exchanged_under_a_daemon_loses_no_event() {
    type Taken = fn(&Path);
    let ways: [(&str, Taken); 3] = [
        ("the store alone", |store| fs::remove_file(store).expect("removes")),
        ("all of it", |store| {
            for suffix in ["", "-wal", "-shm"] {
                fs::remove_file(format!("{}{suffix}", store.display())).expect("removes");
            }
        }),
        ("another in its place", |store| {
            let other = store.with_extension("other");
            fs::write(&other, "").expect("writes");
            fs::rename(&other, store).expect("renames");
        }),
    ];
    for (way, take) in ways {
        let (scene, lane, task) = scene();
        let before = offsets(&scene);
        take(&scene.home().join("lanes.db"));
        scene.create("later");
        scene.ok(&["share", "later"]);
        let now = offsets(&scene);
        assert!(now.len() > before.len() + 3, "{way}");
        assert_eq!(now, (1..=now.len() as u64).collect::<Vec<_>>(), "{way}");
        scene.kill_daemon();
        scene.ok(&["daemon", "start"]);
        let after = offsets(&scene);
        assert!(after.len() > now.len(), "{way}");
        assert_eq!(after, (1..=after.len() as u64).collect::<Vec<_>>(), "{way}: something was lost");
        assert_eq!(scene.json(&["show", "later"])["lane"]["state"], "shared", "{way}");
        check_whole(&scene, &lane, &task);
    }
}

#[test]
fn a_home_that_is_taken_away_is_left_by_its_daemon_and_the_next_one_finds_the_lanes() {
    let scene = Scene::new();
    let lane = scene.create("a");
    fs::write(lane.path.join("new"), "new\n").expect("writes");
    let old = scene.daemon();
    let away = scene.path().join("home-away");
    fs::rename(scene.home(), &away).expect("moves");
    // A new daemon for the same home; the old one is still there, and steps back when it would write.
    scene.ok(&["daemon", "start"]);
    assert_ne!(scene.daemon(), old);
    assert_eq!(scene.json(&["show", "a"])["lane"]["state"], "ready");
    let through_the_old = scene.lanes(&["--home", &away.to_string_lossy(), "share", &lane.id]);
    assert_eq!(through_the_old.code, Some(1), "{}{}", through_the_old.stdout, through_the_old.stderr);
    until("the old one has left", || {
        lanes::proc::process(u32::try_from(old.as_raw_nonzero().get()).expect("a pid")).is_none()
    });
    assert_eq!(fs::read_to_string(lane.path.join("new")).expect("reads"), "new\n");
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
}

/// A file system of its own for the home of a scene.
struct Mounted(std::path::PathBuf);

impl Mounted {
    /// None where this process may not mount.
    fn at(path: &Path) -> Option<Self> {
        let args = ["-t", "tmpfs", "-o", "size=96m,mode=0700", "tmpfs"];
        let done = Command::new("mount").args(args).arg(path).output().expect("starts");
        done.status.success().then(|| Self(path.to_path_buf()))
    }

    fn set(&self, how: &str) {
        let option = format!("remount,{how}");
        let done = Command::new("mount").args(["-o", &option]).arg(&self.0).output().expect("starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_home_that_is_write_protected_is_said_and_serves_again_when_it_is_not() {
    let made = Scene::new();
    fs::create_dir(made.home()).expect("a folder");
    let Some(mounted) = Mounted::at(&made.home()) else {
        eprintln!("not shown: this user may not mount");
        return;
    };
    made.create("a");
    made.ok(&["daemon", "stop"]);
    mounted.set("ro");
    let refused = made.fails(&["ls"], 1, "IO");
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("Read-only")), "{refused}");
    mounted.set("rw");
    assert_eq!(made.json(&["show", "a"])["lane"]["state"], "ready");
    made.ok(&["cleanup", "a"]);
    made.nothing_open();
    // A folder with a file system in it cannot be removed.
    made.ok(&["daemon", "stop"]);
    drop(mounted);
    drop(made);
}
