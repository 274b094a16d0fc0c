//! Faults planted in a repository, as other tools do it: told, and mended where that is safe.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::doctor::{Said, doctor, doctor_in, picture, same};
use crate::support::e2e::Scene;

fn message(said: &Said, id: &str, status: &str) -> String {
    said.has(id, status)["message"].as_str().expect("text").to_owned()
}

/// The doctor tells it, changes nothing, mends it when asked to, and finds nothing afterwards.
#[track_caller]
fn told_and_mended(scene: &Scene, id: &str, status: &str) -> String {
    let before = [scene.repo(), scene.root()].map(|place| picture(&place));
    let told = doctor(scene, &[]);
    for (place, before) in [scene.repo(), scene.root()].iter().zip(&before) {
        same(before, &picture(place));
    }
    assert_eq!(told.has(id, status)["fixable"], true);
    assert_eq!(told.code, i32::from(status == "fail"));
    let mended = doctor(scene, &["--fix"]);
    mended.is_well();
    assert_eq!(mended.has(id, "ok")["fixed"], true);
    doctor(scene, &[]).is_well();
    message(&mended, id, "ok")
}

#[test]
fn bare_and_worktree_in_the_shared_configuration_are_unset() {
    let scene = Scene::new().without_spares();
    let lane = scene.create("a");
    scene.git(&["config", "core.bare", "true"]);
    assert_ne!(scene.try_git(&scene.repo(), &["status"]).code, Some(0), "the harm is there");
    let said = told_and_mended(&scene, "repository.bare", "fail");
    scene.git(&["status"]);
    assert!(said.contains("core.bare 'true'"), "the way back is not told: {said}");
    scene.git(&["config", "core.worktree", "/nowhere/at all"]);
    let said = told_and_mended(&scene, "repository.worktree", "fail");
    assert!(said.contains("'/nowhere/at all'"), "{said}");
    assert_eq!(scene.git_in(&lane.path, &["status", "--porcelain"]), "");
    assert_eq!(scene.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_repository_that_is_meant_to_be_bare_is_left_so() {
    let scene = Scene::new().without_spares();
    let bare = scene.path().join("work/hub/.git");
    std::fs::create_dir_all(bare.parent().expect("a folder")).expect("made");
    scene.git(&["clone", "-q", "--bare", ".", bare.to_str().expect("text")]);
    let folder = bare.parent().expect("a folder");
    let said = doctor_in(&scene, folder, &["--fix"]);
    said.is_well();
    assert_eq!(scene.git_in(folder, &["config", "core.bare"]), "true");
}

#[test]
fn hooks_elsewhere_are_told_and_left() {
    let scene = Scene::new().without_spares();
    scene.git(&["config", "core.hooksPath", "/gone/hooks"]);
    scene.git(&["config", "gc.pruneExpire", "now"]);
    let said = doctor(&scene, &["--fix"]);
    assert!(message(&said, "repository.hooks", "warn").contains("/gone/hooks"));
    assert!(message(&said, "repository.gc", "warn").contains("gc.pruneExpire"));
    assert_eq!(said.code, 0);
    assert_eq!(scene.git(&["config", "core.hooksPath"]), "/gone/hooks");
    scene.git(&["config", "core.hooksPath", ".husky/_"]);
    let _told = doctor(&scene, &[]).has("repository.hooks", "note");
}

#[test]
fn a_branch_in_the_way_is_told() {
    let scene = Scene::new().without_spares();
    scene.git(&["branch", "lanes"]);
    let said = doctor(&scene, &[]);
    assert_eq!(said.code, 1);
    assert!(message(&said, "repository.branch", "fail").contains("called lanes"));
    scene.git(&["branch", "-D", "lanes"]);
    doctor(&scene, &[]).is_well();
}

#[test]
fn a_lock_that_was_left_is_told_once_it_is_old_and_nobody_holds_it() {
    let scene = Scene::new().without_spares();
    let lane = scene.create("a");
    let admin = scene.git_in(&lane.path, &["rev-parse", "--absolute-git-dir"]);
    let lock = Path::new(&admin).join("index.lock");
    std::fs::write(&lock, "").expect("written");
    let _young = doctor(&scene, &[]).has("repository.locks", "ok");
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    std::fs::File::options().write(true).open(&lock).and_then(|file| file.set_modified(old)).expect("set");
    let told = doctor(&scene, &["--fix"]);
    assert!(message(&told, "repository.locks", "warn").contains("index.lock"));
    assert!(lock.exists(), "it may be somebody's");
    // A git that waits for an editor holds its lock as long as it likes.
    let script = scene.script(
        "wait",
        "#!/bin/sh\n: >\"$TMPDIR/waits\"\nwhile ! test -e \"$TMPDIR/go\"; do sleep 0.05; done\n",
    );
    std::fs::remove_file(&lock).expect("removed");
    let mut commit = std::process::Command::new("git");
    commit.args(["commit", "--allow-empty"]).current_dir(&lane.path).env_clear().envs(scene.env());
    let mut commit =
        commit.env("GIT_EDITOR", &script).stdout(std::process::Stdio::null()).spawn().expect("starts");
    let tmp = scene.path().join("tmp");
    crate::support::stage::until("git waits", || tmp.join("waits").exists());
    std::fs::write(&lock, "").expect("written");
    std::fs::File::options().write(true).open(&lock).and_then(|file| file.set_modified(old)).expect("set");
    let _held = doctor(&scene, &[]).has("repository.locks", "ok");
    std::fs::remove_file(&lock).expect("removed");
    std::fs::write(tmp.join("go"), "").expect("written");
    let _empty_message = commit.wait().expect("ends");
}

#[test]
fn entries_of_other_tools_are_told_and_left() {
    let scene = Scene::new().without_spares();
    scene.create("a");
    let theirs = scene.path().join("work/theirs");
    let held = scene.path().join("work/held");
    for (tree, lock) in [(&theirs, false), (&held, true)] {
        let tree = tree.to_str().expect("text");
        scene.git(&["worktree", "add", "-q", "--detach", tree]);
        if lock {
            scene.git(&["worktree", "lock", "--reason", "agent 123", tree]);
        }
        std::fs::remove_dir_all(tree).expect("removed");
    }
    let entries = || scene.git(&["worktree", "list", "--porcelain"]);
    let before = entries();
    let said = doctor(&scene, &["--fix"]);
    said.is_well();
    let notes: Vec<String> = said
        .checks
        .iter()
        .filter(|check| check["id"] == "trees.links")
        .map(|check| check["message"].to_string())
        .collect();
    assert!(notes.iter().any(|note| note.contains("git would forget it")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("agent 123")), "{notes:?}");
    assert_eq!(entries(), before);
}

#[test]
fn a_git_file_that_leads_elsewhere_is_told() {
    let scene = Scene::new().without_spares();
    let lane = scene.create("a");
    let file = lane.path.join(".git");
    let before = std::fs::read(&file).expect("reads");
    std::fs::write(&file, format!("gitdir: {}\n", scene.repo().join(".git").display())).expect("written");
    let said = doctor(&scene, &["--fix"]);
    assert_eq!(said.code, 1);
    assert!(message(&said, "trees.links", "fail").contains("leads to"));
    std::fs::write(&file, before).expect("written");
    doctor(&scene, &[]).is_well();
}

#[test]
fn a_root_that_others_write_to_is_told() {
    let scene = Scene::new().without_spares();
    scene.create("a");
    let set =
        |mode| std::fs::set_permissions(scene.root(), std::fs::Permissions::from_mode(mode)).expect("set");
    set(0o777);
    let said = doctor(&scene, &["--fix"]);
    assert!(message(&said, "trees.root", "fail").contains("others can write"));
    set(0o700);
}

#[test]
fn a_tree_that_was_moved_or_is_gone_is_told() {
    let scene = Scene::new().without_spares();
    let (moved, gone) = (scene.create("moved"), scene.create("gone"));
    scene.ok(&["daemon", "stop"]);
    let to = scene.root().join("elsewhere");
    std::fs::rename(&moved.path, &to).expect("moved");
    std::fs::remove_dir_all(&gone.path).expect("removed");
    let said = doctor(&scene, &["--fix"]);
    assert_eq!(said.code, 1);
    let told = said.has("lanes.trees", "fail");
    assert!(told["message"].as_str().expect("text").contains("was moved"), "{told}");
    assert!(told["hint"].as_str().expect("text").contains("mv '"), "{told}");
    assert!(message(&said, "lanes.trees", "warn").contains("of lane gone is gone"));
    std::fs::rename(&to, &moved.path).expect("moved back");
    scene.ok(&["ls"]);
}

/// A lane in the trash that holds a commit and a staged file of its own.
fn with_trash() -> (Scene, String) {
    let scene = Scene::new().without_spares();
    let lane = scene.create("gone");
    scene.git_in(&lane.path, &["checkout", "-q", "--detach"]);
    scene.git_in(&lane.path, &["commit", "-q", "--allow-empty", "-m", "detached"]);
    std::fs::write(lane.path.join("staged"), "only in the index\n").expect("writes");
    scene.git_in(&lane.path, &["add", "staged"]);
    let commit = scene.git_in(&lane.path, &["rev-parse", "HEAD"]);
    scene.ok(&["cleanup", "gone"]);
    let _saved = scene.saved(&lane.id);
    (scene, commit)
}

fn vault(scene: &Scene) -> std::path::PathBuf {
    let admins = std::fs::read_dir(scene.repo().join(".git/worktrees")).expect("a folder").flatten();
    let is_vault =
        |path: &Path| std::fs::read_to_string(path.join("gitdir")).is_ok_and(|text| text.contains(".vault"));
    admins.map(|entry| entry.path()).find(|path| is_vault(path)).expect("the vault")
}

#[test]
fn a_vault_that_somebody_unlocked_is_locked_again() {
    let (scene, _commit) = with_trash();
    std::fs::remove_file(vault(&scene).join("locked")).expect("removed");
    let _said = told_and_mended(&scene, "trash.vault", "warn");
    assert_eq!(std::fs::read(vault(&scene).join("locked")).expect("reads"), b"lanes vault");
    scene.restore(&["gone"]);
    scene.ok(&["cleanup", "gone"]);
}

#[test]
fn a_vault_that_lost_its_chain_or_is_gone_is_told() {
    let (scene, commit) = with_trash();
    let vault = vault(&scene);
    let head = std::fs::read(vault.join("HEAD")).expect("reads");
    std::fs::write(vault.join("HEAD"), scene.git(&["rev-parse", "main"]) + "\n").expect("written");
    let said = doctor(&scene, &["--fix"]);
    assert_eq!(said.code, 1);
    let told = message(&said, "trash.vault", "fail");
    assert!(told.contains("not reached") && told.contains(&commit) && told.contains("2 "), "{told}");
    std::fs::write(vault.join("HEAD"), head).expect("written");
    doctor(&scene, &[]).is_well();
    let aside = scene.path().join("tmp/vault");
    std::fs::rename(&vault, &aside).expect("moved");
    assert!(message(&doctor(&scene, &[]), "trash.vault", "fail").contains("is gone"));
    std::fs::rename(&aside, &vault).expect("moved back");
    // What was collected all the same is named.
    let (first, rest) = commit.split_at(2);
    let object = scene.repo().join(".git/objects").join(first).join(rest);
    let (bytes, kept) = (std::fs::read(&object).expect("reads"), object.with_extension("kept"));
    std::fs::rename(&object, &kept).expect("moved");
    let said = doctor(&scene, &[]);
    assert_eq!(said.code, 1);
    assert!(said.ill().iter().any(|ill| ill.contains(&commit)), "{:#?}", said.ill());
    std::fs::rename(&kept, &object).expect("moved back");
    assert_eq!(std::fs::read(&object).expect("reads"), bytes);
}

#[test]
fn an_entry_of_the_trash_that_cannot_be_read_is_told_and_kept() {
    let (scene, _commit) = with_trash();
    let entry =
        std::fs::read_dir(scene.root().join(".trash")).expect("a folder").flatten().next().expect("an entry");
    let file = entry.path().join("entry.json");
    let before = std::fs::read(&file).expect("reads");
    std::fs::write(&file, "{").expect("written");
    let said = doctor(&scene, &["--fix"]);
    assert_eq!(said.code, 1);
    assert!(message(&said, "trash.entries", "fail").contains("cannot be read"));
    std::fs::write(&file, before).expect("written");
    doctor(&scene, &[]).is_well();
    scene.write("lanes.toml", "[trash]\nmax = \"1KiB\"\n");
    scene.ok(&["trust", "--yes"]);
    assert!(message(&doctor(&scene, &[]), "trash.size", "note").contains("trash.max"));
}
