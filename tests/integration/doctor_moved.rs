//! A repository that is moved while it has lanes: every command says what is to be done, and the doctor brings
//! the lanes, what runs in them and what they left in the trash to the new place.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::doctor::{doctor_in, picture, same};
use crate::support::e2e::{Made, Scene};

struct Moved {
    scene: Scene,
    to: PathBuf,
    lane: Made,
    pid: Value,
}

/// A lane with uncommitted work and a task, one in the trash; then the repository goes elsewhere.
fn moved(daemon_runs: bool) -> Moved {
    let scene = Scene::new().without_spares();
    let lane = scene.create_with(&["create", "a", "--", "sleep", "300"]);
    std::fs::write(lane.path.join("work"), "mine\n").expect("writes");
    let gone = scene.create("gone");
    scene.git_in(&gone.path, &["commit", "-q", "--allow-empty", "-m", "by nobody else"]);
    scene.ok(&["cleanup", "gone"]);
    let _saved = scene.saved(&gone.id);
    let pid = scene.json(&["show", "a"])["lane"]["tasks"][0]["pid"].clone();
    if !daemon_runs {
        scene.ok(&["daemon", "stop"]);
    }
    let to = scene.path().join("work/elsewhere");
    std::fs::rename(scene.repo(), &to).expect("moved");
    Moved { scene, to, lane, pid }
}

impl Drop for Moved {
    fn drop(&mut self) {
        // The scene looks for what is left from the place that it made.
        if !self.scene.repo().exists() {
            std::fs::rename(&self.to, self.scene.repo()).expect("moved back");
        }
    }
}

fn json(scene: &Scene, folder: &Path, args: &[&str]) -> Value {
    let mut all = vec!["--json"];
    all.extend(args);
    let ran = scene.lanes_in(folder, &all);
    assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    serde_json::from_str(&ran.stdout).expect("an object")
}

fn brought_back(moved: &Moved) {
    let Moved { scene, to, lane, pid } = moved;
    // Nothing was taken for a new repository meanwhile.
    for args in [&["ls"][..], &["show", "a"], &["create", "b"], &["cleanup", "--all"]] {
        let refused = scene.lanes_in(to, args);
        assert_eq!(refused.code, Some(1), "{args:?}: {refused:?}");
        assert!(refused.stderr.contains("lanes doctor --fix"), "{args:?}: {refused:?}");
    }
    let inside = scene.lanes_in(&lane.path, &["ls"]);
    assert!(inside.code == Some(1) && inside.stderr.contains("leads nowhere"), "{inside:?}");
    let _told = doctor_in(scene, &lane.path, &[]).has("repository.open", "fail");
    let before = [to.clone(), scene.root()].map(|place| picture(&place));
    let told = doctor_in(scene, to, &[]);
    for (place, before) in [to.clone(), scene.root()].iter().zip(&before) {
        same(before, &picture(place));
    }
    assert_eq!((told.code, &told.has("trees.moved", "fail")["fixable"]), (1, &true.into()));
    let mended = doctor_in(scene, to, &["--fix"]);
    assert_eq!(mended.has("trees.moved", "ok")["fixed"], true);
    mended.is_well();

    let lanes = json(scene, to, &["ls"])["lanes"].clone();
    assert_eq!(
        (lanes[0]["name"].as_str(), lanes[0]["id"].as_str()),
        (Some("a"), Some(lane.id.as_str())),
        "{lanes}"
    );
    assert_eq!(lanes[0]["repo"].as_str().map(Path::new), Some(to.as_path()));
    assert_eq!(&json(scene, to, &["show", "a"])["lane"]["tasks"][0]["pid"], pid);
    assert_eq!(scene.git_in(&lane.path, &["status", "--porcelain"]), "?? work");
    assert!(json(scene, &lane.path, &["show", "."])["lane"]["name"] == "a");
    doctor_in(scene, to, &[]).is_well();
    let records = std::fs::read_dir(scene.home().join("workspaces")).expect("a folder").count();
    assert_eq!(records, 1, "it was taken for another repository");
    // All goes on there, also after the next start: closing, bringing back, freeing.
    assert_eq!(scene.lanes_in(to, &["daemon", "restart"]).code, Some(0));
    let ran = scene.lanes_in(to, &["cleanup", "a"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for name in ["a", "gone"] {
        let back =
            json(scene, to, &["restore", name])["lane"]["worktree"].as_str().expect("a path").to_owned();
        assert!(
            name != "a" || std::fs::read_to_string(Path::new(&back).join("work")).expect("reads") == "mine\n"
        );
    }
    assert_eq!(scene.lanes_in(to, &["cleanup", "--all"]).code, Some(0));
    doctor_in(scene, to, &[]).is_well();
    assert_eq!(scene.lanes_in(to, &["trash", "empty", "--yes"]).code, Some(0));
    let left: Vec<_> = std::fs::read_dir(scene.root()).into_iter().flatten().flatten().collect();
    assert!(left.iter().all(|entry| entry.file_name().to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn a_moved_repository_has_its_lanes_back_while_the_daemon_runs() {
    brought_back(&moved(true));
}

#[test]
fn a_moved_repository_has_its_lanes_back_when_no_daemon_runs() {
    brought_back(&moved(false));
}

#[test]
fn a_copy_of_a_repository_is_another_one() {
    let scene = Scene::new().without_spares();
    let lane = scene.create("a");
    let copy = scene.path().join("work/copy");
    let copied =
        std::process::Command::new("cp").arg("-a").arg(scene.repo()).arg(&copy).status().expect("starts");
    assert!(copied.success());
    assert_eq!(json(&scene, &copy, &["ls"])["lanes"], serde_json::json!([]));
    let said = doctor_in(&scene, &copy, &["--fix"]);
    assert!(said.checks.iter().all(|check| check["fixed"].is_null()), "{:#?}", said.checks);
    assert_eq!(
        scene.git_in(&lane.path, &["rev-parse", "--absolute-git-dir"]),
        scene.repo().join(".git/worktrees/a").display().to_string()
    );
    assert_eq!(scene.json(&["ls"])["lanes"][0]["id"], lane.id.as_str());
}

#[test]
fn what_is_away_with_its_repository_is_not_given_up() {
    let scene = Scene::new().without_spares();
    let lane = scene.create("a");
    std::fs::write(lane.path.join("work"), "mine\n").expect("writes");
    scene.ok(&["daemon", "stop"]);
    let (work, away) = (scene.path().join("work"), scene.path().join("away"));
    std::fs::rename(&work, &away).expect("moved");
    std::fs::create_dir_all(scene.repo()).expect("made");
    let ran = scene.lanes_in(scene.path(), &["--json", "ls", "--everywhere"]);
    let lanes: Value = serde_json::from_str(&ran.stdout).expect("an object");
    assert_eq!(lanes["lanes"][0]["state"], "ready", "{lanes}");
    let told = doctor_in(&scene, scene.path(), &[]);
    assert!(
        told.has("lanes.trees", "fail")["message"].as_str().expect("text").contains("nor its repository")
    );
    assert_eq!(scene.lanes_in(scene.path(), &["daemon", "stop"]).code, Some(0));
    std::fs::remove_dir_all(&work).expect("removed");
    std::fs::rename(&away, &work).expect("moved back");
    assert_eq!(scene.json(&["ls"])["lanes"][0]["state"], "ready");
    assert_eq!(std::fs::read_to_string(lane.path.join("work")).expect("reads"), "mine\n");
}
