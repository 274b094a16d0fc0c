//! Cleanup of a tree that somebody else has a hand in: nothing lost, nothing foreign touched, the message right.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::e2e::{Made, Scene};
use crate::support::git::{Mounted, is_root, write};
use crate::support::stage::until;
use crate::support::state::State;
use crate::support::work::picture;

/// Closes the lane `a`, which must succeed and say these words; a second time does and says nothing more.
fn closes(scene: &Scene, words: &[&str]) {
    let said = scene.ok(&["cleanup", "a"]);
    for word in words {
        assert!(said.contains(word), "it does not say {word:?}: {said}");
    }
    let before = scene.inventory();
    assert!(scene.ok(&["cleanup", "a"]).contains("closed already"));
    assert_eq!(scene.inventory(), before);
}

/// Where the tree of a closed lane lies.
fn in_trash(scene: &Scene, lane: &Made) -> PathBuf {
    scene.root().join(".trash").join(&lane.id).join("tree")
}

/// The text of `trash ls`.
fn trash(scene: &Scene) -> String {
    scene.ok(&["trash", "ls"])
}

/// A lane with one new and one changed file.
fn lane(scene: &Scene) -> Made {
    let lane = scene.create("a");
    write(&lane.path.join("new"), "never committed\n");
    write(&lane.path.join("a.txt"), "changed\n");
    lane
}

#[test]
fn a_git_file_that_names_the_main_repository_endangers_nobody() {
    let scene = Scene::new();
    let lane = lane(&scene);
    let own = std::fs::read(lane.path.join(".git")).expect("its .git file");
    let main = (picture(&scene.repo()), scene.git(&["status", "--porcelain=v2", "--branch"]));
    write(&lane.path.join(".git"), &format!("gitdir: {}\n", scene.repo().join(".git").display()));
    closes(&scene, &["left alone, as its .git names another repository", "remove it yourself"]);
    assert_eq!(main, (picture(&scene.repo()), scene.git(&["status", "--porcelain=v2", "--branch"])));
    assert_eq!(std::fs::read(lane.path.join("new")).expect("left alone"), b"never committed\n");
    assert!(scene.inventory().admin.is_empty());
    let error = scene.fails(&["restore", "a"], 1, "IO");
    assert!(error["message"].as_str().is_some_and(|said| said.contains("already there")), "{error}");
    let back = scene.restore(&["a", "--name", "b"]);
    assert_eq!(back.branch, lane.branch);
    assert_ne!(std::fs::read(lane.path.join(".git")).expect("still there"), own);
}

#[test]
fn a_tree_that_git_moved_is_closed_where_it_is_and_comes_back_to_its_place() {
    let scene = Scene::new();
    let lane = lane(&scene);
    let before = State::of(&scene, &lane.path);
    let moved = scene.path().join("moved");
    let (from, to) = (lane.path.to_str().expect("text"), moved.to_str().expect("text"));
    scene.git(&["worktree", "move", "-f", "-f", from, to]);
    closes(&scene, &["lanes restore a"]);
    assert!(!moved.exists());
    let _saved = scene.saved(&lane.id);
    let back = scene.restore(&["a"]);
    assert_eq!(back.path, lane.path);
    before.same(&State::of(&scene, &back.path));
}

#[test]
fn a_lane_whose_entry_in_git_was_removed_keeps_its_files() {
    let scene = Scene::new();
    let lane = lane(&scene);
    std::fs::remove_dir_all(scene.repo().join(".git/worktrees/a")).expect("removed");
    closes(&scene, &["its entry in git had been removed before"]);
    let _saved = scene.saved(&lane.id);
    let back = scene.restore(&["a"]);
    assert_eq!(std::fs::read(back.path.join("new")).expect("back"), b"never committed\n");
    assert_eq!(scene.git_in(&back.path, &["status", "--porcelain"]), " M a.txt\n?? new");
    assert_eq!(scene.git_in(&back.path, &["symbolic-ref", "--short", "HEAD"]), "lanes/a");
}

#[test]
fn a_lane_that_its_user_locked_is_closed_by_name_only() {
    let scene = Scene::new();
    let made = scene.create("a");
    let path = made.path.to_str().expect("text");
    scene.git(&["worktree", "unlock", path]);
    scene.git(&["worktree", "lock", "--reason", "hands off", path]);
    scene.ok(&["cleanup", "--merged"]);
    assert_eq!(scene.json(&["show", "a"])["lane"]["state"], "ready");
    closes(&scene, &["somebody had locked it: 'hands off'"]);
    let _back = scene.restore(&["a"]);
}

