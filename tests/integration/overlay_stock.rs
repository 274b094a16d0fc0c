//! Overlays as users have them: the configuration asks for them, templates stay below their lanes, a crash at
//! any step leaves nothing.

use std::path::Path;
use std::time::Instant;

use lanes::worktree::{overlay, probe};

use crate::support::e2e::{Made, Scene};
use crate::support::overlay::{Unmounted, mounts_below, unmount_below};
use crate::support::stage::until;

const CONFIG: &str = "[worktree]\nbackend = \"overlay\"\n";

/// A scene whose lanes are overlays, and what takes their mounts away before it goes; none where this user may not
/// mount.
fn scene() -> Option<(Scene, Unmounted)> {
    let scene = Scene::new();
    scene.configure(CONFIG);
    match probe(scene.path()) {
        Ok(()) => {
            let mounts = Unmounted(scene.path().to_path_buf());
            Some((scene, mounts))
        }
        Err(error) => {
            eprintln!("not shown: {error}");
            None
        }
    }
}

fn told<'a>(events: &'a [serde_json::Value], made: &Made) -> &'a serde_json::Value {
    let event = events.iter().find(|event| event["lane_id"] == made.id.as_str());
    &event.expect("it was told")["payload"]
}

#[track_caller]
fn check_overlay(scene: &Scene, made: &Made) {
    assert_eq!(told(&scene.events("lane.worktree.provisioned"), made)["backend"], "overlay");
    assert_eq!(mounts_below(&made.path), std::slice::from_ref(&made.path));
    assert_eq!(scene.git_in(&made.path, &["status", "--porcelain", "--ignored"]), "");
}

fn base_of(scene: &Scene) -> String {
    scene.git(&["rev-parse", "HEAD"])
}

/// Names of the templates that are ready.
fn templates(scene: &Scene) -> Vec<String> {
    let all = scene.spares("template");
    let mut names: Vec<_> = all.iter().map(|spare| spare["name"].to_string()).collect();
    names.sort();
    names
}

#[track_caller]
fn check_nothing_left(scene: &Scene) {
    scene.ok(&["cleanup", "--all", "--force"]);
    scene.nothing_open();
    scene.ok(&["trash", "empty", "--yes"]);
    until("nothing is mounted, and no layer is left", || {
        mounts_below(scene.path()).is_empty() && !scene.root().join(overlay::OVERLAY_DIR).exists()
    });
}

#[test]
fn templates_stay_as_they_are_below_their_lanes_while_the_base_moves_on() {
    let Some((scene, _mounts)) = scene() else { return };
    let mut lanes = Vec::new();
    // More bases than templates are kept for nobody.
    for number in 0..5 {
        scene.write("a.txt", &format!("base {number}\n"));
        scene.commit("moved");
        for name in ["x", "y"] {
            let made = scene.create(&format!("{name}{number}"));
            check_overlay(&scene, &made);
            assert_eq!(scene.git_in(&made.path, &["rev-parse", "HEAD"]), base_of(&scene));
            scene.sh(&made.name, "echo mine > mine; mv sub moved; git add -A; git commit -qm mine");
            lanes.push((made, format!("base {number}\n")));
        }
        assert_eq!(templates(&scene).len(), number + 1, "one for each base");
    }
    let before = templates(&scene);
    // The background has had its turn: it makes a template of each base that comes, and leaves the others alone.
    scene.write("a.txt", "later\n");
    let later = scene.commit("later");
    until("it follows the base", || scene.spares("template").iter().any(|spare| spare["base"] == later));
    assert!(before.iter().all(|name| templates(&scene).contains(name)));
    for (made, text) in &lanes {
        assert_eq!(std::fs::read_to_string(made.path.join("a.txt")).expect("reads"), *text);
        assert_eq!(std::fs::read_to_string(made.path.join("moved/b.txt")).expect("reads"), "b\n");
        assert_eq!(scene.git_in(&made.path, &["status", "--porcelain"]), "");
    }
    assert_eq!(scene.git(&["fsck", "--no-dangling"]), "");
    check_nothing_left(&scene);
}

#[test]
fn a_template_that_somebody_edited_is_not_used_and_stays_below_its_lanes() {
    let Some((scene, _mounts)) = scene() else { return };
    let first = scene.create("first");
    let spare = scene.spares("template").remove(0);
    let tree = Path::new(spare["path"].as_str().expect("a path")).to_path_buf();
    std::fs::write(tree.join("sub/b.txt"), "edited by hand\n").expect("written");
    let second = scene.create("second");
    check_overlay(&scene, &second);
    assert_eq!(std::fs::read_to_string(second.path.join("sub/b.txt")).expect("reads"), "b\n");
    assert!(tree.is_dir() && mounts_below(&first.path).len() == 1);
    check_nothing_left(&scene);
}

