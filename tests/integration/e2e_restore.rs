//! What a lane had that nobody else has outlives its cleanup, in every kind of repository.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::e2e::{Made, Scene};
use crate::support::stage::until;
use crate::support::state::State;

/// What is special about the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    LineEndings,
    Submodule,
    Filter,
    Sparse,
    Sha256,
    Reftable,
}

/// When the lane is brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    AtOnce,
    Saved,
}

/// Objects that only the lane held.
struct Held {
    in_reflog: String,
    detached: String,
    in_submodule: Option<String>,
    staged_blob: String,
}

fn repository(kind: Kind) -> Scene {
    let mut scene = Scene::empty(match kind {
        Kind::Sha256 => &["--object-format=sha256"],
        Kind::Reftable => &["--ref-format=reftable"],
        Kind::Plain | Kind::LineEndings | Kind::Submodule | Kind::Filter | Kind::Sparse => &[],
    });
    scene.set("GIT_OPTIONAL_LOCKS", "0");
    for name in ["one.txt", "two.txt", "gone.txt", "assumed.txt", "skipped.txt", "staged.txt", "deep/er/file"]
    {
        scene.write(name, &format!("{name}\nof the base\n"));
    }
    scene.write("mixed.txt", "a\r\nb\nc\r\n");
    scene.write("run.sh", "#!/bin/sh\n");
    std::fs::set_permissions(scene.repo().join("run.sh"), PermissionsExt::from_mode(0o755)).expect("a mode");
    std::os::unix::fs::symlink("deep/er/file", scene.repo().join("link")).expect("a link");
    scene.commit("first");
    match kind {
        Kind::Plain | Kind::Sha256 | Kind::Reftable => {}
        Kind::LineEndings => {
            scene.write(".gitattributes", "*.auto text=auto\n*.crlf text eol=crlf\n");
            scene.write("some.auto", "one\ntwo\n");
            scene.write("some.crlf", "one\ntwo\n");
            scene.commit("attributes");
            scene.git(&["config", "core.autocrlf", "true"]);
        }
        Kind::Submodule => {
            let other = scene.path().join("work/other");
            std::fs::create_dir(&other).expect("a folder");
            scene.git_in(&other, &["init", "-q"]);
            std::fs::write(other.join("inner.txt"), "inner\n").expect("a file");
            scene.git_in(&other, &["add", "."]);
            scene.git_in(&other, &["commit", "-qm", "inner"]);
            scene.git(&["submodule", "--quiet", "add", "../other", "mod"]);
            scene.commit("a submodule");
        }
        Kind::Filter => {
            let up = scene.script("up", "#!/bin/sh\nexec tr a-z A-Z\n");
            let down = scene.script("down", "#!/bin/sh\nexec tr A-Z a-z\n");
            for (key, value) in [
                ("filter.case.smudge", up.to_str().expect("text")),
                ("filter.case.clean", down.to_str().expect("text")),
                ("filter.case.required", "true"),
            ] {
                scene.git(&["config", key, value]);
            }
            scene.write(".gitattributes", "*.up filter=case\n");
            scene.write("clean.up", "QUIET\n");
            scene.write("dirty.up", "LOUD\n");
            scene.commit("a filter");
            assert_eq!(scene.git(&["show", "HEAD:clean.up"]), "quiet");
        }
        Kind::Sparse => {
            scene.write("far/away.txt", "far away\n");
            scene.write("near/by.txt", "near by\n");
            scene.commit("two folders");
            scene.git(&["sparse-checkout", "set", "--cone", "near", "deep"]);
            assert!(!scene.repo().join("far").exists());
        }
    }
    scene
}

