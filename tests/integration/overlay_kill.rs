//! The process that makes, frees or brings back an overlay is killed at each step.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use lanes::worktree::{
    Direct, Floors, Git, GitConfig, Order, Pace, Saved, SettingsCache, SpareKind, Standing, Way, bring_back,
    discover, overlay, overlays, provision, renew, retire, roll_back, save, spares, trash, undo,
};

use crate::support::git::Yard;
use crate::support::overlay::{Ground, sh, unmount_below};
use crate::support::work::picture;

const ORDER: &str = "LANES_TEST_ORDER";
const ACT: &str = "LANES_TEST_ACT";

/// Does one thing with the order of the environment, as a process of its own; not a test.
#[tokio::test]
#[ignore = "started by the tests of this file, to be killed"]
async fn act() {
    let Some(order) = std::env::var_os(ORDER) else { return };
    let order: Order = serde_json::from_slice(&std::fs::read(order).expect("reads")).expect("an order");
    let root = order.root.as_path();
    let git = Git::find(GitConfig::default()).await.expect("git");
    let repo = discover(&git, &std::env::current_dir().expect("a folder")).await.expect("a repository");
    let home = order.home.as_path();
    match std::env::var(ACT).expect("set").as_str() {
        "make" => {
            let template =
                spares(&repo, home).into_iter().find(|kept| kept.spare.kind == SpareKind::Template);
            let (way, settings) = (Way::Overlay(template.expect("one")), SettingsCache::default());
            let settings = settings.get(&git, &repo).await.expect("settings");
            let floors = Floors::default();
            let _tree = provision(&git, &repo, &order, floors, way, &settings, &Direct, &|_step| {}).await;
        }
        "save" => {
            let _saved = save(&git, &repo, root, order.lane_id, 1 << 30, &Pace::full()).await;
        }
        "restore" => {
            let entry = trash::list(root).expect("lists").remove(0);
            let _tree = bring_back(&git, &repo, &entry, &order).await;
        }
        "renew" => {
            let seen = overlays(&repo, root, home).remove(0);
            let _kept = renew(&git, &repo, &seen, None, "lanes spare boot 1".to_owned()).await;
        }
        other => panic!("{other}?"),
    }
}

/// Runs [`act`], which must be killed at this fail point.
#[track_caller]
fn killed(ground: &Ground, act: &str, order: &Order, point: &str) {
    let yard = &ground.stocked.yard;
    let file = yard.path().join("order.json");
    std::fs::write(&file, serde_json::to_vec(order).expect("text")).expect("written");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--ignored", "--exact", "overlay_kill::act"]).current_dir(&yard.repo).env_clear();
    command.envs(yard.env()).env(ORDER, file).env(ACT, act).env("LANES_FAULTS", format!("{point}=kill"));
    let output = command.output().expect("starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.signal(), Some(9), "{act} at {point}: {said}");
}

#[tokio::test]
async fn a_mount_that_is_cut_off_is_undone_by_the_order_alone() {
    let Some(ground) = Ground::of(Yard::new()).await else { return };
    let stocked = &ground.stocked;
    let template = stocked.template().await;
    let before = picture(template.tree());
    for point in [
        "overlay.layers",
        "overlay.staged",
        "overlay.branch",
        "overlay.entered",
        "overlay.mounted",
        "provision.hooked",
        "provision.files",
    ] {
        for reboot in [false, true] {
            let order = stocked.order("a", None).await;
            killed(&ground, "make", &order, point);
            if reboot {
                unmount_below(&stocked.yard.path());
            }
            undo(&stocked.git, &stocked.repo, &order).await.expect("undone");
            assert_eq!(ground.mounts(), Vec::<PathBuf>::new(), "{point}");
            assert_eq!(stocked.names(&stocked.root.path), [".reserve", ".template"], "{point}");
            assert_eq!(
                stocked.names(&stocked.repo.common_dir.join("worktrees")),
                std::slice::from_ref(&template.name)
            );
            assert_eq!(stocked.yard.git(&["branch", "--list", "lanes/*"]), "", "{point}");
            let aside = stocked.names(&stocked.repo.common_dir);
            assert!(!aside.iter().any(|name| name.starts_with(".lanes-undo")), "{point}: {aside:?}");
        }
    }
    assert_eq!(picture(template.tree()), before);
    let _works = ground.lane("a", &template).await;
}

#[tokio::test]
async fn freeing_and_bringing_back_go_on() {
    let Some(ground) = Ground::of(Yard::new()).await else { return };
    let stocked = &ground.stocked;
    let template = stocked.template().await;
    let (mut order, mut tree) = ground.lane("a", &template).await;
    sh(&stocked.yard, tree.path.as_path(), "mv sub moved; echo new > new");
    let root = &stocked.root.path;
    let entry = retire(&stocked.git, &stocked.repo, &order, &tree).await.expect("retired");
    for (at, point) in ["overlay.moved", "restore.moved", "restore.tree"].into_iter().enumerate() {
        let to = stocked.order(&format!("b{at}"), None).await;
        killed(&ground, "restore", &to, point);
        roll_back(&stocked.git, &stocked.repo, root, order.lane_id).await.expect("rolled back");
        assert!(!to.path.as_path().exists(), "{point}");
        assert_eq!(ground.mounts(), [root.join(".trash").join(order.lane_id.to_string()).join("tree")]);
    }
    let to = stocked.order("c", None).await;
    tree = bring_back(&stocked.git, &stocked.repo, &entry, &to).await.expect("brought back");
    order = to;
    let says =
        sh(&stocked.yard, tree.path.as_path(), "git status --porcelain | tr '\\n' ' '; cat moved/b.txt");
    assert_eq!(says, " D sub/b.txt ?? moved/ ?? new b");
    let _entry = retire(&stocked.git, &stocked.repo, &order, &tree).await.expect("retired");
    for point in ["overlay.unmounted", "save.freed"] {
        killed(&ground, "save", &order, point);
        let entry = trash::find(root, order.lane_id).expect("reads").expect("an entry");
        assert!(matches!(entry.saved, Saved::Archived { .. }), "{point}");
    }
    let entry =
        save(&stocked.git, &stocked.repo, root, order.lane_id, 1 << 30, &Pace::full()).await.expect("saved");
    assert_eq!(entry.stays, None);
    assert_eq!(ground.mounts(), Vec::<PathBuf>::new());
    assert!(!root.join(overlay::OVERLAY_DIR).exists());
}

#[tokio::test]
async fn a_template_that_is_made_again_is_there_for_the_next_one() {
    let Some(ground) = Ground::of(Yard::new()).await else { return };
    let stocked = &ground.stocked;
    let template = stocked.template().await;
    let (order, tree) = ground.lane("a", &template).await;
    sh(&stocked.yard, tree.path.as_path(), "echo more >> a.txt");
    std::fs::remove_dir_all(template.tree()).expect("removed by hand");
    killed(&ground, "renew", &order, "overlay.renewed");
    let seen = overlays(&stocked.repo, &stocked.root.path, &stocked.home()).remove(0);
    assert_eq!(seen.standing, Standing::Down);
    overlay::raise(&stocked.root.path, order.lane_id, Path::new(&tree.path.to_path_buf())).expect("mounted");
    let says = sh(&stocked.yard, tree.path.as_path(), "git status --porcelain; tail -n1 a.txt");
    assert_eq!(says, " M a.txt\nmore");
}
