//! The whole program when a disk is full: that of the trees, of the home, of the repository; in bytes and in
//! inodes. Nothing may be lost or left, the message says what helps, and with room again all goes on.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::e2e::Scene;
use crate::support::git::{Mounted, write};
use crate::support::stage::until;
use crate::support::state::State;

/// Nothing asks for more room than there is.
const NO_FLOORS: &str = "[disk]\nmin_free = 0\nmin_inodes = 0\n";

/// A tmpfs with these options at a folder of the scene; none where this process may not mount.
fn small(at: &Path, options: &str) -> Option<Mounted> {
    fs::create_dir_all(at).expect("a folder");
    fs::set_permissions(at, fs::Permissions::from_mode(0o700)).expect("permissions");
    Mounted::new(&["-t", "tmpfs", "-o", &format!("{options},mode=0700"), "lanes"].map(OsStr::new), at)
}

/// Gives a tmpfs another size.
fn resize(at: &Path, options: &str) {
    let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(at).output();
    assert!(done.is_ok_and(|output| output.status.success()));
}

/// Fills a disk to the last byte; removing what comes back makes room again.
fn fill(disk: &Path) -> PathBuf {
    let free = || rustix::fs::statvfs(disk).map(|disk| disk.f_bavail * disk.f_frsize).expect("a disk");
    let path = disk.join(format!("ballast-{}", uuid::Uuid::new_v4().simple()));
    let mut file = File::create(&path).expect("a file");
    let none = rustix::fs::FallocateFlags::empty();
    while free() > 0 {
        let length = file.metadata().expect("a file").len();
        if rustix::fs::fallocate(&file, none, length, free().max(1)).is_err() {
            break;
        }
    }
    while file.write_all(&[1; 4096]).is_ok() {}
    path
}

/// Uses every inode of a disk; removing the folder that comes back makes room again.
fn fill_inodes(disk: &Path) -> PathBuf {
    let folder = disk.join("files");
    fs::create_dir(&folder).expect("a folder");
    let _full = (0..100_000).find(|number| File::create(folder.join(number.to_string())).is_err());
    folder
}