#[test]
fn what_cannot_be_an_overlay_is_refused_before_anything_is_made() {
    let Some((scene, _mounts)) = scene() else { return };
    let other = Scene::new();
    let url = other.repo();
    scene.git(&["submodule", "--quiet", "add", url.to_str().expect("text"), "part"]);
    scene.commit("a part");
    scene.refuses(&["create", "a"], 2, "CONFIG_INVALID", &["submodules", "worktree.backend"]);
    assert!(scene.spares("template").is_empty());
    scene.ok(&["daemon", "stop"]);
    let mut plain = Scene::new();
    plain.configure(CONFIG);
    plain.become_user(65_534);
    plain.refuses(&["create", "a"], 2, "CONFIG_INVALID", &["root's rights", "worktree.backend"]);
}

#[test]
fn a_create_that_is_killed_at_any_step_of_its_mount_leaves_nothing() {
    if scene().is_none() {
        return;
    }
    for reboot in [false, true] {
        for point in [
            "overlay.layers",
            "overlay.staged",
            "overlay.branch",
            "overlay.entered",
            "overlay.mounted",
            "stock.chosen",
            "provision.hooked",
            "create.made",
        ] {
            let Some((mut scene, _mounts)) = scene() else { return };
            scene.may_crash();
            scene.configure(&format!("{CONFIG}[daemon]\ncrash_limit = 0\n"));
            let before = scene.create("before");
            scene.sh("before", "echo mine > mine");
            scene.ok(&["daemon", "stop"]);
            scene.set("LANES_FAULTS", format!("{point}=kill"));
            let _cut_off = scene.lanes(&["create", "cut-off"]);
            scene.daemon_dies();
            scene.set("LANES_FAULTS", "");
            if reboot {
                unmount_below(scene.path());
            }
            let after = scene.create("after");
            check_overlay(&scene, &after);
            assert_eq!(scene.git_in(&before.path, &["status", "--porcelain"]), "?? mine", "{point}");
            let inventory = scene.inventory();
            assert_eq!(inventory.trees.len(), 2, "{point}: {inventory:#?}");
            assert_eq!((inventory.admin.len(), inventory.branches.len()), (2, 3), "{point}: {inventory:#?}");
            assert_eq!(mounts_below(&scene.root()).len(), 2, "{point}");
            let layers = std::fs::read_dir(scene.root().join(overlay::OVERLAY_DIR)).expect("a folder");
            assert_eq!(layers.count(), 2, "{point}");
            check_nothing_left(&scene);
        }
    }
}

/// `cargo test --test integration -- --ignored --nocapture five_hundred_lanes_of_a_daemon`
#[test]
#[ignore = "takes minutes, prints figures"]
fn five_hundred_lanes_of_a_daemon_are_open_at_once_and_nothing_is_left() {
    const LANES: usize = 500;
    const CALLERS: usize = 4;
    let Some((scene, _mounts)) = scene() else { return };
    scene.configure(&format!("{CONFIG}[lanes]\ncapacity = {LANES}\n"));
    for number in 0..3_000 {
        scene.write(&format!("src/{}/{}/{number}.txt", number / 400, number / 20), &format!("{number}\n"));
    }
    scene.commit("many files");
    let began = Instant::now();
    scene.create("first");
    println!("the first, with its template: {:?}", began.elapsed());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let scene = &scene;
            scope.spawn(move || {
                for at in (1..LANES).filter(|at| at % CALLERS == caller) {
                    scene.ok(&["create", &format!("lane-{at}")]);
                }
            });
        }
    });
    let took = began.elapsed();
    assert_eq!(mounts_below(&scene.root()).len(), LANES);
    assert_eq!(templates(&scene).len(), 1);
    let mut each: Vec<_> = scene
        .events("lane.worktree.provisioned")
        .iter()
        .map(|event| event["payload"]["ms"].as_u64().expect("a number"))
        .collect();
    each.sort_unstable();
    println!(
        "{LANES} lanes: {took:?}, {:?} each by {CALLERS} callers; inside p50 {} ms, p95 {} ms, most {} ms",
        took / u32::try_from(LANES).expect("small"),
        each[each.len() / 2],
        each[each.len() * 95 / 100],
        each[each.len() - 1],
    );
    let began = Instant::now();
    let status = scene.git_in(&scene.made("lane-7").path, &["status", "--porcelain"]);
    assert_eq!(status, "");
    println!("a first git status: {:?}", began.elapsed());
    let began = Instant::now();
    scene.ok(&["cleanup", "--all", "--force"]);
    scene.nothing_open();
    println!("all closed: {:?}", began.elapsed());
    let began = Instant::now();
    scene.ok(&["trash", "empty", "--yes"]);
    check_nothing_left(&scene);
    println!("trash emptied, nothing left: {:?}", began.elapsed());
    assert_eq!(scene.inventory().trash.len(), 0);
}
