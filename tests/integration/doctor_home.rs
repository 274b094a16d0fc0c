//! Faults planted in the home: told, and mended where they are ours; with a daemon by asking it.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use lanes::ids::{TaskId, TaskKind};

use crate::support::doctor::doctor;
use crate::support::e2e::Scene;

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("sets the mode");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
}

/// A run folder with a socket that nobody listens at.
fn run_folder(scene: &Scene) -> (TaskId, std::path::PathBuf) {
    let id = TaskId::generate(TaskKind::Run);
    let folder = scene.home().join("run").join(id.to_string());
    std::fs::create_dir(&folder).expect("made");
    set_mode(&folder, 0o700);
    let _socket = UnixListener::bind(folder.join("keeper.sock")).expect("binds");
    (id, folder)
}

#[test]
fn rights_of_others_are_told_and_taken_away() {
    let scene = Scene::new();
    scene.create("a");
    for (path, wide) in [("logs", 0o755), ("daemon.log", 0o644), ("bin", 0o711)] {
        set_mode(&scene.home().join(path), wide);
    }
    let told = doctor(&scene, &[]);
    let message = told.has("home.modes", "warn")["message"].as_str().expect("text").to_owned();
    for path in ["logs (0755)", "daemon.log (0644)", "bin (0711)"] {
        assert!(message.contains(path), "{message}");
    }
    assert_eq!(mode(&scene.home().join("logs")), 0o755, "looking changed it");
    let mended = doctor(&scene, &["--fix"]);
    mended.is_well();
    assert_eq!(mended.has("home.modes", "ok")["fixed"], true);
    let modes = ["logs", "daemon.log", "bin"].map(|path| mode(&scene.home().join(path)));
    assert_eq!(modes, [0o700, 0o600, 0o700]);
    doctor(&scene, &[]).is_well();
}

#[test]
fn a_home_that_others_write_to_or_that_is_a_link_is_told() {
    let scene = Scene::new();
    std::fs::create_dir(scene.home()).expect("made");
    set_mode(&scene.home(), 0o770);
    let told = doctor(&scene, &["--fix"]);
    assert_eq!(told.code, 1);
    assert_eq!(told.has("home.folder", "fail")["fixable"], false);
    assert_eq!(mode(&scene.home()), 0o770, "a folder that others write to is not simply taken for ours");
    std::fs::remove_dir(scene.home()).expect("removed");
    symlink(scene.path().join("tmp"), scene.home()).expect("linked");
    let told = doctor(&scene, &["--fix"]);
    assert!(told.has("home.folder", "fail")["message"].as_str().expect("text").contains("symbolic link"));
    std::fs::remove_file(scene.home()).expect("removed");
}

#[test]
fn what_is_not_ours_in_the_home_is_told_and_left() {
    let scene = Scene::new();
    scene.create("a");
    let strange = scene.home().join("workspaces/link.json");
    symlink("/etc/passwd", &strange).expect("linked");
    let told = doctor(&scene, &["--fix"]);
    assert_eq!(told.code, 1);
    assert!(told.has("home.strange", "fail")["message"].as_str().expect("text").contains("link.json"));
    assert!(strange.symlink_metadata().is_ok());
    std::fs::remove_file(strange).expect("removed");
}

#[test]
fn a_run_folder_of_no_open_lane_goes_and_one_of_an_open_lane_stays() {
    let scene = Scene::new();
    scene.create_with(&["create", "a", "--", "sleep", "300"]);
    let task = scene.json(&["show", "a"])["lane"]["tasks"][0]["id"].as_str().expect("an id").to_owned();
    let (_id, left) = run_folder(&scene);
    // It is new: somebody may be starting a task.
    doctor(&scene, &["--fix"]).is_well();
    assert!(left.exists());
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    std::fs::File::open(&left).and_then(|folder| folder.set_modified(old)).expect("set");
    let told = doctor(&scene, &[]);
    assert_eq!(told.code, 0, "it hurts nobody yet");
    assert_eq!(told.has("home.runs", "warn")["fixable"], true);
    // The daemon that watches its tasks does it itself.
    let mended = doctor(&scene, &["--fix"]);
    assert!(mended.has("home.runs", "ok")["message"].as_str().expect("text").contains("the daemon did it"));
    assert!(!left.exists());
    assert!(scene.home().join("run").join(&task).exists());
    assert_eq!(scene.json(&["show", "a"])["lane"]["tasks"][0]["state"], "live");
}

#[test]
fn programs_that_no_keeper_runs_from_go_once_no_daemon_runs() {
    let scene = Scene::new();
    scene.create_with(&["create", "a", "--", "sleep", "300"]);
    let bin = scene.home().join("bin");
    let used = std::fs::read_dir(&bin).expect("a folder").flatten().next().expect("a copy").path();
    let old = bin.join("lanes-keeper-1-2-3");
    std::fs::copy("/bin/true", &old).expect("copied");
    let newest = bin.join("lanes-keeper-4-5-6");
    std::fs::copy("/bin/true", &newest).expect("copied");
    let told = doctor(&scene, &["--fix"]);
    let check = told.has("home.bin", "note");
    assert_eq!(
        (&check["fixable"], old.exists()),
        (&false.into(), true),
        "a daemon may start keepers from it"
    );
    scene.ok(&["daemon", "stop"]);
    assert_eq!(doctor(&scene, &[]).has("home.bin", "note")["fixable"], true);
    let mended = doctor(&scene, &["--fix"]);
    assert_eq!(mended.has("home.bin", "ok")["fixed"], true);
    assert_eq!([&used, &old, &newest].map(|path| path.exists()), [true, false, true]);
    assert_eq!(scene.json(&["show", "a"])["lane"]["tasks"][0]["state"], "live");
}

#[test]
fn a_broken_configuration_and_one_that_nobody_approved_are_told() {
    let scene = Scene::new();
    scene.configure("[disk]\nmin_fre = \"1GiB\"\n");
    let told = doctor(&scene, &[]);
    assert_eq!(told.code, 1);
    assert!(told.has("config.user", "fail")["message"].as_str().expect("text").contains("min_fre"));
    scene.configure("[disk]\nmin_free = \"1000TiB\"\n");
    let told = doctor(&scene, &[]);
    assert_eq!(told.code, 1);
    assert!(
        told.has("trees.disk", "fail")["message"].as_str().expect("text").contains("no new lane is made")
    );
    scene.configure("");
    scene.write("lanes.toml", "[hooks]\npost_create = [\"true\"]\n");
    assert!(
        doctor(&scene, &[]).has("config.repository", "note")["message"]
            .as_str()
            .expect("text")
            .contains("hooks.post_create")
    );
    scene.ok(&["trust", "--yes"]);
    let _approved = doctor(&scene, &[]).has("config.repository", "ok");
    std::fs::write(scene.home().join("trust.json"), "{").expect("written");
    let _told = doctor(&scene, &[]).has("config.repository", "warn");
    assert_eq!(std::fs::read(scene.home().join("trust.json")).expect("still there"), b"{");
    scene.write("lanes.toml", "[hooks\n");
    assert_eq!(doctor(&scene, &[]).code, 1);
    scene.write("lanes.toml", "");
}
