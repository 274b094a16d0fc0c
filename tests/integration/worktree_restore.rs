//! A retired tree comes back as it was: byte for byte, with its index and its unfinished work.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lanes::worktree::{
    Branch, Direct, Floors, Pace, RestoreStep, Saved, SettingsCache, TrashEntry, Way, bring_back,
    bring_back_until, provision, retire, roll_back, save,
};

use crate::support::work::{Kind, Lane, Work, picture};

const NO_LIMIT: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Tree,
    Archive,
}

/// Retires, collects garbage, brings back; the tree, the index and HEAD are as before.
async fn check(work: &Work, lane: &Lane, from: From) -> TrashEntry {
    let path = lane.order.path.to_path_buf();
    let files = picture(&path);
    let index = work.index_picture(&path);
    let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    assert!(entry.complete && !path.exists());
    assert!(!work.repo.common_dir.join("worktrees").join(&lane.tree.admin_id).exists());
    work.collect_garbage();
    if from == From::Archive {
        let entry = save(&work.git, &work.repo, &work.root(), lane.order.lane_id, NO_LIMIT, &Pace::full())
            .await
            .expect("saved");
        assert!(matches!(entry.saved, Saved::Archived { .. }), "{:?}", entry.saved);
        assert!(!work.root().join(".trash").join(lane.order.lane_id.to_string()).join("tree").exists());
        work.collect_garbage();
    }
    let mut order = work.order("again");
    order.path = lane.order.path.clone();
    let tree = bring_back(&work.git, &work.repo, &entry, &order).await.expect("brought back");
    assert_eq!(tree.notes, Vec::<String>::new());
    let now = picture(&path);
    assert_eq!(files.keys().collect::<Vec<_>>(), now.keys().collect::<Vec<_>>());
    for (name, before) in &files {
        assert_eq!(now.get(name), Some(before), "{}", String::from_utf8_lossy(name));
    }
    assert_eq!(work.index_picture(&path), index);
    assert!(!work.root().join(".trash").exists());
    work.collect_garbage();
    entry
}

/// Everything that a lane may have that is not committed.
fn make_messy(work: &Work, tree: &Path) {
    let write = |name: &str, text: &str| std::fs::write(tree.join(name), text).expect("a file");
    write("never committed", "hi\n");
    write("crlf.txt", "a\r\nb\nc\r\r\n\0");
    std::fs::write(tree.join(std::ffi::OsStr::from_bytes(b"not\xfftext\n")), "x").expect("a file");
    std::fs::set_permissions(tree.join("crlf.txt"), PermissionsExt::from_mode(0o640)).expect("mode");
    std::fs::set_permissions(tree.join("one.txt"), PermissionsExt::from_mode(0o600)).expect("mode");
    std::fs::create_dir_all(tree.join("empty/inner")).expect("folders");
    std::fs::create_dir_all(tree.join("read only")).expect("folders");
    write("read only/file", "locked in");
    std::fs::set_permissions(tree.join("read only"), PermissionsExt::from_mode(0o555)).expect("mode");
    std::os::unix::fs::symlink("../../outside//x/", tree.join("dangling")).expect("a link");
    write("ignored.log", "ignored\n");
    write(".gitignore", "*.log\n");
    write("intent.txt", "intent\n");
    work.git(tree, &["add", "-N", "intent.txt"]);
    write("staged.txt", "staged once\n");
    work.git(tree, &["add", "staged.txt"]);
    write("staged.txt", "then changed\n");
    write("only staged.txt", "only staged\n");
    work.git(tree, &["add", "only staged.txt"]);
    std::fs::remove_file(tree.join("only staged.txt")).expect("removed");
    work.git(tree, &["update-index", "--assume-unchanged", "assumed.txt"]);
    write("assumed.txt", "edited under assume-unchanged\n");
    work.git(tree, &["update-index", "--skip-worktree", "skipped.txt"]);
    write("skipped.txt", "edited under skip-worktree\n");
    std::fs::remove_file(tree.join("gone.txt")).expect("removed");
    std::fs::remove_file(tree.join("link")).expect("removed");
    std::os::unix::fs::symlink("elsewhere", tree.join("link")).expect("a link");
}

async fn messy(kind: Kind, from: From) {
    let work = Work::new(kind).await;
    let lane = work.lane("a");
    make_messy(&work, lane.order.path.as_path());
    let _entry = check(&work, &lane, from).await;
}