#[test]
fn what_a_shell_in_the_tree_writes_afterwards_is_kept() {
    let scene = Scene::new();
    let lane = lane(&scene);
    let mut shell = Command::new("sh")
        .args([
            "-c",
            "exec 3>>open; echo first >&3; echo ready; read word; echo $word >&3; readlink /proc/$$/cwd; read word",
        ])
        .current_dir(&lane.path)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("a PATH"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut output = std::io::BufReader::new(shell.stdout.take().expect("piped"));
    let mut line = || {
        let mut line = String::new();
        let _bytes = std::io::BufRead::read_line(&mut output, &mut line).expect("a line");
        line.trim().to_owned()
    };
    assert_eq!(line(), "ready");
    closes(&scene, &["lanes restore a"]);
    assert_eq!(scene.saved(&lane.id)["state"], "pending");
    let input = shell.stdin.as_mut().expect("piped");
    input.write_all(b"second\n").expect("it lives");
    assert_eq!(Path::new(&line()), in_trash(&scene, &lane), "it is where its folder is");
    let told = trash(&scene);
    assert!(
        told.contains("kept whole for now") && told.contains(&format!("process {}", shell.id())),
        "{told}"
    );
    drop(shell.stdin.take());
    let _ended = shell.wait().expect("ends");
    // Who waits is looked at again at the start, and a few times a day.
    scene.ok(&["daemon", "restart"]);
    until("it is saved", || !in_trash(&scene, &lane).exists());
    assert!(!trash(&scene).contains("process"));
    let back = scene.restore(&["a"]);
    assert_eq!(std::fs::read(back.path.join("open")).expect("back"), b"first\nsecond\n");
}

#[test]
fn a_bind_mount_is_kept_and_told_and_nothing_in_it_is_touched() {
    for folder in [true, false] {
        let scene = Scene::new().without_spares();
        let lane = lane(&scene);
        let outside = scene.path().join("outside");
        write(&outside.join("precious"), "mine\n");
        let at = lane.path.join("mounted");
        let from = if folder { outside.clone() } else { outside.join("precious") };
        if folder {
            std::fs::create_dir(&at).expect("a folder");
        } else {
            write(&at, "");
        }
        let Some(mount) = Mounted::new(&["--bind".as_ref(), from.as_os_str()], &at) else { return };
        let now = in_trash(&scene, &lane).join("mounted");
        let umount = format!("umount '{}'", now.display());
        closes(&scene, &["something is mounted in it", &umount]);
        assert_eq!(scene.saved(&lane.id)["state"], "pending");
        assert!(trash(&scene).contains(&umount));
        assert_eq!(std::fs::read(outside.join("precious")).expect("there"), b"mine\n");
        // Freed by force it stays, and is told.
        let freed = scene.lanes(&["trash", "empty", "--yes"]);
        assert_eq!(freed.code, Some(1), "{}{}", freed.stdout, freed.stderr);
        assert!(freed.stderr.contains("something is mounted there; unmount it"), "{}", freed.stderr);
        assert!(trash(&scene).contains("cannot be restored"), "{}", trash(&scene));
        assert_eq!(std::fs::read(outside.join("precious")).expect("there"), b"mine\n");
        let gone = scene.root().join(".trash").join(format!(".gone-{}", lane.id)).join("tree/mounted");
        let unmounted = Command::new("umount").arg(&gone).status().expect("umount starts");
        assert!(unmounted.success());
        std::mem::forget(mount);
        scene.ok(&["trash", "empty", "--yes"]);
        assert!(
            !scene.root().exists(),
            "left: {:?}",
            std::fs::read_dir(scene.root())
                .map(|all| all.flatten().map(|one| one.file_name()).collect::<Vec<_>>())
        );
        assert_eq!(std::fs::read(outside.join("precious")).expect("there"), b"mine\n");
    }
}

/// A scene whose programs run as nobody; none, with a printed reason, where this test may not do that.
fn as_nobody() -> Option<Scene> {
    if !is_root() {
        eprintln!("skipped: only root can run programs as another user");
        return None;
    }
    let mut scene = Scene::new().without_spares();
    scene.become_user(65_534);
    Some(scene)
}

fn owned_by(path: &Path, uid: u32) {
    std::os::unix::fs::chown(path, Some(uid), Some(uid)).expect("chown");
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
}

#[test]
fn files_of_another_user_are_kept_and_the_command_that_frees_them_is_told() {
    let Some(scene) = as_nobody() else { return };
    let lane = scene.create("a");
    let folder = lane.path.join("docker");
    write(&folder.join("built"), "by root\n");
    owned_by(&folder, 0);
    owned_by(&folder.join("built"), 0);
    closes(&scene, &["lanes restore a"]);
    let saved = scene.saved(&lane.id);
    assert_eq!(saved["reason"], "\"docker\" belongs to user 0", "{saved}");
    let back = scene.restore(&["a"]);
    assert_eq!(std::fs::read(back.path.join("docker/built")).expect("back"), b"by root\n");
    closes(&scene, &[]);
    let freed = scene.lanes(&["trash", "empty", "--yes"]);
    let gone = scene.root().join(".trash").join(format!(".gone-{}", back.id));
    assert_eq!(freed.code, Some(1), "{}{}", freed.stdout, freed.stderr);
    assert!(freed.stderr.contains("belongs to another user (uid 0)"), "{}", freed.stderr);
    assert!(freed.stderr.contains(&format!("sudo rm -rf '{}'", gone.display())), "{}", freed.stderr);
    let left = scene.json(&["trash", "ls"]);
    assert_eq!(left["leftovers"][0]["path"].as_str(), gone.to_str(), "{left}");
    std::fs::remove_dir_all(&gone).expect("as told");
    scene.ok(&["trash", "empty", "--yes"]);
    assert!(!scene.root().exists());
}

#[test]
fn folders_without_rights_are_no_obstacle_and_come_back_as_they_were() {
    for wait in [false, true] {
        let Some(scene) = as_nobody() else { return };
        let lane = scene.create("a");
        write(&lane.path.join("read-only/file"), "x\n");
        owned_by(&lane.path.join("read-only"), 65_534);
        owned_by(&lane.path.join("read-only/file"), 65_534);
        set_mode(&lane.path.join("read-only"), 0o555);
        set_mode(&lane.path, 0o555);
        let before = State::of(&scene, &lane.path);
        closes(&scene, &["lanes restore a"]);
        if wait {
            assert_eq!(scene.saved(&lane.id)["state"], "archived");
        }
        let back = scene.restore(&["a"]);
        before.same(&State::of(&scene, &back.path));
        set_mode(&back.path, 0o755);
        std::fs::create_dir(back.path.join("closed")).expect("a folder");
        write(&back.path.join("closed/file"), "x\n");
        owned_by(&back.path.join("closed/file"), 65_534);
        owned_by(&back.path.join("closed"), 65_534);
        set_mode(&back.path.join("closed"), 0);
        let before = State::of(&scene, &back.path);
        closes(&scene, &[]);
        if wait {
            assert_eq!(scene.saved(&back.id)["reason"], "a part of it cannot be read");
        }
        let again = scene.restore(&["a"]);
        before.same(&State::of(&scene, &again.path));
        closes(&scene, &[]);
        scene.ok(&["trash", "empty", "--yes"]);
        assert!(!scene.root().exists(), "a folder of ours without rights is removed like any other");
    }
}

#[test]
fn a_root_that_cannot_be_written_to_keeps_the_lane_cleaning_until_it_can() {
    let Some(scene) = as_nobody() else { return };
    let lane = scene.create("a");
    write(&lane.path.join("new"), "x\n");
    owned_by(&lane.path.join("new"), 65_534);
    let before = State::of(&scene, &lane.path);
    set_mode(&scene.root(), 0o555);
    let failed = scene.lanes(&["cleanup", "a"]);
    assert_eq!(failed.code, Some(1), "{}{}", failed.stdout, failed.stderr);
    assert!(
        failed.stdout.contains("Permission denied") && failed.stdout.contains("ls -ld"),
        "{}",
        failed.stdout
    );
    assert_eq!(scene.json(&["show", "a"])["lane"]["state"], "cleaning");
    before.same(&State::of(&scene, &lane.path));
    set_mode(&scene.root(), 0o700);
    closes(&scene, &["lanes restore a"]);
    before.same(&State::of(&scene, &scene.restore(&["a"]).path));
}
