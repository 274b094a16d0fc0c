//! The pool as users have it: which way lanes come, what moves with the base, what is never handed out.

use std::fs;
use std::path::PathBuf;

use super::support::e2e::{Made, Scene};
use super::support::stage::until;

fn base_of(scene: &Scene) -> String {
    scene.git(&["rev-parse", "HEAD"])
}

/// How the tree of a lane was made.
fn backend(scene: &Scene, made: &Made) -> String {
    let events = scene.events("lane.worktree.provisioned");
    let event = events.into_iter().find(|event| event["lane_id"] == made.id.as_str());
    event.expect("it was told")["payload"]["backend"].as_str().expect("a text").to_owned()
}

fn tree(spare: &serde_json::Value) -> PathBuf {
    PathBuf::from(spare["path"].as_str().expect("a path"))
}

/// A lane is as `git worktree add` would have made it at this commit.
#[track_caller]
fn check_like_git(scene: &Scene, lane: &Made, commit: &str) {
    let git = |args: &[&str]| scene.git_in(&lane.path, args);
    assert_eq!(git(&["rev-parse", "HEAD"]), commit);
    assert_eq!(git(&["symbolic-ref", "--short", "HEAD"]), lane.branch);
    assert_eq!(git(&["status", "--porcelain", "--ignored"]), "");
    let plain = scene.path().join("tmp").join(format!("plain-{}", lane.name));
    let path = plain.to_str().expect("a text");
    scene.git(&["worktree", "add", "--quiet", "--detach", path, commit]);
    let listed = |folder: &std::path::Path| scene.git_in(folder, &["ls-files", "-s", "-v"]);
    assert_eq!(listed(&lane.path), listed(&plain));
    let same = std::process::Command::new("diff")
        .args(["-r", "--no-dereference", "-x", ".git"])
        .args([&lane.path, &plain])
        .output()
        .expect("runs");
    assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
    scene.git(&["worktree", "remove", path]);
}

#[test]
fn the_second_lane_comes_from_the_pool() {
    let scene = Scene::new();
    let first = scene.create("a");
    assert_eq!(backend(&scene, &first), "git", "there was nothing to make it from");
    scene.stocked(2, &base_of(&scene));
    let second = scene.create("b");
    assert_eq!(backend(&scene, &second), "pool");
    check_like_git(&scene, &second, &base_of(&scene));
    assert_eq!(scene.git(&["fsck", "--no-dangling"]), "");
    scene.stocked(2, &base_of(&scene));
    scene.ok(&["cleanup", "--all"]);
    scene.nothing_open();
}

#[test]
fn without_a_pool_there_are_no_spares() {
    let scene = Scene::new();
    scene.configure("[pool]\nsize = 0\n");
    for name in ["a", "b"] {
        let made = scene.create(name);
        assert_eq!(backend(&scene, &made), "git");
    }
    assert!(scene.spares("template").is_empty() && scene.spares("pooled").is_empty());
}

#[test]
fn the_pool_follows_its_base() {
    let scene = Scene::new();
    scene.create("first");
    scene.stocked(2, &base_of(&scene));
    for commits in [1, 10, 100] {
        for number in 0..commits {
            scene.write(&format!("many/{commits}/{number}.txt"), &format!("{number}\n"));
            scene.write("a.txt", &format!("{commits} {number}\n"));
            if number % 3 == 0 {
                scene.write("sub/b.txt", &format!("{number}\n"));
            }
            scene.git(&["add", "-A"]);
            scene.git(&["commit", "-q", "-m", "more"]);
        }
        // The main checkout is followed without a lane being asked for.
        scene.stocked(2, &base_of(&scene));
        let made = scene.create(&format!("after-{commits}"));
        assert_eq!(backend(&scene, &made), "pool");
        check_like_git(&scene, &made, &base_of(&scene));
    }
    // Rewritten: the commit that trees are at is nobody's any more.
    scene.git(&["reset", "-q", "--hard", "HEAD~50"]);
    scene.write("a.txt", "rewritten\n");
    let base = scene.commit("another history");
    scene.git(&["reflog", "expire", "--expire=now", "--all"]);
    scene.git(&["gc", "-q", "--prune=now"]);
    scene.stocked(2, &base);
    let made = scene.create("rewritten");
    assert_eq!(backend(&scene, &made), "pool");
    check_like_git(&scene, &made, &base);
}

