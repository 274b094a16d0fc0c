//! `lanes gc`: what nobody needs is said and freed, and nothing of a lane or of the trash within its time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lanes::ids::WorkspaceId;
use lanes::worktree::spare::spare_name;
use lanes::worktree::{Spare, SpareKind, write_spare};
use serde_json::Value;

use crate::support::e2e::Scene;
use crate::support::stage::until;

/// Makes a pooled tree by hand, as one of a home; a home that is not there is one that is gone.
fn put(scene: &Scene, home: &Path, ready: bool) -> PathBuf {
    let name = spare_name(home);
    let root = scene.root().canonicalize().expect("a root");
    let path = root.join(SpareKind::Pooled.folder()).join(&name);
    let text = path.to_str().expect("text");
    let reason = "lanes spare another-boot 1";
    scene.git(&["worktree", "add", "-q", "--detach", "--lock", "--reason", reason, text, "HEAD"]);
    let spare = Spare {
        kind: SpareKind::Pooled,
        home: home.into(),
        workspace_id: WorkspaceId::generate(),
        root: root.as_path().into(),
        path: path.as_path().into(),
        base: scene.git(&["rev-parse", "HEAD"]),
        print: "print".to_owned(),
        prepared: None,
        ready,
        at: lanes::clock::now(),
    };
    write_spare(&scene.repo().join(".git/worktrees").join(&name), &spare).expect("written");
    path
}

/// The trees of the spares of a kind that are ready, and at a commit.
fn trees(scene: &Scene, kind: &str, base: &str) -> Vec<PathBuf> {
    let at_base = scene.spares(kind).into_iter().filter(|spare| spare["base"] == base);
    at_base.map(|spare| PathBuf::from(spare["path"].as_str().expect("a path"))).collect()
}

/// The only one.
#[track_caller]
fn only(mut trees: Vec<PathBuf>) -> PathBuf {
    assert_eq!(trees.len(), 1, "{trees:?}");
    trees.remove(0)
}

/// What a reply says was freed: the kind and the path.
fn freed(reply: &Value) -> BTreeSet<(String, PathBuf)> {
    let one = |view: &Value| {
        let text = |key: &str| view[key].as_str().expect("a text").to_owned();
        assert!(view["bytes"].as_u64().expect("a number") > 0, "{view}");
        assert!(view["inodes"].as_u64().expect("a number") > 0, "{view}");
        (text("kind"), PathBuf::from(text("path")))
    };
    let all: Vec<_> = reply["freed"].as_array().expect("a list").iter().map(one).collect();
    let sum = |key: &str| -> u64 {
        reply["freed"].as_array().expect("a list").iter().filter_map(|view| view[key].as_u64()).sum()
    };
    assert_eq!(
        (reply["bytes"].as_u64(), reply["inodes"].as_u64()),
        (Some(sum("bytes")), Some(sum("inodes")))
    );
    all.into_iter().collect()
}

fn set(all: &[(&str, &PathBuf)]) -> BTreeSet<(String, PathBuf)> {
    all.iter().map(|(kind, path)| ((*kind).to_owned(), (*path).clone())).collect()
}

/// One open lane with work in it, and one in the trash, saved.
fn worked(scene: &Scene) -> (PathBuf, String) {
    let open = scene.create("open");
    std::fs::write(open.path.join("mine.txt"), "mine").expect("written");
    let closed = scene.create("closed");
    std::fs::write(closed.path.join("theirs.txt"), "theirs").expect("written");
    scene.ok(&["cleanup", "closed"]);
    let _saved = scene.saved(&closed.id);
    (open.path, closed.id)
}

/// The lane is as it was, and what is in the trash comes back.
fn all_is_there(scene: &Scene, open: &Path) {
    assert_eq!(std::fs::read_to_string(open.join("mine.txt")).expect("it is there"), "mine");
    assert_eq!(scene.git_in(open, &["status", "--porcelain"]), "?? mine.txt");
    let back = scene.restore(&["closed"]);
    assert_eq!(std::fs::read_to_string(back.path.join("theirs.txt")).expect("it is there"), "theirs");
}

