//! Lanes that are overlays under a daemon: after a start of the machine, unmounted by hand, closed while busy.

use std::path::{Path, PathBuf};

use lanes::ids::LaneId;
use lanes::worktree::{
    Direct, Floors, Git, GitConfig, Order, SettingsCache, SpareKind, Want, Way, discover, make_template,
    overlay, probe, provision, read_token,
};
use serde_json::Value;

use crate::support::doctor::doctor;
use crate::support::e2e::Scene;
use crate::support::overlay::{Unmounted, mounts_below, unmount_below};
use crate::support::stage::until;

struct Overlaid {
    _mounts: Unmounted,
    scene: Scene,
    path: PathBuf,
    template: PathBuf,
}

/// A scene with the lane `o`, which is an overlay and runs something; none where this user may not mount.
fn overlaid() -> Option<Overlaid> {
    let scene = Scene::new();
    scene.may_crash();
    let mounts = Unmounted(scene.path().to_path_buf());
    scene.create("x");
    let like = read_token(&scene.repo().join(".git/worktrees/x")).expect("its order");
    if let Err(error) = probe(like.root.as_path()) {
        eprintln!("not shown: {error}");
        return None;
    }
    scene.ok(&["daemon", "stop"]);
    // What is there without a record is adopted: as if the store had lost its last moments.
    let template = plant(&scene, &like);
    scene.ok(&["daemon", "start"]);
    let shown = scene.json(&["show", "o"])["lane"].clone();
    assert_eq!(shown["state"], "ready");
    let path = scene.made("o").path;
    scene.sh("o", "echo new > new; mv sub moved; echo more >> a.txt");
    Some(Overlaid { _mounts: mounts, scene, path, template })
}

#[tokio::main(flavor = "current_thread")]
async fn plant(scene: &Scene, like: &Order) -> PathBuf {
    let git = Git::find(GitConfig { env: Some(scene.env()), ..GitConfig::default() }).await.expect("git");
    let repo = discover(&git, &scene.repo()).await.expect("a repository");
    let settings = SettingsCache::default().get(&git, &repo).await.expect("settings");
    let want = Want {
        kind: SpareKind::Template,
        home: like.home.clone(),
        workspace_id: like.workspace_id,
        root: like.root.clone(),
        base: like.base.sha.clone(),
        print: settings.print.clone(),
        lock_reason: "lanes spare boot 1".to_owned(),
    };
    let template = make_template(&git, &repo, &want, &Direct).await.expect("a template");
    let lane_id = LaneId::generate();
    let mut order = Order { lane_id, name: "o".to_owned(), token: format!("of {lane_id}"), ..like.clone() };
    order.path = like.root.as_path().join("o").as_path().into();
    order.branch.name = "lanes/o".to_owned();
    order.lock_reason = format!("lanes {lane_id} boot 1");
    let (way, floors) = (Way::Overlay(template.clone()), Floors::default());
    let made = provision(&git, &repo, &order, floors, way, &settings, &Direct, &|_step| {}).await;
    assert_eq!(made.expect("made").backend, "overlay");
    template.spare.path.to_path_buf()
}

impl Overlaid {
    /// The lane is open with all of its work, also for those who only read it.
    #[track_caller]
    fn check_whole(&self) {
        assert_eq!(self.scene.json(&["show", "o"])["lane"]["state"], "ready");
        assert_eq!(mounts_below(&self.path), std::slice::from_ref(&self.path));
        let status = self.scene.git_in(&self.path, &["status", "--porcelain"]);
        assert_eq!(status, " M a.txt\n D sub/b.txt\n?? moved/\n?? new");
        assert_eq!(std::fs::read_to_string(self.path.join("moved/b.txt")).expect("reads"), "b\n");
    }

    fn check_mended(&self) {
        let said = doctor(&self.scene, &["--fix"]);
        assert_eq!(said.has("trees.overlay", "ok")["fixed"], true);
        self.check_whole();
        doctor(&self.scene, &[]).has("trees.overlay", "ok");
    }

    fn reboot(&self) {
        let _old = self.scene.kill_daemon();
        unmount_below(self.scene.path());
        self.scene.ok(&["daemon", "start"]);
    }
}

fn last(scene: &Scene) -> Value {
    scene.events("lane.worktree.mounted").pop().expect("it is told")["payload"].clone()
}