#[test]
fn the_checkout_is_followed_that_went_on_while_the_lane_was_made() {
    let scene = Scene::new();
    for number in 0..3 {
        scene.create(&format!("lane-{number}"));
        scene.write("a.txt", &format!("{number}\n"));
        let base = scene.commit("at once");
        scene.stocked(1, &base);
    }
}

#[test]
fn a_base_whose_branch_is_deleted_is_served_as_any_other() {
    let scene = Scene::new();
    scene.git(&["checkout", "-q", "-b", "topic"]);
    scene.write("topic.txt", "topic\n");
    let topic = scene.commit("topic");
    let lane = scene.create("on-topic");
    scene.stocked(2, &topic);
    scene.ok(&["cleanup", &lane.name, "--force"]);
    scene.git(&["checkout", "-q", "main"]);
    scene.git(&["branch", "-q", "-D", "topic"]);
    let made = scene.create("on-main");
    check_like_git(&scene, &made, &base_of(&scene));
    scene.stocked(2, &base_of(&scene));
    let next = scene.create("next");
    assert_eq!(backend(&scene, &next), "pool");
    check_like_git(&scene, &next, &base_of(&scene));
}

#[test]
fn a_template_that_is_removed_by_hand_is_made_again() {
    let scene = Scene::new();
    scene.create("a");
    scene.stocked(2, &base_of(&scene));
    let before = scene.spares("template");
    fs::remove_dir_all(tree(&before[0])).expect("removes it");
    until("there is another", || {
        let now = scene.spares("template");
        now.len() == 1 && now[0]["name"] != before[0]["name"] && tree(&now[0]).is_dir()
    });
    let made = scene.create("b");
    check_like_git(&scene, &made, &base_of(&scene));
}

#[test]
fn a_tree_that_somebody_worked_in_is_never_handed_out_and_its_work_comes_back() {
    let scene = Scene::new();
    scene.create("a");
    scene.stocked(2, &base_of(&scene));
    for (number, spare) in scene.spares("pooled").iter().enumerate() {
        match number {
            0 => fs::write(tree(spare).join("a.txt"), "mine\n").expect("writes"),
            _ => fs::write(tree(spare).join("sub/new.txt"), "mine, too\n").expect("writes"),
        }
    }
    for name in ["b", "c"] {
        let made = scene.create(name);
        check_like_git(&scene, &made, &base_of(&scene));
    }
    until("both were set aside", || scene.events("lane.worktree.set_aside").len() == 2);
    let told = scene.events("lane.worktree.set_aside");
    let texts: Vec<String> = told
        .iter()
        .map(|event| {
            let id = event["payload"]["trash"].as_str().expect("an id");
            let back = scene.restore(&[id]);
            let changed = scene.git_in(&back.path, &["status", "--porcelain", "-uall"]);
            changed.to_string()
        })
        .collect();
    assert!(texts.iter().any(|text| text.contains("M a.txt")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("?? sub/new.txt")), "{texts:?}");
}