/// The daemon ends and nothing of it stays: what is mounted can be unmounted.
fn stop(scene: &Scene) {
    let left = scene.stop();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn no_lane_is_made_where_the_trees_have_no_room_and_nothing_of_it_stays() {
    let scene = Scene::new();
    scene.write("big", &"0123456789abcdef".repeat(100_000));
    (0..60).for_each(|number| scene.write(&format!("many/{number}"), "x\n"));
    scene.commit("large");
    let root = scene.root();
    let Some(_trees) = small(&root, "size=600m,nr_inodes=80") else { return };
    scene.refuses(&["create", "a"], 3, "DISK_LOW", &["inodes", "repo.lanes", "disk.min_inodes"]);
    resize(&root, "size=1m,nr_inodes=20000");
    scene.refuses(&["create", "a"], 3, "DISK_LOW", &["bytes", "repo.lanes", "disk.min_free"]);
    // Without floors it fails in the middle, or before the first file.
    scene.configure(NO_FLOORS);
    scene.ok(&["daemon", "restart"]);
    let full = |words: &[&str]| {
        scene.refuses(
            &["create", "a"],
            3,
            "DISK_LOW",
            &[&["repo.lanes", "lanes trash empty"], words].concat(),
        );
    };
    full(&["bytes"]);
    resize(&root, "size=1m,nr_inodes=40");
    full(&["free"]);
    resize(&root, "size=8m,nr_inodes=40");
    full(&["inodes"]);
    let files = fill_inodes(&root);
    full(&["free"]);
    fs::remove_dir_all(files).expect("removed");
    resize(&root, "size=8m,nr_inodes=20000");
    let ballast = fill(&root);
    full(&["free"]);
    let _gone = fs::remove_file(root.join(".workspace"));
    let more = fill(&root);
    full(&["free"]);
    assert!(scene.json(&["ls"])["lanes"].as_array().expect("lanes").is_empty());
    [ballast, more].iter().for_each(|path| fs::remove_file(path).expect("removed"));
    let lane = scene.create("a");
    assert_eq!(fs::metadata(lane.path.join("big")).expect("there").len(), 1_600_000);
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
    stop(&scene);
}

#[test]
fn no_lane_is_made_where_the_repository_has_no_room_and_nothing_of_it_stays() {
    let scene = Scene::new().without_spares();
    let Some(_repository) = small(&scene.repo(), "size=4m,nr_inodes=400") else { return };
    scene.git(&["init", "-q"]);
    scene.write("a.txt", "one\n");
    scene.commit("first");
    let before = scene.create("before");
    let work = State::of(&scene, &before.path);
    let full = || {
        scene.refuses(&["create", "a"], 3, "DISK_LOW", &["repo/.git", "free", "lanes trash empty"]);
    };
    let ballast = fill(&scene.repo());
    full();
    // Room for a few files of git, but not for all.
    for bytes in [4096, 12_288, 20_480] {
        let file = File::options().write(true).open(&ballast).expect("a file");
        let length = file.metadata().expect("a file").len();
        file.set_len(length - bytes).expect("cut");
        scene.refuses(&["create", "a"], 3, "DISK_LOW", &["free"]);
    }
    fs::remove_file(&ballast).expect("removed");
    let files = fill_inodes(&scene.repo());
    full();
    for number in 0..6 {
        fs::remove_file(files.join(number.to_string())).expect("removed");
        scene.refuses(&["create", "a"], 3, "DISK_LOW", &["free"]);
    }
    fs::remove_dir_all(files).expect("removed");
    work.same(&State::of(&scene, &before.path));
    scene.create("a");
    scene.ok(&["cleanup", "a", "before"]);
    scene.nothing_open();
    stop(&scene);
}

#[test]
fn what_is_in_the_trash_of_a_full_disk_stays_restorable() {
    let scene = Scene::new();
    scene.configure(NO_FLOORS);
    let root = scene.root();
    let Some(_trees) = small(&root, "size=12m") else { return };
    let noise = |seed: u64| -> Vec<u8> {
        let next = |state: &mut u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Some(state.to_be_bytes())
        };
        let mut state = seed;
        std::iter::from_fn(|| next(&mut state)).take(100_000).flatten().collect()
    };
    let (archived, whole) = (scene.create("archived"), scene.create("whole"));
    for (lane, seed) in [(&archived, 1), (&whole, 2)] {
        fs::write(lane.path.join("noise"), noise(seed)).expect("writes");
        write(&lane.path.join("a.txt"), "changed\n");
        scene.git_in(&lane.path, &["add", "a.txt"]);
    }
    // A tree with a repository in it is kept as it is.
    scene.git_in(&whole.path, &["init", "-q", "nested"]);
    let before = [&archived, &whole].map(|lane| State::of(&scene, &lane.path));
    scene.ok(&["cleanup", "archived", "whole"]);
    assert_eq!(scene.saved(&archived.id)["state"], "archived");
    assert_eq!(scene.saved(&whole.id)["state"], "whole");
    let _reserve = fs::remove_file(root.join(".reserve"));
    let ballast = fill(&root);
    scene.refuses(&["restore", "archived"], 3, "DISK_LOW", &["repo.lanes", "free", "lanes trash empty"]);
    // Room for a part of it.
    let file = File::options().write(true).open(&ballast).expect("a file");
    file.set_len(file.metadata().expect("a file").len() - 400_000).expect("cut");
    drop(file);
    scene.refuses(&["restore", "archived"], 3, "DISK_LOW", &["repo.lanes", "free", "lanes trash empty"]);
    let _all_of_it = fill(&root);
    scene.refuses(&["restore", "whole"], 3, "DISK_LOW", &["repo.lanes", "free", "lanes trash empty"]);
    for file in fs::read_dir(&root).expect("a folder").flatten() {
        if file.file_name().to_string_lossy().starts_with("ballast") {
            fs::remove_file(file.path()).expect("removed");
        }
    }
    before[0].same(&State::of(&scene, &scene.restore(&["archived"]).path));
    before[1].same(&State::of(&scene, &scene.restore(&["whole"]).path));
    scene.ok(&["cleanup", "archived", "whole"]);
    scene.nothing_open();
    stop(&scene);
}