#[tokio::test]
async fn uncommitted_work_comes_back_from_the_renamed_tree() {
    messy(Kind::Plain, From::Tree).await;
}

#[tokio::test]
async fn uncommitted_work_comes_back_from_the_archive() {
    messy(Kind::Plain, From::Archive).await;
}

#[tokio::test]
async fn sha256_work_comes_back() {
    messy(Kind::Sha256, From::Tree).await;
    messy(Kind::Sha256, From::Archive).await;
}

#[tokio::test]
async fn reftable_work_comes_back() {
    messy(Kind::Reftable, From::Tree).await;
    messy(Kind::Reftable, From::Archive).await;
}

async fn rebase(kind: Kind, from: From) {
    let work = Work::new(kind).await;
    let lane = work.lane("a");
    let tree = lane.order.path.to_path_buf();
    for n in ["2", "3"] {
        std::fs::write(tree.join("one.txt"), format!("lane {n}\n")).expect("a file");
        work.git(&tree, &["commit", "-qam", n]);
    }
    std::fs::write(work.main().join("one.txt"), "main\n").expect("a file");
    work.git(&work.main(), &["commit", "-qam", "in the way"]);
    let (ok, _conflict) = work.try_git(&tree, &["rebase", "main"]);
    assert!(!ok, "the rebase stops");
    std::fs::write(tree.join("one.txt"), "half resolved <<<<\n").expect("a file");
    let _entry = check(&work, &lane, from).await;
    std::fs::write(tree.join("one.txt"), "resolved\n").expect("a file");
    work.git(&tree, &["add", "one.txt"]);
    let (_stops_again, _said) = work.try_git(&tree, &["rebase", "--continue"]);
    work.git(&tree, &["rebase", "--abort"]);
    assert_eq!(work.git(&tree, &["symbolic-ref", "HEAD"]), "refs/heads/lanes/a");
    assert_eq!(work.git(&tree, &["log", "-1", "--format=%s"]), "3");
}

#[tokio::test]
async fn an_unfinished_rebase_with_conflicts_goes_on() {
    rebase(Kind::Plain, From::Tree).await;
    rebase(Kind::Plain, From::Archive).await;
}

#[tokio::test]
async fn an_unfinished_rebase_goes_on_in_reftable() {
    rebase(Kind::Reftable, From::Archive).await;
}

#[tokio::test]
async fn mixed_line_endings_stay_clean_under_text_auto() {
    for from in [From::Tree, From::Archive] {
        let work = Work::new(Kind::Plain).await;
        work.git(&work.main(), &["config", "core.autocrlf", "true"]);
        let lane = work.lane("a");
        let tree = lane.order.path.to_path_buf();
        // Attributes under which git would alter the bytes, were it to look at them again.
        std::fs::write(tree.join(".gitattributes"), "* text=auto eol=crlf\n").expect("a file");
        std::fs::write(tree.join("new.txt"), "x\r\ny\nz\r\n").expect("a file");
        let _entry = check(&work, &lane, from).await;
    }
}

#[tokio::test]
async fn a_file_that_git_called_clean_is_not_called_modified_afterwards() {
    let work = Work::new(Kind::Plain).await;
    let lane = work.lane("a");
    let tree = lane.order.path.to_path_buf();
    // Old enough that git trusts what it remembers.
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(100);
    for name in ["mixed.txt", "one.txt", "deep/er/file"] {
        let file = std::fs::File::options().write(true).open(tree.join(name)).expect("a file");
        file.set_modified(old).expect("a time");
    }
    work.git(&tree, &["update-index", "-q", "--refresh"]);
    std::fs::write(tree.join(".gitattributes"), "mixed.txt text\n").expect("a file");
    let status = work.git(&tree, &["status", "--porcelain"]);
    assert_eq!(status, "?? .gitattributes", "git remembers mixed.txt as clean");
    let _entry = check(&work, &lane, From::Archive).await;
}