#[test]
fn a_tree_of_other_settings_is_not_used() {
    let scene = Scene::new();
    scene.create("a");
    scene.stocked(2, &base_of(&scene));
    let before: Vec<_> = scene.spares("pooled").iter().map(|spare| spare["print"].clone()).collect();
    scene.git(&["config", "core.autocrlf", "true"]);
    let made = scene.create("b");
    assert_ne!(backend(&scene, &made), "pool");
    assert_eq!(fs::read(made.path.join("a.txt")).expect("reads"), b"one\r\ntwo\r\nthree\r\n");
    until("all is made anew", || {
        let now = scene.spares("pooled");
        now.len() == 2 && now.iter().all(|spare| !before.contains(&spare["print"]))
    });
    let next = scene.create("c");
    assert_eq!(backend(&scene, &next), "pool");
    check_like_git(&scene, &next, &base_of(&scene));
}

#[test]
fn a_disk_that_is_short_is_not_filled_with_spares_and_then_lanes_are_refused() {
    let scene = Scene::new();
    let root = scene.path();
    let stat = rustix::fs::statvfs(root).expect("a disk");
    let free = stat.f_bavail * stat.f_frsize;
    scene.configure(&format!("[disk]\nmin_free = {}\n", free / 3 * 2));
    let made = scene.create("a");
    assert_eq!(backend(&scene, &made), "git");
    let second = scene.create("b");
    assert_eq!(backend(&scene, &second), "git");
    assert!(scene.spares("template").is_empty() && scene.spares("pooled").is_empty());
    // Room again: there are spares. And less than that: they go before a lane is refused.
    scene.write("lanes.toml", "[disk]\nmin_free = 0\n");
    scene.stocked(2, &base_of(&scene));
    scene.write("lanes.toml", &format!("[disk]\nmin_free = {}\n", free * 2));
    until("they are given up", || scene.spares("template").is_empty() && scene.spares("pooled").is_empty());
    scene.fails(&["create", "c"], 3, "DISK_LOW");
}

#[test]
fn two_homes_have_a_pool_each() {
    let scene = Scene::new();
    scene.create("a");
    scene.stocked(2, &base_of(&scene));
    let mine: Vec<_> = scene.spares("pooled").iter().map(|spare| spare["name"].clone()).collect();
    let mut other = scene.command(&scene.repo(), &["--json", "create", "theirs"]);
    let home = scene.path().join("other-home");
    let made = other.env("LANES_HOME", &home).output().expect("runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    until("the other has its own", || scene.spares("pooled").len() == 4);
    let stopped = scene.command(&scene.repo(), &["cleanup", "--all"]).env("LANES_HOME", &home).output();
    assert!(stopped.expect("runs").status.success());
    let stopped = scene.command(&scene.repo(), &["daemon", "stop"]).env("LANES_HOME", &home).output();
    assert!(stopped.expect("runs").status.success());
    let still: Vec<_> = scene.spares("pooled").iter().map(|spare| spare["name"].clone()).collect();
    assert!(mine.iter().all(|name| still.contains(name)), "nobody touched ours");
    let next = scene.create("b");
    assert_eq!(backend(&scene, &next), "pool");
    check_like_git(&scene, &next, &base_of(&scene));
}

#[test]
fn fifty_lanes_at_once_with_an_empty_pool_are_all_right() {
    let scene = Scene::new();
    for number in 0..200 {
        scene.write(&format!("many/{}/{number}.txt", number % 17), &format!("{number}\n"));
    }
    let base = scene.commit("many");
    let names: Vec<String> = (0..50).map(|number| format!("lane-{number}")).collect();
    let all: Vec<_> = names.iter().map(|name| scene.start(&["--json", "create", name])).collect();
    for child in all {
        let done = child.wait_with_output().expect("ends");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let mut ways: Vec<String> = Vec::new();
    for name in &names {
        let made = scene.made(name);
        assert_eq!(scene.git_in(&made.path, &["status", "--porcelain"]), "");
        assert_eq!(scene.git_in(&made.path, &["rev-parse", "HEAD"]), base);
        ways.push(backend(&scene, &made));
    }
    assert!(ways.iter().filter(|way| *way == "git").count() < 25, "most were copied: {ways:?}");
    scene.ok(&["cleanup", "--all"]);
    scene.nothing_open();
}
