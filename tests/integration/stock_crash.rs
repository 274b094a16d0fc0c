//! `kill -9` of the daemon at each step of making, handing out, moving and preparing spares: no lane is wrong
//! afterwards, and nothing is left.

use std::collections::BTreeSet;
use std::fs;

use super::support::e2e::Scene;
use super::support::stage::until;

fn scene(fault: &str) -> Scene {
    let mut scene = Scene::new();
    scene.may_crash();
    scene.set("LANES_FAULTS", fault);
    scene
}

/// What there is of spares is ready, and as a checkout would be; lanes too; and nothing lies about.
#[track_caller]
fn check_all(scene: &Scene) {
    let base = scene.git(&["rev-parse", "HEAD"]);
    let made = scene.create("after");
    assert_eq!(scene.git_in(&made.path, &["status", "--porcelain", "--ignored"]), "");
    assert_eq!(scene.git_in(&made.path, &["rev-parse", "HEAD"]), base);
    assert_eq!(fs::read_to_string(made.path.join("a.txt")).expect("reads"), "one\ntwo\nthree\n");
    scene.stocked(2, &base);
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(scene.root().join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let ready = |kind: &str| -> BTreeSet<String> {
        let all = scene.spares(kind);
        all.iter().map(|spare| spare["name"].as_str().expect("a name").to_owned()).collect()
    };
    until("nothing else lies there", || {
        names(".pool") == ready("pooled") && names(".template") == ready("template")
    });
    let git = fs::read_dir(scene.repo().join(".git")).expect("a folder").flatten();
    let left: Vec<String> = git
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("lanes-spare") || name.starts_with(".lanes"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let lanes: BTreeSet<String> = scene.json(&["ls"])["lanes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|lane| lane["name"].to_string())
        .collect();
    let inventory = scene.inventory();
    assert_eq!(inventory.trees.len(), lanes.len(), "{inventory:#?}");
    assert_eq!(inventory.admin.len(), lanes.len(), "{inventory:#?}");
    assert_eq!(inventory.branches.len(), lanes.len() + 1, "{inventory:#?}");
    for spare in scene.spares("pooled") {
        let tree = std::path::PathBuf::from(spare["path"].as_str().expect("a path"));
        assert_eq!(scene.git_in(&tree, &["status", "--porcelain", "--ignored"]), "");
    }
}

#[track_caller]
fn check_background(point: &str) {
    let mut scene = scene(&format!("{point}=kill"));
    let _perhaps_cut_off = scene.lanes(&["create", "before"]);
    scene.daemon_dies();
    scene.set("LANES_FAULTS", "");
    check_all(&scene);
}

#[test]
fn while_spares_are_made() {
    for point in [
        "spare.begin",
        "spare.added",
        "spare.aged",
        "spare.entered",
        "spare.copied",
        "spare.filled",
        "stock.watched",
        "stock.job",
    ] {
        check_background(point);
    }
}

#[test]
fn while_a_tree_is_handed_out() {
    for point in ["claim.token", "claim.branch", "claim.head", "claim.gitdir", "claim.moved", "stock.chosen"]
    {
        let mut scene = scene("");
        scene.create("before");
        scene.stocked(2, &scene.git(&["rev-parse", "HEAD"]));
        scene.ok(&["daemon", "stop"]);
        scene.set("LANES_FAULTS", format!("{point}=kill"));
        let _cut_off = scene.lanes(&["create", "cut-off"]);
        scene.daemon_dies();
        scene.set("LANES_FAULTS", "");
        check_all(&scene);
    }
}

#[test]
fn while_spares_follow_the_base() {
    for point in ["retarget.begun", "retarget.moved", "retarget.aged"] {
        let mut scene = scene("");
        scene.create("before");
        scene.stocked(2, &scene.git(&["rev-parse", "HEAD"]));
        scene.ok(&["daemon", "stop"]);
        scene.write("more.txt", "more\n");
        scene.commit("more");
        scene.set("LANES_FAULTS", format!("{point}=kill"));
        let _perhaps_cut_off = scene.lanes(&["create", "during"]);
        scene.daemon_dies();
        scene.set("LANES_FAULTS", "");
        check_all(&scene);
    }
}

#[test]
fn while_spares_are_given_up() {
    for point in ["unspare.tree", "unspare.entry"] {
        let mut scene = scene("");
        scene.create("before");
        scene.stocked(2, &scene.git(&["rev-parse", "HEAD"]));
        scene.ok(&["daemon", "stop"]);
        scene.write("lanes.toml", "[pool]\nsize = 0\n");
        scene.set("LANES_FAULTS", format!("{point}=kill"));
        let _perhaps_cut_off = scene.lanes(&["create", "during"]);
        scene.daemon_dies();
        scene.set("LANES_FAULTS", "");
        fs::remove_file(scene.repo().join("lanes.toml")).expect("removes");
        check_all(&scene);
    }
}

#[test]
fn while_a_tree_that_somebody_worked_in_is_put_aside() {
    let mut scene = scene("");
    scene.create("before");
    scene.stocked(2, &scene.git(&["rev-parse", "HEAD"]));
    scene.ok(&["daemon", "stop"]);
    let spare = scene.spares("pooled").remove(0);
    let tree = std::path::PathBuf::from(spare["path"].as_str().expect("a path"));
    fs::write(tree.join("a.txt"), "mine\n").expect("writes");
    fs::write(tree.join("new.txt"), "mine, too\n").expect("writes");
    scene.set("LANES_FAULTS", "aside.held=kill");
    let _starts_it = scene.lanes(&["ls"]);
    scene.daemon_dies();
    scene.set("LANES_FAULTS", "");
    // It carries an order by now, so that it is taken up like each tree of which there is no record.
    let listed = scene.json(&["ls"]);
    let lanes = listed["lanes"].as_array().expect("a list");
    let found = lanes.iter().find(|lane| lane["name"].to_string().contains("pooled-")).expect("it is a lane");
    let path = std::path::PathBuf::from(found["worktree"].as_str().expect("a path"));
    assert_eq!(fs::read_to_string(path.join("a.txt")).expect("reads"), "mine\n");
    assert_eq!(fs::read_to_string(path.join("new.txt")).expect("reads"), "mine, too\n");
    assert!(scene.spares("pooled").iter().all(|other| other["name"] != spare["name"]));
    let made = scene.create("after");
    assert_eq!(scene.git_in(&made.path, &["status", "--porcelain", "--ignored"]), "");
    assert_eq!(fs::read_to_string(made.path.join("a.txt")).expect("reads"), "one\ntwo\nthree\n");
}

#[test]
fn while_a_tree_is_prepared() {
    let scene = scene("");
    scene.write(".gitignore", "began\n");
    scene.write("lanes.toml", "[pool]\nprepare = 'touch began; while test -e \"$LANES_HOME/hold\"; do sleep 0.05; done; rm began'\n");
    scene.commit("with a command");
    scene.ok(&["trust", "--yes"]);
    fs::create_dir_all(scene.home()).expect("a home");
    fs::write(scene.home().join("hold"), "").expect("holds it up");
    scene.create("before");
    let began = || {
        let pool = fs::read_dir(scene.root().join(".pool")).into_iter().flatten().flatten();
        pool.map(|tree| tree.path().join("began")).any(|file| file.exists())
    };
    until("it runs", began);
    let running = scene.inventory().processes;
    scene.kill_daemon();
    // What it had started is ended by the next one, which begins it anew, and its tree is no spare.
    scene.ok(&["ls"]);
    until("it has ended", || scene.inventory().processes.is_disjoint(&running));
    fs::remove_file(scene.home().join("hold")).expect("lets it go on");
    check_all(&scene);
}