/// Everything that a lane may have that no branch has.
fn work_in(scene: &Scene, lane: &Made, kind: Kind) -> Held {
    let tree = &lane.path;
    let git = |args: &[&str]| scene.git_in(tree, args);
    let write = |name: &str, text: &[u8]| std::fs::write(tree.join(name), text).expect("a file");
    let commit = |name: &str| {
        write(name, name.as_bytes());
        git(&["add", "--sparse", name]);
        git(&["commit", "-qm", name]);
        git(&["rev-parse", "HEAD"])
    };
    let in_reflog = commit("only in the reflog");
    git(&["reset", "-q", "--hard", "HEAD~1"]);
    git(&["checkout", "-q", "--detach"]);
    let detached = commit("on a detached head");
    write("line endings", b"a\r\nb\nc\r\r\n\0");
    write("one.txt", b"one\r\nmixed\nnow\r\n");
    std::fs::set_permissions(tree.join("one.txt"), PermissionsExt::from_mode(0o600)).expect("a mode");
    std::fs::set_permissions(tree.join("run.sh"), PermissionsExt::from_mode(0o700)).expect("a mode");
    std::fs::create_dir_all(tree.join("empty/inner")).expect("folders");
    std::os::unix::fs::symlink("../../outside//x/", tree.join("dangling")).expect("a link");
    write("intent.txt", b"intent\n");
    git(&["add", "--sparse", "-N", "intent.txt"]);
    write("staged.txt", b"staged once\n");
    git(&["add", "--sparse", "staged.txt"]);
    let staged_blob = git(&["rev-parse", ":staged.txt"]);
    write("staged.txt", b"then changed\n");
    git(&["update-index", "--assume-unchanged", "assumed.txt"]);
    write("assumed.txt", b"edited under assume-unchanged\n");
    git(&["update-index", "--skip-worktree", "skipped.txt"]);
    write("skipped.txt", b"edited under skip-worktree\n");
    std::fs::remove_file(tree.join("gone.txt")).expect("removed");
    git(&["rm", "-q", "--cached", "two.txt"]);
    let mut in_submodule = None;
    match kind {
        Kind::Plain | Kind::Sha256 | Kind::Reftable => {}
        Kind::LineEndings => {
            write("some.auto", b"one\r\ntwo\nthree\r\n");
            write("some.crlf", b"one\ntwo\r\n");
        }
        Kind::Submodule => {
            let inner = tree.join("mod");
            assert!(inner.join("inner.txt").exists(), "the submodule of a lane is there");
            std::fs::write(inner.join("inner.txt"), "changed\n").expect("a file");
            scene.git_in(&inner, &["commit", "-qam", "inside"]);
            in_submodule = Some(scene.git_in(&inner, &["rev-parse", "HEAD"]));
            std::fs::write(inner.join("inner.txt"), "and again\n").expect("a file");
            std::fs::write(inner.join("new"), "untracked\n").expect("a file");
        }
        Kind::Filter => {
            assert_eq!(std::fs::read(tree.join("clean.up")).expect("there"), b"QUIET\n");
            write("dirty.up", b"LouD aNd MiXeD\r\n");
            write("new.up", b"aBc\n");
        }
        Kind::Sparse => {
            assert!(!tree.join("far").exists(), "a lane is as sparse as the checkout it comes from");
            std::fs::create_dir(tree.join("far")).expect("a folder");
            write("far/untracked", b"outside of the cone\n");
            write("near/by.txt", b"changed\n");
        }
    }
    Held { in_reflog, detached, in_submodule, staged_blob }
}

/// What anybody may do at any time, and what removes everything that nothing holds.
fn collect_garbage(scene: &Scene) {
    scene.git(&["worktree", "prune", "--expire=now"]);
    scene.git(&["gc", "-q", "--prune=now"]);
    scene.git(&["fsck", "--no-progress", "--no-dangling"]);
}

fn nothing_is_pushed(scene: &Scene, held: &Held) {
    let mirror = scene.path().join("mirror");
    let format = scene.git(&["rev-parse", "--show-object-format"]);
    std::fs::create_dir(&mirror).expect("a folder");
    scene.git_in(&mirror, &["init", "-q", "--bare", &format!("--object-format={format}")]);
    scene.git(&["push", "-q", "--mirror", mirror.to_str().expect("text")]);
    let refs = |folder: &Path| scene.git_in(folder, &["for-each-ref", "--format=%(refname) %(objectname)"]);
    let pushed = refs(&mirror);
    assert!(pushed.lines().all(|line| line.starts_with("refs/heads/main ")), "{pushed}");
    for oid in [&held.in_reflog, &held.detached, &held.staged_blob] {
        assert_ne!(scene.try_git(&mirror, &["cat-file", "-e", oid]).code, Some(0), "{oid} was published");
    }
    std::fs::remove_dir_all(&mirror).expect("removed");
}

