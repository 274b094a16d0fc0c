//! Leftovers of each kind are found, put off, dealt with; nothing of them is lost.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::e2e::Scene;
use crate::support::leftovers::{Planted, locked_tree, marked_process, plant};
use crate::support::stage::until;

/// A scene whose watchdog looks often, with a lane at work, a closed one, and what is the user's own.
fn scene() -> (Scene, String) {
    let scene = Scene::new();
    scene.configure("[watchdog]\nevery = \"500ms\"\n");
    scene.create_with(&["create", "work", "--", "sh", "-c", "nohup sleep 300 & exec cat"]);
    let closed = scene.create("closed");
    scene.ok(&["cleanup", "closed"]);
    scene.saved(&closed.id);
    let own = scene.root().join("users-own");
    scene.git(&["worktree", "add", "-q", "-b", "own", own.to_str().expect("text")]);
    let clone = scene.root().join("users-clone");
    scene.git(&["clone", "-q", ".", clone.to_str().expect("text")]);
    (scene, closed.id)
}

fn orphans(scene: &Scene, args: &[&str]) -> Vec<Value> {
    let mut all = vec!["orphans", "ls"];
    all.extend(args);
    scene.json(&all)["orphans"].as_array().expect("a list").clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("text: {value}")).to_owned()
}

/// `(kind, resource)`, with the pid alone for processes.
fn named(kind: &Value, what: &Value) -> (String, String) {
    let what = text(what);
    let pid = what.strip_prefix("process ").and_then(|rest| rest.split(' ').next().map(str::to_owned));
    (text(kind), pid.unwrap_or(what))
}

/// How many cycles the watchdog has had, without asking it, which would make it look.
fn cycles(scene: &Scene) -> u64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let store = rusqlite::Connection::open_with_flags(scene.home().join("lanes.db"), flags).expect("opens");
    let body =
        store.query_row("SELECT body FROM meta WHERE key = 'watchdog'", [], |row| row.get::<_, String>(0));
    let body: Value = serde_json::from_str(&body.unwrap_or_else(|_none| "{}".into())).expect("JSON");
    body["cycles"].as_u64().unwrap_or(0)
}

fn sorted(planted: &Planted) -> Vec<(String, String)> {
    let mut all: Vec<_> =
        planted.things.iter().map(|(kind, what)| ((*kind).to_owned(), what.clone())).collect();
    all.sort();
    all
}

#[test]
fn one_of_each_kind_is_found_within_two_cycles_and_nothing_else() {
    let (scene, closed) = scene();
    let planted = plant(&scene, &closed);
    let began = std::time::Instant::now();
    until("processes are old enough", || began.elapsed().as_secs() >= 5);
    // One cycle may be under way and have looked before.
    let latest = cycles(&scene) + 3;
    let suggested = || scene.events("orphan.suggested");
    until("all are suggested", || suggested().len() >= planted.things.len());
    let events = suggested();
    let mut found: Vec<_> =
        events.iter().map(|one| named(&one["payload"]["kind"], &one["payload"]["what"])).collect();
    found.sort();
    assert_eq!(found, sorted(&planted));
    for event in &events {
        assert!(event["payload"]["cycle"].as_u64().expect("a number") <= latest, "{latest}: {event}");
    }
    assert_eq!(scene.events("lane.worktree.orphan_found").len(), 4);

    // Asked now: the riskiest first, with age and owner, and each told once.
    let listed = orphans(&scene, &[]);
    let mut resources: Vec<_> = listed.iter().map(|one| named(&one["kind"], &one["resource"])).collect();
    resources.sort();
    assert_eq!(resources, sorted(&planted));
    let risks: Vec<_> = listed.iter().map(|one| text(&one["risk"])).collect();
    let mut expected = risks.clone();
    expected.sort_by_key(|risk| ["high", "medium", "low"].iter().position(|one| one == risk));
    assert_eq!(risks, expected);
    for one in &listed {
        let low = one["owner"] == closed.as_str();
        assert_eq!(one["risk"], if low { "low" } else { "high" }, "{one}");
    }
    let run = listed.iter().find(|one| one["kind"] == "run_folder").expect("listed");
    assert!(run["age_s"].as_u64().expect("a number") >= 7_200, "{run}");
    let before = cycles(&scene);
    until("two more cycles", || cycles(&scene) >= before + 2);
    assert_eq!(suggested().len(), planted.things.len(), "told once");
    assert!(scene.ok(&["orphans", "ls"]).contains("confirm: "));
    let reconciled = scene.json(&["reconcile", "--dry-run"]);
    assert_eq!(reconciled["suggestions"], planted.things.len());
    // Nothing was touched.
    assert_eq!(orphans(&scene, &[]).len(), planted.things.len());
    confirm_all(&scene, planted);
}