#[test]
fn a_lane_is_there_again_after_a_start_of_the_machine() {
    let Some(lane) = overlaid() else { return };
    lane.check_whole();
    for _time in 0..2 {
        lane.reboot();
        lane.check_whole();
        assert_eq!(last(&lane.scene)["mounted"], true);
    }
    // With the store gone as well.
    let _old = lane.scene.kill_daemon();
    unmount_below(lane.scene.path());
    std::fs::remove_file(lane.scene.home().join("lanes.db")).expect("removed");
    lane.scene.ok(&["daemon", "start"]);
    lane.check_whole();
    lane.scene.ok(&["cleanup", "--all"]);
    lane.scene.ok(&["trash", "empty", "--yes"]);
    until("nothing is mounted", || mounts_below(lane.scene.path()).is_empty());
    assert!(!lane.scene.root().join(overlay::OVERLAY_DIR).exists());
}

#[test]
fn what_somebody_unmounted_is_said_and_mounted() {
    let Some(lane) = overlaid() else { return };
    unmount_below(lane.scene.path());
    let check = doctor(&lane.scene, &[]).has("trees.overlay", "fail");
    assert!(check["message"].as_str().expect("text").contains("lane o is not mounted"), "{check}");
    lane.check_mended();
    unmount_below(lane.scene.path());
    // Nothing runs in the empty folder.
    assert_eq!(lane.scene.ok(&["exec", "o", "--", "cat", "new"]), "new");
    lane.check_whole();
    unmount_below(lane.scene.path());
    std::fs::write(lane.path.join("mine"), "mine").expect("writes");
    let check = doctor(&lane.scene, &["--fix"]).has("trees.overlay", "fail");
    assert!(check["message"].as_str().expect("text").contains("files were put into its folder"), "{check}");
    let _refused = lane.scene.lanes(&["cleanup", "o"]);
    assert_eq!(std::fs::read(lane.path.join("mine")).expect("reads"), b"mine");
    lane.reboot();
    assert_eq!(last(&lane.scene)["mounted"], false);
    std::fs::remove_file(lane.path.join("mine")).expect("removed");
    lane.scene.ok(&["reconcile"]);
    // Its folder goes before it is closed.
    until("it is closed", || {
        let lanes = lane.scene.json(&["ls"])["lanes"].clone();
        !lanes.as_array().expect("a list").iter().any(|lane| lane["name"] == "o")
    });
    assert!(!lane.path.exists());
    lane.scene.ok(&["trash", "empty", "--yes"]);
}

#[test]
fn a_template_that_was_removed_is_made_again() {
    let Some(lane) = overlaid() else { return };
    std::fs::remove_dir_all(&lane.template).expect("removed by hand");
    let check = doctor(&lane.scene, &[]).has("trees.overlay", "fail");
    assert!(check["message"].as_str().expect("text").contains("is gone"), "{check}");
    lane.check_mended();
    std::fs::remove_dir_all(lane.scene.root().join(".template")).expect("all of them");
    lane.reboot();
    lane.check_whole();
    assert_eq!(overlay::in_use(Path::new(&lane.scene.root())).len(), 1);
    lane.scene.ok(&["cleanup", "--all"]);
    lane.scene.ok(&["trash", "empty", "--yes"]);
}

#[test]
fn a_busy_one_is_closed_and_comes_back() {
    let Some(lane) = overlaid() else { return };
    let scene = &lane.scene;
    scene.ok(&["exec", "o", "--detach", "--", "sh", "-c", "exec 3>>new; echo there >&3; sleep 1000"]);
    until("it has written", || {
        std::fs::read_to_string(lane.path.join("new")).is_ok_and(|text| text.contains("there"))
    });
    scene.ok(&["cleanup", "o"]);
    assert!(!lane.path.exists());
    until("its layers are freed", || !scene.root().join(overlay::OVERLAY_DIR).exists());
    let back = scene.restore(&["o"]);
    assert_eq!(std::fs::read_to_string(back.path.join("new")).expect("reads"), "new\nthere\n");
    let status = scene.git_in(&back.path, &["status", "--porcelain"]);
    assert_eq!(status, " M a.txt\n D sub/b.txt\n?? moved/\n?? new");
    scene.ok(&["cleanup", "--all"]);
    scene.ok(&["trash", "empty", "--yes"]);
    until("nothing is mounted", || mounts_below(scene.path()).is_empty());
}