fn all_is_reachable(scene: &Scene, held: &Held, submodule: Option<PathBuf>) {
    for oid in [&held.in_reflog, &held.detached, &held.staged_blob] {
        scene.git(&["cat-file", "-e", oid]);
    }
    if let (Some(oid), Some(git_dir)) = (&held.in_submodule, submodule) {
        let git_dir = format!("--git-dir={}", git_dir.display());
        scene.git(&[git_dir.as_str(), "--work-tree=.", "gc", "-q", "--prune=now"]);
        scene.git(&[git_dir.as_str(), "--work-tree=.", "cat-file", "-e", oid]);
    }
}

fn check(kind: Kind, moment: Moment) {
    let scene = repository(kind);
    let before_all = scene.inventory();
    let lane = scene.create("a");
    let exec = scene.lanes(&["exec", "a", "--", "sh", "-c", "echo hi > f; exit 7"]);
    assert_eq!(exec.code, Some(7), "{}{}", exec.stdout, exec.stderr);
    assert_eq!(std::fs::read(lane.path.join("f")).expect("in the lane"), b"hi\n");
    assert!(!scene.repo().join("f").exists());
    assert_eq!(scene.git(&["status", "--porcelain"]), "");
    let held = work_in(&scene, &lane, kind);
    let before = State::of(&scene, &lane.path);

    scene.ok(&["cleanup", "a"]);
    let closed = scene.inventory();
    assert!(!lane.path.exists());
    assert_eq!(closed.trash, BTreeSet::from([lane.id.clone()]));
    let mut rest = closed.clone();
    rest.trash.clear();
    assert_eq!(rest, before_all, "something of the lane is left");
    if moment == Moment::Saved {
        let saved = scene.saved(&lane.id);
        let wanted = if kind == Kind::Submodule { "whole" } else { "archived" };
        assert_eq!(saved["state"], wanted, "{saved}");
    }
    let trash = scene.root().join(".trash").join(&lane.id);
    scene.git(&["reflog", "expire", "--expire=now", "--all"]);
    collect_garbage(&scene);
    all_is_reachable(&scene, &held, Some(trash.join("admin/modules/mod")));
    nothing_is_pushed(&scene, &held);

    let again = scene.restore(&["a"]);
    assert_eq!((&again.path, &again.branch), (&lane.path, &lane.branch));
    assert_ne!(again.id, lane.id);
    before.same(&State::of(&scene, &lane.path));
    assert_eq!(scene.sh("a", "cat f"), "hi");
    collect_garbage(&scene);
    let admin = scene.git_in(&lane.path, &["rev-parse", "--absolute-git-dir"]);
    all_is_reachable(&scene, &held, Some(Path::new(&admin).join("modules/mod")));
    if kind == Kind::Submodule {
        assert_eq!(
            scene.git_in(&lane.path.join("mod"), &["rev-parse", "HEAD"]),
            held.in_submodule.clone().expect("made")
        );
    }

    scene.ok(&["cleanup", "a"]);
    let second = scene.inventory();
    assert_eq!(second.trash, BTreeSet::from([again.id.clone()]));
    assert_eq!((&second.trees, &second.admin), (&before_all.trees, &before_all.admin));
    if moment == Moment::Saved {
        let _saved = scene.saved(&again.id);
    }
    let third = scene.restore(&[&again.id]);
    before.same(&State::of(&scene, &third.path));
    scene.ok(&["cleanup", "a"]);
    scene.ok(&["trash", "empty", "--yes"]);
    let end = scene.inventory();
    assert_eq!(end, before_all);
    collect_garbage(&scene);
    assert_ne!(scene.try_git(&scene.repo(), &["cat-file", "-e", &held.detached]).code, Some(0));
}

macro_rules! every_kind {
    ($($name:ident: $kind:ident, $moment:ident;)*) => {
        $(#[test]
        fn $name() {
            check(Kind::$kind, Moment::$moment);
        })*
    };
}

