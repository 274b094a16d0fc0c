//! The runtime is killed while a leftover is dealt with, at any step: nothing of it is lost.

use std::path::{Path, PathBuf};

use lanes::ids::{LaneId, TaskId, TaskKind};
use serde_json::Value;

use crate::support::e2e::Scene;
use crate::support::git::write;
use crate::support::leftovers::locked_tree;
use crate::support::stage::until;

/// The steps of taking hold of a tree and retiring it.
const STEPS: [&str; 16] = [
    "found.begin",
    "found.staged",
    "found.entered",
    "found.pointed",
    "found.held",
    "clean.begin",
    "clean.stopped",
    "retire.begin",
    "retire.intent",
    "retire.pin",
    "retire.tree",
    "retire.admin",
    "retire.branch",
    "retire.done",
    "clean.retired",
    "clean.told",
];

const PRECIOUS: &str = "nobody else has this\n";

fn ids(scene: &Scene) -> Vec<String> {
    let listed = scene.json(&["orphans", "ls"]);
    let listed = listed["orphans"].as_array().expect("a list");
    listed.iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
}

/// Where the file is now, in an open lane or after it was brought back from the trash.
fn brought_back(scene: &Scene, name: &str) -> Option<PathBuf> {
    let lanes = scene.json(&["ls"]);
    let open = lanes["lanes"].as_array().expect("a list").iter().find(|lane| lane["name"] == name);
    let tree = match open {
        Some(lane) => PathBuf::from(lane["worktree"].as_str().expect("a path")),
        None => {
            let ran = scene.lanes(&["--json", "restore", name]);
            let reply: Value = serde_json::from_str(&ran.stdout).ok()?;
            PathBuf::from(reply["lane"]["worktree"].as_str()?)
        }
    };
    Some(tree.join("precious")).filter(|file| file.is_file())
}