fn shelved(scene: &Scene) {
    scene.configure("[pool]\nsize = 1\nmax = 1\n[daemon]\ncrash_limit = 0\n");
}

/// A template and a ready tree of another home, which was thrown away afterwards.
fn of_a_home_that_is_gone(scene: &Scene, base: &str) -> [PathBuf; 2] {
    let home = scene.path().join("another-home");
    let before = ["template", "pooled"].map(|kind| trees(scene, kind, base));
    let ok = |args: &[&str]| {
        let ran = scene.command(&scene.repo(), args).env("LANES_HOME", &home).output().expect("runs");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    };
    ok(&["create", "theirs"]);
    let theirs = || {
        let new = |(kind, before): (&str, &Vec<PathBuf>)| {
            trees(scene, kind, base).into_iter().filter(|tree| !before.contains(tree)).collect::<Vec<_>>()
        };
        [new(("template", &before[0])), new(("pooled", &before[1]))]
    };
    until("it has its own", || theirs().iter().all(|trees| trees.len() == 1));
    ok(&["cleanup", "theirs"]);
    ok(&["daemon", "stop"]);
    std::fs::remove_dir_all(&home).expect("thrown away");
    theirs().map(only)
}

#[test]
fn what_nobody_needs_is_said_and_freed_and_nothing_else() {
    let scene = Scene::new();
    shelved(&scene);
    let (open, _closed) = worked(&scene);
    let old = scene.git(&["rev-parse", "HEAD"]);
    scene.stocked(1, &old);
    // What was made before cannot follow this one.
    scene.write(".gitattributes", "*.bin -text\n");
    let base = scene.commit("second");
    scene.stocked(1, &base);
    until("the tree of before is given up", || trees(&scene, "pooled", &old).is_empty());
    let unused = only(trees(&scene, "template", &old));
    let (template, ready) = (only(trees(&scene, "template", &base)), only(trees(&scene, "pooled", &base)));
    let half = put(&scene, &scene.home(), false);
    let [homeless, worked_in] = of_a_home_that_is_gone(&scene, &base);
    std::fs::write(worked_in.join("note.txt"), "work").expect("written");
    let living = scene.path().join("living-home");
    std::fs::create_dir(&living).expect("a folder");
    let foreign = put(&scene, &living, true);

    let expected = set(&[("rubbish", &half), ("template", &unused), ("template", &homeless)]);
    let before = scene.inventory();
    let said = scene.lanes(&["--json", "gc", "--dry-run"]);
    let reply: Value = serde_json::from_str(&said.stdout).expect("an object");
    assert_eq!(freed(&reply), expected, "{reply}");
    assert!(reply["notes"][0].as_str().expect("a note").contains(worked_in.to_str().expect("text")));
    assert_eq!(scene.inventory(), before, "nothing has changed");
    assert!(expected.iter().all(|(_kind, path)| path.is_dir()));

    let said = scene.lanes(&["--json", "gc"]);
    assert_eq!(said.code, Some(1), "something had to stay");
    let reply: Value = serde_json::from_str(&said.stdout).expect("an object");
    assert_eq!(freed(&reply), expected, "{reply}");
    for (_kind, path) in &expected {
        assert!(path.symlink_metadata().is_err(), "{} is gone", path.display());
        let admin = scene.repo().join(".git/worktrees").join(path.file_name().expect("a name"));
        assert!(admin.symlink_metadata().is_err(), "its entry too");
    }
    for path in [&template, &ready, &worked_in, &foreign] {
        assert_eq!(scene.git_in(path, &["rev-parse", "--is-inside-work-tree"]), "true");
    }
    std::fs::remove_dir_all(&worked_in).expect("removed by its owner");
    scene.git(&["worktree", "unlock", worked_in.to_str().expect("text")]);
    scene.git(&["worktree", "prune"]);
    assert_eq!(freed(&scene.json(&["gc"])), BTreeSet::new());

    let all = set(&[("template", &template), ("pooled", &ready)]);
    assert_eq!(freed(&scene.json(&["gc", "--all"])), all, "every spare, of ours only");
    assert!(foreign.is_dir());
    // None is made before a lane is asked for.
    let ours = |kind: &str| trees(&scene, kind, &base).into_iter().filter(|tree| *tree != foreign).count();
    assert_eq!((ours("template"), ours("pooled")), (0, 0));
    let _next = scene.create("next");
    scene.stocked(2, &base);
    all_is_there(&scene, &open);
    scene.git(&["worktree", "remove", "-f", "-f", foreign.to_str().expect("text")]);
}