#[tokio::test]
async fn a_required_filter_never_runs_and_alters_nothing() {
    for from in [From::Tree, From::Archive] {
        let work = Work::new(Kind::Plain).await;
        let main = work.main();
        work.git(&main, &["config", "filter.rot.clean", "tr a-y b-z"]);
        work.git(&main, &["config", "filter.rot.smudge", "tr b-z a-y"]);
        work.git(&main, &["config", "filter.rot.required", "true"]);
        std::fs::write(main.join(".gitattributes"), "*.rot filter=rot\n").expect("a file");
        std::fs::write(main.join("secret.rot"), "abc\n").expect("a file");
        work.git(&main, &["add", "."]);
        work.git(&main, &["commit", "-qm", "filtered"]);
        let lane = work.lane("a");
        let tree = lane.order.path.to_path_buf();
        assert_eq!(std::fs::read_to_string(tree.join("secret.rot")).expect("a file"), "abc\n");
        std::fs::write(tree.join("other.rot"), "untracked abc\n").expect("a file");
        make_messy(&work, &tree);
        let files = picture(&tree);
        // From now on every run of the filter would fail.
        work.git(&main, &["config", "filter.rot.clean", "false"]);
        work.git(&main, &["config", "filter.rot.smudge", "false"]);
        let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
        if from == From::Archive {
            let saved =
                save(&work.git, &work.repo, &work.root(), lane.order.lane_id, NO_LIMIT, &Pace::full())
                    .await
                    .expect("saved");
            assert!(matches!(saved.saved, Saved::Archived { .. }));
        }
        let back = bring_back(&work.git, &work.repo, &entry, &work.order("b")).await.expect("brought back");
        assert_eq!(picture(back.path.as_path()), files);
    }
}

#[tokio::test]
async fn a_sparse_checkout_stays_sparse() {
    for from in [From::Tree, From::Archive] {
        let work = Work::new(Kind::Plain).await;
        let lane = work.lane("a");
        let tree = lane.order.path.to_path_buf();
        work.git(&tree, &["sparse-checkout", "set", "--no-cone", "/one.txt", "/run.sh"]);
        assert!(!tree.join("deep").exists());
        std::fs::write(tree.join("one.txt"), "edited\n").expect("a file");
        let _entry = check(&work, &lane, from).await;
        assert!(!tree.join("deep").exists());
    }
}

#[tokio::test]
async fn a_submodule_keeps_its_commits_and_its_work() {
    let work = Work::new(Kind::Plain).await;
    let upstream = work.path().join("upstream");
    std::fs::create_dir(&upstream).expect("a folder");
    work.git(&upstream, &["init", "-q"]);
    std::fs::write(upstream.join("file"), "of the submodule\n").expect("a file");
    work.git(&upstream, &["add", "."]);
    work.git(&upstream, &["commit", "-qm", "first"]);
    let url = upstream.to_str().expect("text").to_owned();
    work.git(&work.main(), &["submodule", "add", "-q", &url, "libs/sub"]);
    work.git(&work.main(), &["commit", "-qm", "submodule"]);
    let lane = work.lane("a");
    let tree = lane.order.path.to_path_buf();
    work.git(&tree, &["submodule", "update", "-q", "--init"]);
    let sub = tree.join("libs/sub");
    std::fs::write(sub.join("file"), "changed and committed\n").expect("a file");
    work.git(&sub, &["commit", "-qam", "only here"]);
    let inner = work.git(&sub, &["rev-parse", "HEAD"]);
    std::fs::write(sub.join("file"), "changed again\n").expect("a file");
    let files = picture(&tree);
    let index = work.index_picture(&tree);
    let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    work.collect_garbage();
    let saved = save(&work.git, &work.repo, &work.root(), lane.order.lane_id, NO_LIMIT, &Pace::full())
        .await
        .expect("saved");
    assert!(matches!(saved.saved, Saved::Whole { .. }), "{:?}", saved.saved);
    let back =
        bring_back(&work.git, &work.repo, &entry, &work.order("elsewhere")).await.expect("brought back");
    let path = back.path.to_path_buf();
    assert_eq!(picture(&path), files);
    assert_eq!(work.index_picture(&path), index);
    assert_eq!(work.git(&path.join("libs/sub"), &["rev-parse", "HEAD"]), inner);
    assert_eq!(work.git(&path.join("libs/sub"), &["status", "--porcelain"]), " M file");
}

#[tokio::test]
async fn a_branch_that_moved_on_is_left_alone_and_head_detached() {
    let work = Work::new(Kind::Plain).await;
    let lane = work.lane("a");
    let tree = lane.order.path.to_path_buf();
    std::fs::write(tree.join("one.txt"), "unmerged").expect("a file");
    work.git(&tree, &["commit", "-qam", "unmerged"]);
    let head = work.git(&tree, &["rev-parse", "HEAD"]);
    let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    assert!(!entry.branch_deleted, "unmerged");
    work.git(&work.main(), &["branch", "-q", "-f", "lanes/a", "main"]);
    let back = bring_back(&work.git, &work.repo, &entry, &work.order("b")).await.expect("brought back");
    assert_eq!(back.notes.len(), 1, "{:?}", back.notes);
    let path = back.path.to_path_buf();
    assert_eq!(work.git(&path, &["rev-parse", "HEAD"]), head);
    assert!(!work.try_git(&path, &["symbolic-ref", "-q", "HEAD"]).0);
    assert_ne!(work.git(&work.main(), &["rev-parse", "lanes/a"]), head);
}