/// Files with their bytes, modes and links; without git's own.
fn files(tree: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![tree.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("reads").flatten() {
            let (path, facts) = (entry.path(), entry.path().symlink_metadata().expect("looks"));
            if facts.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = match facts.is_symlink() {
                true => std::fs::read_link(&path).expect("reads").into_os_string().into_encoded_bytes(),
                false => std::fs::read(&path).expect("reads"),
            };
            let inside = path.strip_prefix(tree).expect("below").to_path_buf();
            if inside != Path::new(".git") {
                found.insert(inside, (facts.mode(), bytes));
            }
        }
    }
    found
}

/// Has all of it dealt with: nothing is left, and every tree can be brought back as it was.
fn confirm_all(scene: &Scene, mut planted: Planted) {
    let trees: Vec<PathBuf> =
        planted.things.iter().filter(|(kind, _)| *kind == "worktree").map(|(_, path)| path.into()).collect();
    let before: Vec<_> = trees.iter().map(|tree| files(tree)).collect();
    let commit = scene.git(&["-C", ".git/worktrees/gone", "--git-dir", ".", "rev-parse", "HEAD"]);
    let ids: Vec<String> = orphans(scene, &[]).iter().map(|one| text(&one["id"])).collect();
    let mut args = vec!["orphans", "confirm"];
    args.extend(ids.iter().map(String::as_str));
    let said = scene.ok(&args);
    assert!(planted.process_ended());
    assert!(
        said.contains("branch of-no-token, commit ") && said.contains("2 files were changed or new"),
        "{said}"
    );
    assert_eq!(scene.events("orphan.confirmed").len(), ids.len());
    assert_eq!(orphans(scene, &["--all"]), Vec::<Value>::new());
    let keeper = lanes::proc::process(planted.keeper.0);
    assert!(keeper.is_none_or(|it| it.start != planted.keeper.1 || it.is_dead()), "the keeper lives");
    for (kind, path) in planted.things.iter().filter(|(kind, _)| !matches!(*kind, "process" | "keeper")) {
        assert!(Path::new(path).symlink_metadata().is_err(), "{kind} {path} is there");
    }
    // The user's own and the lane at work were not touched.
    let trees_left: Vec<String> = scene.inventory().trees.into_iter().collect();
    assert_eq!(trees_left, ["users-clone", "users-own", "work"]);
    assert_eq!(scene.json(&["show", "work"])["lane"]["state"], "running");
    // A second time it is done already.
    assert_eq!(scene.lanes(&args).code, Some(0));

    scene.git(&["reflog", "expire", "--expire=now", "--all"]);
    scene.git(&["gc", "-q", "--prune=now"]);
    scene.git(&["cat-file", "-e", &format!("{commit}^{{commit}}")]);
    for (tree, files_before) in trees.iter().zip(before) {
        let name = tree.file_name().expect("a name").to_str().expect("text");
        let restored = scene.restore(&[name]);
        assert_eq!(files(&restored.path), files_before, "{name}");
    }
    let dirty = scene.root().join("no-token");
    assert_eq!(scene.git_in(&dirty, &["status", "--porcelain"]), " M a.txt\n?? new.txt");
    assert_eq!(scene.git_in(&dirty, &["branch", "--show-current"]), "of-no-token");
}

#[test]
fn what_is_declined_is_not_suggested_again_also_after_a_restart() {
    let (scene, _closed) = scene();
    let folder = scene.root().join("notes");
    std::fs::create_dir(&folder).expect("makes");
    until("it is suggested", || scene.events("orphan.suggested").len() == 1);
    let id = text(&orphans(&scene, &[])[0]["id"]);
    let declined = scene.json(&["orphans", "decline", &id[..id.len() - 2]]);
    assert_eq!(
        (&declined["results"][0]["ok"], &declined["results"][0]["orphan"]),
        (&true.into(), &id.clone().into())
    );
    for restart in [false, true] {
        if restart {
            scene.kill_daemon();
            scene.ok(&["daemon", "start"]);
        }
        let before = cycles(&scene);
        until("two more cycles", || cycles(&scene) >= before + 2);
        assert_eq!(orphans(&scene, &[]), Vec::<Value>::new());
        let all = orphans(&scene, &["--all"]);
        assert_eq!(all[0]["id"], id.as_str());
        assert!(all[0]["declined_until"].is_string());
        assert_eq!(scene.events("orphan.suggested").len(), 1);
    }
    assert_eq!(scene.events("orphan.declined").len(), 1);
    // Who changes their mind may confirm it all the same.
    scene.ok(&["orphans", "confirm", &id]);
    assert!(!folder.exists());
    let nobody = scene.lanes(&["--json", "orphans", "confirm", "tree-000000000000"]);
    let said: Value = serde_json::from_str(&nobody.stdout).expect("one object");
    let error = &said["results"][0]["error"];
    assert_eq!((nobody.code, &error["code"]), (Some(4), &"ORPHAN_NOT_FOUND".into()), "{said}");
    assert!(error["hint"].is_string());
}