/// Kills the runtime at a step of confirming this tree; false when the step was not passed.
fn cut_off(scene: &mut Scene, name: &str, step: &str) -> bool {
    scene.set("LANES_FAULTS", format!("{step}=kill"));
    scene.ok(&["daemon", "start"]);
    let ids = ids(scene);
    assert_eq!(ids.len(), 1, "{step} of {name}: {ids:?}");
    let pid = u32::try_from(scene.daemon().as_raw_nonzero().get()).expect("a pid");
    let start = lanes::proc::start_of(pid);
    let mut confirming = scene.start(&["orphans", "confirm", &ids[0]]);
    let died = || lanes::proc::process(pid).is_none_or(|it| Some(it.start) != start || it.is_dead());
    let mut code = None;
    while !died() && code.is_none() {
        code = confirming.try_wait().expect("asks");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let died = died();
    // A client that lost its runtime has asked another one, which the fault kills as well, or has given up.
    let _whatever_it_says = confirming.wait();
    scene.set("LANES_FAULTS", "");
    let _may_be_gone = scene.lanes(&["daemon", "stop"]);
    died
}

fn nothing_is_lost(plant: impl Fn(&Scene, &str) -> PathBuf, passed_at_least: usize) {
    let mut scene = Scene::new();
    scene.configure("[watchdog]\nevery = \"200ms\"\n[daemon]\ncrash_limit = 0\n");
    scene.create("keeps-the-root");
    scene.ok(&["daemon", "stop"]);
    let mut passed = 0;
    for step in STEPS {
        let name = step.replace('.', "-");
        let tree = plant(&scene, &name);
        write(&tree.join("precious"), PRECIOUS);
        passed += usize::from(cut_off(&mut scene, &name, step));
        scene.ok(&["daemon", "start"]);
        // What was not taken hold of is suggested again; and rests of the attempt may be.
        for id in ids(&scene) {
            scene.ok(&["orphans", "confirm", &id]);
        }
        until("nothing is on its way", || {
            let lanes = scene.json(&["ls"]);
            let all = lanes["lanes"].as_array().expect("a list").clone();
            all.iter().all(|lane| lane["state"] != "cleaning")
        });
        let file = brought_back(&scene, &name).unwrap_or_else(|| panic!("{step}: it is gone"));
        assert_eq!(std::fs::read_to_string(&file).expect("reads"), PRECIOUS, "{step}");
        scene.ok(&["cleanup", &name]);
        assert_eq!(ids(&scene), Vec::<String>::new(), "{step}");
        scene.ok(&["daemon", "stop"]);
    }
    assert!(passed >= passed_at_least, "only {passed} steps were passed");
}

#[test]
fn a_confirm_that_is_cut_off_loses_no_file_of_a_tree_without_token() {
    nothing_is_lost(locked_tree, 14);
}

#[test]
fn a_confirm_that_is_cut_off_loses_no_file_of_a_folder_that_git_does_not_know() {
    let plant = |scene: &Scene, name: &str| {
        let folder = scene.root().join(name);
        std::fs::create_dir(&folder).expect("makes");
        folder
    };
    nothing_is_lost(plant, 15);
}

#[test]
fn what_erased_its_mark_and_lost_its_keeper_is_suggested_also_after_its_lane_is_closed() {
    let scene = Scene::new();
    scene.configure("[watchdog]\nevery = \"200ms\"\n");
    scene.create("a");
    let said = scene.path().join("tmp/pid");
    // Out of every control group that it can leave, its environment erased, in a session of its own.
    let leave = "for file in $(awk '/ cgroup/ {print $2}' /proc/mounts); do echo 0 >$file/cgroup.procs; done 2>/dev/null";
    let inner = format!("{leave}; echo $$ >{0}.new; mv {0}.new {0}; exec sleep 300", said.display());
    write(&scene.path().join("tmp/inner"), &inner);
    let inner = scene.path().join("tmp/inner");
    let script = format!("env -i PATH=\"$PATH\" setsid sh {} & sleep 300", inner.display());
    scene.ok(&["exec", "a", "--detach", "--", "sh", "-c", &script]);
    until("it runs", || said.exists());
    let pid: u32 = std::fs::read_to_string(&said).expect("reads").trim().parse().expect("a pid");
    let hidden = lanes::proc::process(pid).expect("it lives");
    let task = scene.json(&["show", "a"])["lane"]["tasks"][0].clone();
    let keeper = u32::try_from(task["keeper_pid"].as_u64().expect("a pid")).expect("a pid");
    let keeper = lanes::proc::process(keeper).expect("it lives");
    assert!(lanes::keeper::signal(&keeper, &[rustix::process::Signal::KILL]));
    until("its end is known", || scene.json(&["show", "a"])["lane"]["tasks"][0]["lost"] == "keeper_ended");
    let lives = || lanes::proc::process(pid).is_some_and(|it| it.start == hidden.start && !it.is_dead());
    if !lives() {
        println!("it could not leave its control group, and was ended with it");
        scene.ok(&["cleanup", "a"]);
        return;
    }
    until("it is suggested", || ids(&scene).len() == 1);
    scene.ok(&["cleanup", "a"]);
    let id = ids(&scene);
    assert_eq!(id.len(), 1, "its lane is closed, and it lives");
    scene.ok(&["orphans", "confirm", &id[0]]);
    assert!(!lives());
    assert_eq!(scene.events("orphan.suggested").len(), 1, "the same thing, told once");
}

#[test]
fn what_a_runtime_left_in_its_home_is_dealt_with_after_a_crash_in_between() {
    let scene = Scene::new();
    scene.configure("[watchdog]\nevery = \"200ms\"\n[daemon]\ncrash_limit = 0\n");
    scene.create("a");
    let home = scene.home();
    let logs = home.join("logs").join(LaneId::generate().to_string());
    write(&logs.join(TaskId::generate(TaskKind::Run).to_string()).join("0.log"), "output");
    until("it is suggested", || ids(&scene).len() == 1);
    let id = ids(&scene)[0].clone();
    scene.kill_daemon();
    scene.ok(&["daemon", "start"]);
    assert_eq!(ids(&scene), std::slice::from_ref(&id), "the same id");
    assert_eq!(scene.events("orphan.suggested").len(), 1);
    scene.ok(&["orphans", "confirm", &id]);
    assert!(!Path::new(&logs).exists());
}