every_kind! {
    a_plain_repository_at_once: Plain, AtOnce;
    a_plain_repository_after_saving: Plain, Saved;
    with_line_endings_at_once: LineEndings, AtOnce;
    with_line_endings_after_saving: LineEndings, Saved;
    with_a_submodule_at_once: Submodule, AtOnce;
    with_a_submodule_after_saving: Submodule, Saved;
    with_a_required_filter_at_once: Filter, AtOnce;
    with_a_required_filter_after_saving: Filter, Saved;
    a_sparse_checkout_at_once: Sparse, AtOnce;
    a_sparse_checkout_after_saving: Sparse, Saved;
    with_sha256_at_once: Sha256, AtOnce;
    with_sha256_after_saving: Sha256, Saved;
    with_reftable_at_once: Reftable, AtOnce;
    with_reftable_after_saving: Reftable, Saved;
}

/// A lane with one file that git does not know and one commit that only its branch has.
fn busy_lane(scene: &Scene, name: &str) -> (Made, String) {
    let lane = scene.create(name);
    scene.sh(name, "echo mine > f; echo more >> a.txt; git commit -qam own; echo left > g");
    let head = scene.git_in(&lane.path, &["rev-parse", "HEAD"]);
    (lane, head)
}

fn comes_back_whole(scene: &Scene, lane: &Made, head: &str) {
    assert_eq!(std::fs::read(lane.path.join("f")).expect("there"), b"mine\n");
    assert_eq!(std::fs::read(lane.path.join("g")).expect("there"), b"left\n");
    assert_eq!(scene.git_in(&lane.path, &["rev-parse", "HEAD"]), head);
    assert_eq!(scene.git_in(&lane.path, &["status", "--porcelain"]), "?? f\n?? g");
}