#[test]
fn a_suggestion_whose_thing_is_gone_or_another_is_not_dealt_with() {
    let (scene, _closed) = scene();
    let folder = scene.root().join("notes");
    std::fs::create_dir(&folder).expect("makes");
    let id = text(&orphans(&scene, &[])[0]["id"]);
    // Another folder takes its place: the old one stays, so that its inode is not used again.
    std::fs::rename(&folder, scene.path().join("tmp/moved")).expect("moves");
    std::fs::create_dir(&folder).expect("makes");
    std::fs::write(folder.join("mine"), "another").expect("writes");
    // A cycle may have forgotten it already.
    let ran = scene.lanes(&["orphans", "confirm", &id]);
    assert!(ran.code == Some(4) || ran.stdout.contains("it is gone already"), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(std::fs::read_to_string(folder.join("mine")).expect("is there"), "another");
    let now = orphans(&scene, &[]);
    assert_eq!((now.len(), now[0]["id"] != id.as_str()), (1, true), "{now:?}");
}

#[test]
fn a_lane_decides_about_nobodys_leftovers() {
    let (scene, _closed) = scene();
    std::fs::create_dir(scene.root().join("notes")).expect("makes");
    let id = text(&orphans(&scene, &[])[0]["id"]);
    scene.create("inside");
    for verb in ["confirm", "decline"] {
        let ran = scene.lanes(&[
            "exec",
            "inside",
            "--",
            env!("CARGO_BIN_EXE_lanes"),
            "--json",
            "orphans",
            verb,
            &id,
        ]);
        assert_eq!(ran.code, Some(3), "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains("NOT_YOUR_LANE"), "{}", ran.stderr);
    }
    let looked = scene.sh("inside", &format!("{} orphans ls", env!("CARGO_BIN_EXE_lanes")));
    assert!(looked.contains(&id), "{looked}");
}

#[test]
fn a_damaged_memory_is_dropped_and_the_watchdog_goes_on() {
    let (scene, _closed) = scene();
    std::fs::create_dir(scene.root().join("notes")).expect("makes");
    until("it is suggested", || scene.events("orphan.suggested").len() == 1);
    scene.ok(&["daemon", "stop"]);
    let store = rusqlite::Connection::open(scene.home().join("lanes.db")).expect("opens");
    let changed = store.execute("UPDATE meta SET body = '{\"half\":' WHERE key = 'watchdog'", []);
    assert_eq!(changed.expect("writes"), 1);
    drop(store);
    scene.ok(&["daemon", "start"]);
    until("it is suggested again", || scene.events("orphan.suggested").len() == 2);
}

#[test]
fn a_lane_that_is_cleaning_is_never_suggested() {
    let scene = Scene::new();
    scene.configure("[watchdog]\nevery = \"20ms\"\n");
    let (reached, open) = (scene.path().join("tmp/reached"), scene.path().join("tmp/open"));
    let hook =
        format!(": > '{}'; while ! test -e '{}'; do sleep 0.05; done", reached.display(), open.display());
    scene.write("lanes.toml", &format!("[hooks]\npre_cleanup = \"{hook}\"\n"));
    scene.ok(&["trust", "--yes"]);
    let lane = scene.create_with(&["create", "a", "--", "cat"]);
    let cleaning = scene.start(&["cleanup", "a"]);
    until("it is cleaning", || reached.exists());
    // Its hook runs under a keeper that no record of the lane names; its tree loses its file for a while.
    std::fs::rename(lane.path.join(".git"), lane.path.join(".git.away")).expect("moves");
    let before = cycles(&scene);
    let began = std::time::Instant::now();
    until("many cycles and six seconds", || cycles(&scene) >= before + 50 && began.elapsed().as_secs() >= 6);
    std::fs::rename(lane.path.join(".git.away"), lane.path.join(".git")).expect("moves");
    assert_eq!(orphans(&scene, &["--all"]), Vec::<Value>::new());
    std::fs::write(&open, "").expect("opens");
    assert!(cleaning.wait_with_output().expect("ends").status.success());
    assert_eq!(scene.events("orphan.suggested"), Vec::<Value>::new());
}

#[test]
fn a_process_of_another_home_is_nobodys_business() {
    let scene = Scene::new();
    scene.configure("[watchdog]\nevery = \"100ms\"\n");
    scene.create("a");
    let elsewhere = scene.path().join("home-b");
    std::fs::create_dir(&elsewhere).expect("makes");
    let mut theirs = marked_process(&elsewhere, "of another home");
    let mut ours = marked_process(&scene.home(), "of this home");
    let tree = locked_tree(&scene, "x");
    until("ours is suggested", || {
        scene.events("orphan.suggested").iter().any(|one| one["payload"]["kind"] == "process")
    });
    let found = scene.events("orphan.suggested");
    let found: Vec<_> =
        found.iter().map(|one| named(&one["payload"]["kind"], &one["payload"]["what"])).collect();
    assert_eq!(
        found,
        [("worktree".to_owned(), tree.display().to_string()), ("process".to_owned(), ours.id().to_string())]
    );
    for child in [&mut theirs, &mut ours] {
        child.kill().expect("ends");
        child.wait().expect("waits");
    }
    let tree = text(&orphans(&scene, &[])[0]["id"]);
    scene.ok(&["orphans", "confirm", &tree]);
}