#[test]
fn a_full_home_with_its_reserve_runs_commands_and_cleans_up_and_makes_no_lane() {
    let scene = Scene::new();
    let home = scene.home();
    let Some(home_disk) = small(&home, "size=112m") else { return };
    let (lane, other) = (scene.create("a"), scene.create("b"));
    write(&other.path.join("new"), "new\n");
    assert_eq!(scene.sh("a", "echo hi"), "hi");
    let ballast = fill(&home);
    let place = home.to_string_lossy().into_owned();
    scene.refuses(&["create", "c"], 3, "DISK_LOW", &[&place, "bytes", "disk.min_free", "lanes trash empty"]);
    assert_eq!(scene.sh("a", "echo to >&2; seq 3"), "1\n2\n3");
    scene.kill_daemon();
    assert_eq!(scene.json(&["show", "a"])["lane"]["state"], "ready");
    scene.ok(&["cleanup", "b"]);
    // With room the reserve is made again; a start without a byte beside it takes it.
    scene.ok(&["daemon", "stop"]);
    fs::remove_file(ballast).expect("removed");
    scene.ok(&["show", "a"]);
    assert!(home.join("lanes.db.reserve").exists());
    scene.ok(&["daemon", "stop"]);
    let ballast = fill(&home);
    assert_eq!(scene.json(&["show", "a"])["lane"]["state"], "ready");
    assert!(!home.join("lanes.db.reserve").exists());
    fs::remove_file(ballast).expect("removed");
    let back = scene.restore(&["b"]);
    assert_eq!(fs::read_to_string(back.path.join("new")).expect("there"), "new\n");
    let told = |topic: &str, of: &str| scene.events(topic).iter().filter(|one| one["lane_id"] == of).count();
    assert_eq!((told("lane.command.completed", &lane.id), told("lane.closed", &other.id)), (2, 1));
    scene.ok(&["cleanup", "a", "b"]);
    scene.nothing_open();
    stop(&scene);
    drop(home_disk);
}

#[test]
fn a_home_without_a_byte_left_refuses_serves_what_it_has_and_goes_on_with_room() {
    let scene = Scene::new();
    scene.configure(NO_FLOORS);
    let home = scene.home();
    // Too small for a reserve.
    let Some(home_disk) = small(&home, "size=60m") else { return };
    scene.create("first");
    let second = scene.create("second");
    scene.create("idle");
    let run = |lane: &str, script: &str| scene.ok(&["exec", lane, "--detach", "--", "sh", "-c", script]);
    let gates = ["one", "two", "three"].map(|name| scene.path().join(name));
    assert!(Command::new("mkfifo").args(&gates).status().is_ok_and(|status| status.success()));
    let open = |gate: &PathBuf| {
        let mut options = File::options();
        options.write(true).custom_flags(libc::O_NONBLOCK);
        until("somebody waits at it", || {
            options.open(gate).is_ok_and(|mut gate| gate.write_all(b"\n").is_ok())
        });
    };
    let [one, two, three] = gates.each_ref().map(|gate| format!("read line < {}", gate.display()));
    let ends = run("first", &format!("{one}; seq 3; exit 7"));
    let goes_on = run("second", &format!("{two}; seq 300; touch said; {three}; exit 8"));
    let ballast = fill(&home);
    let store = home.join("lanes.db").to_string_lossy().into_owned();
    for refused in
        [&["exec", "idle", "--", "true"][..], &["create", "c"], &["share", "first"], &["restore", "nothing"]]
    {
        let code = if refused[0] == "restore" { (4, "LANE_NOT_FOUND") } else { (3, "DISK_LOW") };
        let words: &[&str] = if refused[0] == "restore" { &[] } else { &[&store, "free some space"] };
        scene.refuses(refused, code.0, code.1, words);
    }
    let cleanup = scene.lanes(&["cleanup", "first"]);
    assert_eq!(cleanup.code, Some(3), "{}{}", cleanup.stdout, cleanup.stderr);
    assert!(format!("{}{}", cleanup.stdout, cleanup.stderr).contains("free some space"), "{cleanup:?}");
    gates[..2].iter().for_each(open);
    until("the second has said all", || second.path.join("said").exists());
    until("the first has ended", || home.join("run").join(&ends).join("exit.json").exists());
    // What nobody could write down is asked of the keepers again.
    scene.kill_daemon();
    let listed = scene.json(&["ls"]);
    assert_eq!(listed["lanes"].as_array().expect("lanes").len(), 3, "{listed}");
    assert!(scene.lanes(&["events", "--since", "0"]).stdout.contains("lane.command.started"));
    scene.ok(&["trash", "empty", "--yes"]);
    fs::remove_file(&ballast).expect("removed");
    let ended = scene.lanes(&["wait", "first", "--until", "exit", "--timeout", "20s"]);
    assert_eq!(ended.code, Some(7), "{}{}", ended.stdout, ended.stderr);
    open(&gates[2]);
    let ended = scene.lanes(&["wait", "second", "--until", "exit", "--timeout", "20s"]);
    assert_eq!(ended.code, Some(8), "{}{}", ended.stdout, ended.stderr);
    let expected: String = (1..=300).map(|number| format!("{number}\n")).collect();
    assert_eq!(scene.ok(&["logs", "second", "--run", &goes_on]), expected.trim_end());
    let completed = scene.events("lane.command.completed");
    let codes: Vec<_> = completed.iter().map(|event| event["payload"]["exit"]["code"].clone()).collect();
    assert_eq!(codes.len(), 2, "{completed:?}");
    scene.create("c");
    scene.ok(&["cleanup", "first", "second", "idle", "c"]);
    scene.nothing_open();
    stop(&scene);
    drop(home_disk);
}