#[tokio::test]
async fn an_unborn_branch_comes_back_with_its_index() {
    for kind in [Kind::Plain, Kind::Reftable] {
        let work = Work::new(kind).await;
        let lane = work.lane("a");
        let tree = lane.order.path.to_path_buf();
        work.git(&tree, &["checkout", "-q", "--orphan", "fresh"]);
        std::fs::write(tree.join("new"), "staged on nothing\n").expect("a file");
        work.git(&tree, &["add", "new"]);
        let _entry = check(&work, &lane, From::Archive).await;
    }
}

#[tokio::test]
async fn a_crash_anywhere_in_bringing_back_leaves_the_entry_usable() {
    let steps = [RestoreStep::Unpack, RestoreStep::Branch, RestoreStep::Admin, RestoreStep::Tree];
    for from in [From::Tree, From::Archive] {
        let work = Work::new(Kind::Plain).await;
        let lane = work.lane("a");
        make_messy(&work, lane.order.path.as_path());
        let files = picture(lane.order.path.as_path());
        let index = work.index_picture(lane.order.path.as_path());
        let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
        assert!(entry.branch_deleted);
        if from == From::Archive {
            let _saved =
                save(&work.git, &work.repo, &work.root(), lane.order.lane_id, NO_LIMIT, &Pace::full())
                    .await
                    .expect("saved");
        }
        for step in steps {
            let order = work.order("b");
            let _cut_off =
                bring_back_until(&work.git, &work.repo, &entry, &order, step).await.expect("a step");
            work.collect_garbage();
            roll_back(&work.git, &work.repo, &work.root(), lane.order.lane_id).await.expect("rolled back");
            assert!(!order.path.as_path().exists(), "{from:?} {step:?}");
            assert_eq!(
                work.git(&work.main(), &["worktree", "list"]).lines().count(),
                2,
                "main and the vault"
            );
            assert!(!work.try_git(&work.main(), &["rev-parse", "-q", "--verify", "refs/heads/lanes/a"]).0);
            work.collect_garbage();
        }
        let order = work.order("b");
        let cut_off = bring_back_until(&work.git, &work.repo, &entry, &order, RestoreStep::Tree).await;
        let _cut_off = cut_off.expect("all steps but the last");
        let back = bring_back(&work.git, &work.repo, &entry, &work.order("c")).await.expect("brought back");
        assert!(!order.path.as_path().exists());
        assert_eq!(picture(back.path.as_path()), files);
        assert_eq!(work.index_picture(back.path.as_path()), index);
    }
}

#[tokio::test]
async fn nothing_that_the_repository_names_is_run() {
    let work = Work::new(Kind::Plain).await;
    let lane = work.lane("a");
    make_messy(&work, lane.order.path.as_path());
    let files = picture(lane.order.path.as_path());
    let trap = work.path().join("trap");
    let marker = work.path().join("sprung");
    std::fs::write(&trap, format!("#!/bin/sh\ntouch '{}'\n", marker.display())).expect("a file");
    std::fs::set_permissions(&trap, PermissionsExt::from_mode(0o755)).expect("mode");
    let hooks = work.repo.common_dir.join("hooks");
    std::fs::create_dir_all(&hooks).expect("a folder");
    for hook in ["post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc", "post-commit"]
    {
        let _bytes = std::fs::copy(&trap, hooks.join(hook)).expect("a hook");
    }
    let command = trap.to_str().expect("text");
    for key in
        ["core.fsmonitor", "diff.external", "filter.x.clean", "filter.x.smudge", "gpg.program", "core.pager"]
    {
        work.git(&work.main(), &["config", key, command]);
    }
    work.git(&work.main(), &["config", "commit.gpgSign", "true"]);
    std::fs::write(work.repo.common_dir.join("info/attributes"), "* filter=x\n").expect("a file");
    let _set_up = std::fs::remove_file(&marker);
    let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    let _saved = save(&work.git, &work.repo, &work.root(), lane.order.lane_id, NO_LIMIT, &Pace::full())
        .await
        .expect("saved");
    let back = bring_back(&work.git, &work.repo, &entry, &work.order("b")).await.expect("brought back");
    assert!(!marker.exists());
    assert_eq!(picture(back.path.as_path()), files);
}