#[test]
fn the_trash_is_listed_and_emptied_one_by_one_and_whole() {
    let scene = Scene::new();
    let lanes = ["a", "b", "c"].map(|name| busy_lane(&scene, name).0);
    scene.ok(&["cleanup", "a", "b", "c"]);
    for lane in &lanes {
        let _saved = scene.saved(&lane.id);
    }
    let listed = scene.json(&["trash", "ls"]);
    // The oldest first; they were closed at the same time.
    let mut listed = listed["trash"].as_array().expect("a list").clone();
    assert!(listed.is_sorted_by_key(|entry| entry["at"].as_str().map(str::to_owned)), "{listed:?}");
    listed.sort_by_key(|entry| entry["id"].as_str().map(str::to_owned));
    assert_eq!(listed.len(), 3);
    for (entry, lane) in listed.iter().zip(&lanes) {
        assert_eq!((entry["id"].as_str(), entry["name"].as_str()), (Some(&*lane.id), Some(&*lane.name)));
        assert_eq!(entry["saved"]["state"], "archived", "{entry}");
        assert!(entry["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{entry}");
    }
    scene.fails(&["trash", "empty", "--yes", "nobody"], 4, "LANE_NOT_FOUND");
    let freed = scene.ok(&["trash", "empty", "--yes", "a"]);
    assert!(freed.starts_with(&format!("freed a ({}), ", lanes[0].id)) && freed.ends_with("iB"), "{freed}");
    scene.fails(&["restore", "a"], 4, "LANE_NOT_FOUND");
    assert_eq!(scene.inventory().trash.len(), 2);
    // Without somebody to ask, nothing is freed.
    assert_ne!(scene.lanes(&["trash", "empty"]).code, Some(0));
    assert_eq!(scene.inventory().trash.len(), 2);
    scene.restore(&["b"]);
    scene.ok(&["trash", "empty", "--yes"]);
    assert_eq!(scene.json(&["trash", "ls"])["trash"], serde_json::json!([]));
    assert!(!scene.root().join(".trash").exists() && !scene.root().join(".vault").exists());
    assert_eq!(scene.inventory().admin, BTreeSet::from(["b".to_owned()]));
    scene.ok(&["show", "b"]);
}

#[test]
fn what_is_past_its_time_is_freed() {
    let scene = Scene::new();
    let (lane, head) = busy_lane(&scene, "a");
    scene.ok(&["cleanup", "a"]);
    let _saved = scene.saved(&lane.id);
    scene.ok(&["daemon", "restart"]);
    assert_eq!(scene.json(&["trash", "ls"])["trash"].as_array().map(Vec::len), Some(1));
    // What would free trash sooner needs the user's approval.
    scene.write("lanes.toml", "[trash]\nkeep = \"1ms\"\n");
    scene.ok(&["daemon", "restart"]);
    assert_eq!(scene.json(&["trash", "ls"])["trash"].as_array().map(Vec::len), Some(1));
    scene.ok(&["trust", "--yes"]);
    scene.ok(&["daemon", "restart"]);
    until("the trash has expired", || scene.json(&["trash", "ls"])["trash"] == serde_json::json!([]));
    until("its folder is gone", || scene.inventory().trash.is_empty());
    // Its branch had a commit that no other has: that is never trash.
    assert_eq!(scene.git(&["rev-parse", "lanes/a"]), head);
}

#[test]
fn a_lane_comes_back_under_another_name() {
    let scene = Scene::new();
    let (lane, head) = busy_lane(&scene, "a");
    scene.ok(&["cleanup", "a"]);
    let other = scene.restore(&["a", "--name", "other"]);
    assert_eq!((other.name.as_str(), other.path.file_name()), ("other", Some("other".as_ref())));
    assert_eq!(other.branch, lane.branch);
    assert!(!lane.path.exists());
    comes_back_whole(&scene, &other, &head);
    assert_eq!(scene.ok(&["exec", "other", "--", "git", "symbolic-ref", "--short", "HEAD"]), "lanes/a");
    scene.fails(&["restore", "a"], 4, "LANE_NOT_FOUND");
    scene.ok(&["cleanup", "other"]);
    scene.nothing_open();
    comes_back_whole(&scene, &scene.restore(&["other"]), &head);
}

#[test]
fn a_taken_name_is_said_and_a_branch_in_use_is_left_alone() {
    let scene = Scene::new();
    let first = scene.create("a");
    scene.sh("a", "echo mine > f; echo left > g");
    let head = scene.git_in(&first.path, &["rev-parse", "HEAD"]);
    scene.ok(&["cleanup", "a"]);
    assert!(!scene.inventory().branches.contains("lanes/a"), "a merged branch is deleted");
    let second = scene.create("a");
    let before = scene.inventory();
    let error = scene.fails(&["restore", &first.id], 3, "NAME_TAKEN");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("--name")), "{error}");
    assert_eq!(scene.inventory(), before);
    let reply = scene.json(&["restore", &first.id, "--name", "b"]);
    let notes = reply["notes"].to_string();
    assert!(notes.contains("lanes/a") && notes.contains("detached"), "{reply}");
    let back = scene.root().join("b");
    assert_eq!(scene.git_in(&back, &["rev-parse", "HEAD"]), head);
    assert_ne!(scene.try_git(&back, &["symbolic-ref", "-q", "HEAD"]).code, Some(0), "it is detached");
    assert_eq!(scene.git_in(&second.path, &["symbolic-ref", "--short", "HEAD"]), "lanes/a");
    assert_eq!(std::fs::read(back.join("f")).expect("there"), b"mine\n");
    // The branch is the second lane's: closing the first does not touch it.
    scene.ok(&["cleanup", "b"]);
    assert!(scene.inventory().branches.contains("lanes/a"));
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
}

#[test]
fn a_lane_comes_back_after_its_kept_branch_was_deleted() {
    for saved in [false, true] {
        let scene = Scene::new();
        let (lane, head) = busy_lane(&scene, "a");
        let said = scene.lanes(&["cleanup", "a"]);
        assert!(format!("{}{}", said.stdout, said.stderr).contains("lanes/a"), "the kept branch is said");
        if saved {
            let _saved = scene.saved(&lane.id);
        }
        scene.git(&["branch", "-q", "-D", "lanes/a"]);
        collect_garbage(&scene);
        let back = scene.restore(&["a"]);
        comes_back_whole(&scene, &back, &head);
        assert_eq!(scene.git_in(&back.path, &["symbolic-ref", "--short", "HEAD"]), "lanes/a");
    }
}