#[test]
fn what_fills_the_home_itself_gets_an_answer_and_its_end_is_written_down_later() {
    let scene = Scene::new();
    scene.configure(NO_FLOORS);
    let home = scene.home();
    let Some(home_disk) = small(&home, "size=60m") else { return };
    let lane = scene.create("a");
    let ballast = home.join("ballast");
    let eat = format!("cat /dev/zero > '{}' 2>/dev/null", ballast.display());
    let ran = scene.lanes(&["exec", "a", "--", "sh", "-c", &format!("{eat}; echo done; exit 3")]);
    assert_eq!(ran.code, Some(3), "{}{}", ran.stdout, ran.stderr);
    fs::remove_file(&ballast).expect("removed");
    until("the end is written down", || scene.events("lane.command.completed").len() == 1);
    assert_eq!(scene.json(&["show", "a"])["lane"]["state"], "ready");
    // A hook that fills it while a lane is made: the tree is there, and nobody can write that down.
    let hook = scene.repo().join(".git/hooks/post-checkout");
    write(&hook, &format!("#!/bin/sh\n{eat}\nexit 0\n"));
    crate::support::git::executable(&hook);
    let error = scene.fails(&["create", "b"], 3, "DISK_LOW");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("goes on by itself")), "{error}");
    fs::remove_file(&hook).expect("removed");
    fs::remove_file(&ballast).expect("removed");
    scene.ok(&["wait", "b", "--until", "ready", "--timeout", "20s"]);
    assert_eq!(scene.sh("b", "cat a.txt"), "one\ntwo\nthree");
    assert!(lane.path.join("a.txt").exists());
    scene.ok(&["cleanup", "a", "b"]);
    scene.nothing_open();
    stop(&scene);
    drop(home_disk);
}

#[test]
fn a_daemon_that_cannot_begin_on_a_full_disk_says_what_helps() {
    let scene = Scene::new();
    scene.configure(NO_FLOORS);
    let home = scene.home();
    let Some(home_disk) = small(&home, "size=16m,nr_inodes=60") else { return };
    let refused = || {
        for command in [&["daemon", "start"][..], &["ls"], &["create", "a"]] {
            scene.refuses(command, 3, "DISK_LOW", &["No space left", "free some space"]);
        }
    };
    let ballast = fill(&home);
    refused();
    fs::remove_file(&ballast).expect("removed");
    let files = fill_inodes(&home);
    refused();
    // One file more each time: it stops somewhere else, and says the same.
    for number in 0..12 {
        fs::remove_file(files.join(number.to_string())).expect("removed");
        let ran = scene.lanes(&["--json", "ls"]);
        assert!(ran.code == Some(0) || ran.stderr.contains("DISK_LOW"), "{number}: {}", ran.stderr);
    }
    fs::remove_dir_all(files).expect("removed");
    scene.create("a");
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
    stop(&scene);
    drop(home_disk);
}