#[test]
fn a_spare_that_somebody_works_in_is_not_freed() {
    let scene = Scene::new();
    shelved(&scene);
    let _lane = scene.create("a");
    let base = scene.git(&["rev-parse", "HEAD"]);
    scene.stocked(1, &base);
    let (template, ready) = (only(trees(&scene, "template", &base)), only(trees(&scene, "pooled", &base)));
    std::fs::write(ready.join("mine.txt"), "mine").expect("written");
    let said = scene.lanes(&["--json", "gc", "--all"]);
    let reply: Value = serde_json::from_str(&said.stdout).expect("an object");
    assert_eq!(freed(&reply), set(&[("template", &template)]), "{reply}");
    until("it was set aside", || !scene.events("lane.worktree.set_aside").is_empty());
    let event = scene.events("lane.worktree.set_aside").remove(0);
    let back = scene.restore(&[event["payload"]["trash"].as_str().expect("an id")]);
    assert_eq!(std::fs::read_to_string(back.path.join("mine.txt")).expect("it is there"), "mine");
}

#[test]
fn people_read_what_it_was_and_how_much() {
    let scene = Scene::new();
    shelved(&scene);
    let _lane = scene.create("a");
    scene.stocked(1, &scene.git(&["rev-parse", "HEAD"]));
    let half = put(&scene, &scene.home(), false);
    let told = scene.json(&["doctor"]).to_string();
    assert!(told.contains("1 spare tree was left behind"), "{told}");
    let said = scene.ok(&["gc", "--dry-run"]);
    assert!(said.starts_with(&format!("would free rubbish {}, ", half.display())), "{said}");
    assert!(said.contains(" inodes: it was left behind unfinished"), "{said}");
    let told = scene.ok(&["doctor", "--fix"]);
    assert!(told.contains("left behind"), "{told}");
    assert!(half.symlink_metadata().is_err());
    let again = scene.lanes(&["gc"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), ""));
    assert!(again.stderr.contains("nothing to free"), "{}", again.stderr);
}

#[test]
fn trash_past_its_time_and_trees_that_are_archived_are_freed() {
    let mut scene = Scene::new();
    shelved(&scene);
    scene.set("LANES_FAULTS", "save.recorded=error:EIO gc.retired=kill");
    let a = scene.create("a");
    std::fs::write(a.path.join("mine.txt"), "mine").expect("written");
    scene.ok(&["cleanup", "a"]);
    let tree = scene.root().canonicalize().expect("a root").join(".trash").join(&a.id).join("tree");
    let archive = tree.with_file_name("files.tar.gz");
    until("it is archived and not freed", || archive.is_file() && tree.is_dir());
    let said = freed(&scene.json(&["gc", "--dry-run"]));
    assert_eq!(said, set(&[("retired", &tree)]));
    let _killed = scene.lanes(&["gc"]);
    assert!(archive.is_file() && tree.is_dir());
    // The faults were those of the daemon that was started with them.
    scene.set("LANES_FAULTS", "");
    let _freed_by_it_or_by_recovery = scene.json(&["gc"]);
    until("the tree is freed", || !tree.exists());
    assert!(archive.is_file(), "what was in it is kept");

    scene.ok(&["daemon", "stop"]);
    scene.configure("[trash]\nkeep = \"1ms\"\n[daemon]\ncrash_limit = 0\n");
    let entry = tree.parent().expect("a folder").to_path_buf();
    let reply = scene.json(&["gc"]);
    let gone = freed(&reply);
    assert!(gone.is_empty() || gone == set(&[("trash", &entry)]), "it, or what looks at the start: {gone:?}");
    until("the entry is freed", || !entry.exists());
}