#[test]
fn a_lane_comes_back_detached_when_its_branch_has_moved_on() {
    let scene = Scene::new();
    let (_lane, head) = busy_lane(&scene, "a");
    scene.ok(&["cleanup", "a"]);
    scene.git(&["branch", "-q", "-f", "lanes/a", "main"]);
    collect_garbage(&scene);
    let back = scene.restore(&["a"]);
    comes_back_whole(&scene, &back, &head);
    assert_eq!(scene.git(&["rev-parse", "lanes/a"]), scene.git(&["rev-parse", "main"]));
}

#[test]
fn a_lane_whose_tree_was_deleted_is_closed_and_its_commits_come_back() {
    let scene = Scene::new();
    let (lane, head) = busy_lane(&scene, "a");
    std::fs::remove_dir_all(&lane.path).expect("removed");
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
    let back = scene.restore(&["a"]);
    assert_eq!(scene.git_in(&back.path, &["rev-parse", "HEAD"]), head);
    // What was deleted stays deleted; git has it.
    scene.git_in(&back.path, &["checkout", "-q", "."]);
    assert_eq!(std::fs::read(back.path.join("sub/b.txt")).expect("there"), b"b\n");
}

#[test]
fn a_lane_that_git_removed_is_closed() {
    let scene = Scene::new();
    let (lane, head) = busy_lane(&scene, "a");
    scene.git(&["worktree", "remove", "-f", "-f", lane.path.to_str().expect("text")]);
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
    assert_eq!(scene.git(&["rev-parse", "lanes/a"]), head);
    let back = scene.restore(&["a"]);
    assert_eq!(scene.git_in(&back.path, &["rev-parse", "HEAD"]), head);
}

#[test]
fn a_lane_whose_branch_was_deleted_is_closed_and_comes_back() {
    let scene = Scene::new();
    let (_lane, head) = busy_lane(&scene, "a");
    scene.git(&["update-ref", "-d", "refs/heads/lanes/a"]);
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
    collect_garbage(&scene);
    let back = scene.restore(&["a"]);
    assert_eq!(std::fs::read(back.path.join("f")).expect("there"), b"mine\n");
    scene.git(&["cat-file", "-e", &head]);
}

#[test]
fn what_was_put_in_the_place_of_a_tree_is_not_touched() {
    let scene = Scene::new();
    let (lane, head) = busy_lane(&scene, "a");
    let (aside, outside) = (scene.path().join("aside"), scene.path().join("outside"));
    std::fs::create_dir(&outside).expect("a folder");
    std::fs::write(outside.join("precious"), "mine").expect("a file");
    std::fs::rename(&lane.path, &aside).expect("moved");
    std::os::unix::fs::symlink(&outside, &lane.path).expect("a link");
    let said = scene.lanes(&["cleanup", "a"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("left alone, as a file or link is there instead"), "{}", said.stdout);
    assert_eq!(std::fs::read(outside.join("precious")).expect("there"), b"mine");
    assert_eq!(std::fs::read_link(&lane.path).expect("still a link"), outside);
    assert_eq!(std::fs::read(aside.join("f")).expect("there"), b"mine\n");
    assert!(scene.inventory().admin.is_empty());
    scene.fails(&["restore", "a"], 1, "IO");
    assert_eq!(std::fs::read_link(&lane.path).expect("still a link"), outside);
    std::fs::remove_file(&lane.path).expect("removed");
    let back = scene.restore(&["a"]);
    assert_eq!(scene.git_in(&back.path, &["rev-parse", "HEAD"]), head);
}

#[test]
fn the_end_of_a_short_command_is_always_known() {
    let scene = Scene::new();
    let lanes = ["a", "b", "c", "d"].map(|name| scene.create(name));
    std::thread::scope(|scope| {
        for lane in &lanes {
            let scene = &scene;
            scope.spawn(move || {
                for code in 0..12 {
                    let word = format!("exit {code}");
                    let ran = scene.lanes(&["exec", &lane.name, "--", "sh", "-c", &word]);
                    assert_eq!(ran.code, Some(code), "{}", ran.stderr);
                }
            });
        }
    });
}