#[tokio::test]
async fn a_bare_repository_and_a_root_on_another_disk_work_too() {
    let work = Work::new(Kind::Plain).await;
    let shm = Path::new("/dev/shm");
    let elsewhere = tempfile::Builder::new().prefix("lanes-test").tempdir_in(if shm.is_dir() {
        shm
    } else {
        Path::new("/tmp")
    });
    let elsewhere = elsewhere.expect("a folder");
    let root = elsewhere.path().canonicalize().expect("its real path");
    let mut lane = work.lane("a");
    let place = root.join("a");
    let text = place.to_str().expect("text");
    work.git(&work.main(), &["worktree", "unlock", "../main.lanes/a"]);
    work.git(&work.main(), &["worktree", "remove", "-f", "-f", "../main.lanes/a"]);
    work.git(&work.main(), &["worktree", "add", "-q", "--lock", text, "lanes/a"]);
    work.git(&work.main(), &["config", "core.bare", "true"]);
    lane.order.root = root.clone().into();
    lane.order.path = place.clone().into();
    work.prove(&mut lane);
    make_messy(&work, &place);
    let files = picture(&place);
    let index = work.index_picture(&place);
    let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    let copy = root.join(".trash").join(lane.order.lane_id.to_string()).join("objects.pack");
    assert!(copy.exists(), "its commits are copied from disk to disk");
    work.collect_garbage();
    let _saved =
        save(&work.git, &work.repo, &root, lane.order.lane_id, NO_LIMIT, &Pace::full()).await.expect("saved");
    let mut order = work.order("b");
    order.root = lane.order.root.clone();
    order.path = root.join("b").into();
    let back = bring_back(&work.git, &work.repo, &entry, &order).await.expect("brought back");
    assert_eq!(picture(back.path.as_path()), files);
    assert_eq!(work.index_picture(back.path.as_path()), index);
    work.collect_garbage();
}

#[tokio::test]
async fn saving_that_is_cut_off_can_be_repeated_or_skipped() {
    let work = Work::new(Kind::Plain).await;
    let lane = work.lane("a");
    make_messy(&work, lane.order.path.as_path());
    let files = picture(lane.order.path.as_path());
    let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    let root = work.root();
    for micros in [1, 2_000, 10_000, 20_000] {
        let full = Pace::full();
        let saving = save(&work.git, &work.repo, &root, lane.order.lane_id, NO_LIMIT, &full);
        let _cut_off = tokio::time::timeout(std::time::Duration::from_micros(micros), saving).await;
    }
    let back = bring_back(&work.git, &work.repo, &entry, &work.order("b")).await.expect("brought back");
    assert_eq!(picture(back.path.as_path()), files);
}

#[tokio::test]
async fn a_provisioned_lane_is_retired_and_restored_again_and_again() {
    let work = Work::new(Kind::Plain).await;
    let mut order = work.order("a");
    std::fs::create_dir_all(work.root()).expect("the root");
    let nothing = |_step| {};
    let settings = SettingsCache::default().get(&work.git, &work.repo).await.expect("settings");
    let made =
        provision(&work.git, &work.repo, &order, Floors::default(), Way::Git, &settings, &Direct, &nothing)
            .await;
    let mut tree = made.expect("provisioned");
    make_messy(&work, tree.path.as_path());
    let files = picture(tree.path.as_path());
    let index = work.index_picture(tree.path.as_path());
    for round in 0..3 {
        let entry = retire(&work.git, &work.repo, &order, &tree).await.expect("retired");
        assert_eq!(entry.notes, Vec::<String>::new());
        assert!(entry.branch_deleted);
        if round == 1 {
            let saved = save(&work.git, &work.repo, &work.root(), order.lane_id, NO_LIMIT, &Pace::full())
                .await
                .expect("saved");
            assert!(matches!(saved.saved, Saved::Archived { .. }));
        }
        work.collect_garbage();
        order = work.order(&format!("again-{round}"));
        tree = bring_back(&work.git, &work.repo, &entry, &order).await.expect("brought back");
        assert_eq!(tree.branch, Branch { name: "lanes/a".to_owned(), created: true });
        order.branch = tree.branch.clone();
        assert_eq!(picture(tree.path.as_path()), files);
        assert_eq!(work.index_picture(tree.path.as_path()), index);
    }
}