/// The spares, and what they take.
fn weight(scene: &Scene) -> (usize, usize, u64) {
    let all =
        |folder: &str| lanes::worktree::measure(&scene.root().join(folder)).map_or(0, |usage| usage.bytes);
    (scene.spares("template").len(), scene.spares("pooled").len(), all(".template") + all(".pool"))
}

#[test]
fn spares_stay_within_the_budget_and_are_given_up_for_a_smaller_one() {
    let scene = Scene::new();
    scene.write("big", &"0123456789abcdef".repeat(20_000));
    scene.commit("large");
    scene.configure("[pool]\nsize = 3\n[disk]\nbudget = \"800KiB\"\n");
    let _first = scene.create("a");
    until("there is room for two", || {
        let (templates, pooled, bytes) = weight(&scene);
        assert!(bytes <= 800 << 10, "{templates} {pooled} {bytes}");
        (templates, pooled) == (1, 1)
    });
    // The next ones come from it, and it is not more afterwards.
    for name in ["b", "c"] {
        let _made = scene.create(name);
        until("it is filled again", || {
            let (templates, pooled, bytes) = weight(&scene);
            assert!(bytes <= 800 << 10, "{templates} {pooled} {bytes}");
            (templates, pooled) == (1, 1)
        });
    }
    scene.write("lanes.toml", "[disk]\nbudget = \"400KiB\"\n");
    until("the ready one is given up", || (1, 0) == (weight(&scene).0, weight(&scene).1));
    let told = scene.json(&["doctor"]).to_string();
    assert!(told.contains("spares.room"), "{told}");
    scene.write("lanes.toml", "[disk]\nbudget = \"1KiB\"\n");
    until("all are given up", || (0, 0) == (weight(&scene).0, weight(&scene).1));
    // A budget refuses no lane.
    let _made = scene.create("d");
}

#[test]
fn on_a_full_disk_spares_go_first_and_then_it_is_said_what_helps() {
    let scene = Scene::new();
    scene.write("big", &"0123456789abcdef".repeat(20_000));
    scene.commit("large");
    scene.configure("[pool]\nsize = 1\nmax = 1\n");
    let limit = |bytes: u64| scene.write("lanes.toml", &format!("[disk]\nmin_free = {bytes}\n"));
    let stat = rustix::fs::statvfs(scene.path()).expect("a disk");
    limit(0);
    let first = scene.create("a");
    scene.stocked(1, &scene.git(&["rev-parse", "HEAD"]));
    scene.ok(&["cleanup", "a"]);
    scene.saved(&first.id);
    limit(stat.f_bavail * stat.f_frsize * 2);
    until("the spares are given up", || (0, 0) == (weight(&scene).0, weight(&scene).1));
    let said = ["disk.min_free", "lanes gc", "closed lanes take"];
    scene.refuses(&["create", "b"], 3, "DISK_LOW", &said);
    limit(0);
    let _second = scene.create("b");
}

#[test]
fn a_gc_that_is_killed_anywhere_is_done_by_the_next() {
    for point in ["gc.rubbish=kill", "gc.spare=kill", "gc.spare=kill@2", "gc.trash=kill", "gc.done=kill"] {
        let mut scene = Scene::new();
        shelved(&scene);
        let (open, _closed) = worked(&scene);
        scene.stocked(1, &scene.git(&["rev-parse", "HEAD"]));
        scene.ok(&["daemon", "stop"]);
        let _half = put(&scene, &scene.home(), false);
        scene.set("LANES_FAULTS", point);
        let _cut_off = scene.lanes(&["gc", "--all"]);
        scene.set("LANES_FAULTS", "");
        let _rest = scene.json(&["gc", "--all"]);
        let names = |folder: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        for folder in [".pool", ".template"] {
            assert_eq!(names(&scene.root().join(folder)), Vec::<String>::new(), "{point}");
        }
        let spares = names(&scene.repo().join(".git/worktrees"));
        assert!(spares.iter().all(|name| !name.starts_with("spare-")), "{point}: {spares:?}");
        all_is_there(&scene, &open);
    }
}
