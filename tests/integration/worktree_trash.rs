//! Retiring: resumable at every step, never a hand on what is not ours.

use std::path::Path;
use std::time::Duration;

use lanes::worktree::{
    Pace, RetireStep, SaveStep, Saved, bring_back, empty, retire, retire_until, save, save_until, trash,
};

use crate::support::work::{Kind, Work, picture};

const STEPS: [RetireStep; 5] =
    [RetireStep::Intent, RetireStep::Pin, RetireStep::Tree, RetireStep::Admin, RetireStep::Branch];

#[tokio::test]
async fn a_crash_after_any_step_loses_nothing_and_the_next_call_goes_on() {
    for kind in [Kind::Plain, Kind::Reftable] {
        for step in STEPS {
            let work = Work::new(kind).await;
            let lane = work.lane("a");
            let tree = lane.order.path.to_path_buf();
            std::fs::write(tree.join("new"), "never committed").expect("a file");
            work.git(&tree, &["commit", "-q", "--allow-empty", "-m", "only in the reflog"]);
            let oid = work.git(&tree, &["rev-parse", "HEAD"]);
            work.git(&tree, &["reset", "-q", "--hard", "HEAD~1"]);
            let files = picture(&tree);
            let index = work.index_picture(&tree);
            let cut_off =
                retire_until(&work.git, &work.repo, &lane.order, &lane.tree, step).await.expect("a step");
            assert!(!cut_off.complete);
            work.collect_garbage();
            work.git(&work.main(), &["cat-file", "-e", &oid]);
            let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
            assert!(entry.complete && entry.branch_deleted, "{step:?}");
            assert_eq!(entry.notes, Vec::<String>::new());
            let again = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("nothing to do");
            assert_eq!(again, entry);
            work.collect_garbage();
            let back =
                bring_back(&work.git, &work.repo, &entry, &work.order("b")).await.expect("brought back");
            assert_eq!(picture(back.path.as_path()), files);
            assert_eq!(work.index_picture(back.path.as_path()), index);
            work.git(&work.main(), &["cat-file", "-e", &oid]);
        }
    }
}

#[tokio::test]
async fn a_crash_in_saving_loses_nothing() {
    for step in [SaveStep::Write, SaveStep::Record] {
        let work = Work::new(Kind::Plain).await;
        let lane = work.lane("a");
        let tree = lane.order.path.to_path_buf();
        std::fs::write(tree.join("new"), "never committed").expect("a file");
        let files = picture(&tree);
        let (root, id) = (work.root(), lane.order.lane_id);
        let _entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
        let _cut_off = save_until(&work.git, &work.repo, &root, id, u64::MAX, &Pace::full(), step)
            .await
            .expect("a step");
        let entry = save(&work.git, &work.repo, &root, id, u64::MAX, &Pace::full()).await.expect("saved");
        assert_eq!(
            entry,
            save(&work.git, &work.repo, &root, id, u64::MAX, &Pace::full()).await.expect("nothing to do")
        );
        let back = bring_back(&work.git, &work.repo, &entry, &work.order("b")).await.expect("brought back");
        assert_eq!(picture(back.path.as_path()), files);
    }
}

async fn whole(spoil: impl Fn(&Work, &Path), limit: u64, reason: &str) {
    let work = Work::new(Kind::Plain).await;
    let lane = work.lane("a");
    spoil(&work, lane.order.path.as_path());
    let files = picture(lane.order.path.as_path());
    let _entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    let entry = save(&work.git, &work.repo, &work.root(), lane.order.lane_id, limit, &Pace::full())
        .await
        .expect("saved");
    assert!(
        matches!(&entry.saved, Saved::Whole { reason: said } if said.contains(reason)),
        "{:?}",
        entry.saved
    );
    let back = bring_back(&work.git, &work.repo, &entry, &work.order("b")).await.expect("brought back");
    assert_eq!(picture(back.path.as_path()), files);
}

#[tokio::test]
async fn what_cannot_be_archived_is_kept_whole() {
    let nested = |work: &Work, tree: &Path| {
        std::fs::create_dir(tree.join("nested")).expect("a folder");
        work.git(&tree.join("nested"), &["init", "-q"]);
    };
    whole(nested, u64::MAX, "repository").await;
    let large =
        |_work: &Work, tree: &Path| std::fs::write(tree.join("large"), vec![b'x'; 5000]).expect("a file");
    whole(large, 1000, "limit").await;
}

#[tokio::test]
async fn a_special_file_is_kept_with_its_tree() {
    let work = Work::new(Kind::Plain).await;
    let lane = work.lane("a");
    let socket =
        std::os::unix::net::UnixListener::bind(lane.order.path.as_path().join("s")).expect("a socket");
    let _entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    let entry = save(&work.git, &work.repo, &work.root(), lane.order.lane_id, u64::MAX, &Pace::full())
        .await
        .expect("saved");
    assert!(matches!(&entry.saved, Saved::Whole { .. }), "{:?}", entry.saved);
    drop(socket);
}

#[tokio::test]
async fn a_tree_that_was_replaced_is_left_alone() {
    let work = Work::new(Kind::Plain).await;
    let lane = work.lane("a");
    let tree = lane.order.path.to_path_buf();
    let foreign = work.path().join("foreign");
    std::fs::create_dir(&foreign).expect("a folder");
    std::fs::write(foreign.join("precious"), "not ours").expect("a file");
    std::fs::remove_dir_all(&tree).expect("removed");
    std::os::unix::fs::symlink(&foreign, &tree).expect("a link");
    let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    assert!(entry.complete && !entry.notes.is_empty());
    assert_eq!(std::fs::read_to_string(tree.join("precious")).expect("a file"), "not ours");
    assert!(tree.symlink_metadata().expect("the link").is_symlink());
    let saved = save(&work.git, &work.repo, &work.root(), lane.order.lane_id, u64::MAX, &Pace::full())
        .await
        .expect("saved");
    assert!(matches!(saved.saved, Saved::Archived { files: 0, .. }));
    let _emptied = empty(&work.git, &work.repo, &work.root(), &[lane.order.lane_id], &Pace::full())
        .await
        .expect("emptied");
    assert!(foreign.join("precious").exists());
}

#[tokio::test]
async fn a_rewritten_git_file_or_another_folder_is_left_alone() {
    let work = Work::new(Kind::Plain).await;
    let (one, two) = (work.lane("a"), work.lane("b"));
    let (a, b) = (one.order.path.to_path_buf(), two.order.path.to_path_buf());
    std::fs::copy(b.join(".git"), a.join(".git")).expect("rewritten");
    let entry = retire(&work.git, &work.repo, &one.order, &one.tree).await.expect("retired");
    assert!(entry.notes.iter().any(|note| note.contains("another repository")), "{:?}", entry.notes);
    assert!(a.join("one.txt").exists() && b.join("one.txt").exists());
    assert_eq!(work.git(&b, &["symbolic-ref", "HEAD"]), "refs/heads/lanes/b");
    std::fs::remove_dir_all(&b).expect("removed");
    std::fs::create_dir(&b).expect("another folder");
    std::fs::write(b.join("new"), "not ours").expect("a file");
    let entry = retire(&work.git, &work.repo, &two.order, &two.tree).await.expect("retired");
    assert!(entry.notes.iter().any(|note| note.contains("left alone")), "{:?}", entry.notes);
    assert!(b.join("new").exists());
}

#[tokio::test]
async fn what_was_removed_from_outside_is_no_error() {
    let work = Work::new(Kind::Plain).await;
    let lane = work.lane("a");
    let path = lane.order.path.to_path_buf();
    let text = path.to_str().expect("text");
    work.git(&work.main(), &["worktree", "remove", "-f", "-f", text]);
    work.git(&work.main(), &["branch", "-q", "-D", "lanes/a"]);
    let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    assert!(entry.complete);
    let _emptied = empty(&work.git, &work.repo, &work.root(), &[lane.order.lane_id], &Pace::full())
        .await
        .expect("emptied");
    assert!(!work.root().join(".trash").exists());
}

#[tokio::test]
async fn a_tree_whose_admin_directory_was_removed_still_comes_back() {
    let work = Work::new(Kind::Plain).await;
    let lane = work.lane("a");
    std::fs::write(lane.order.path.as_path().join("new"), "never committed").expect("a file");
    let files = picture(lane.order.path.as_path());
    std::fs::remove_dir_all(work.repo.common_dir.join("worktrees").join(&lane.tree.admin_id))
        .expect("removed");
    let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    work.collect_garbage();
    let _saved = save(&work.git, &work.repo, &work.root(), lane.order.lane_id, u64::MAX, &Pace::full())
        .await
        .expect("saved");
    let back = bring_back(&work.git, &work.repo, &entry, &work.order("b")).await.expect("brought back");
    assert_eq!(picture(back.path.as_path()), files);
    assert_eq!(work.git(back.path.as_path(), &["status", "--porcelain"]), "?? new");
}

#[tokio::test]
async fn only_our_own_merged_unused_branches_are_deleted() {
    let work = Work::new(Kind::Plain).await;
    let (merged, unmerged, used, foreign) =
        (work.lane("m"), work.lane("u"), work.lane("used"), work.lane("f"));
    work.git(&work.main(), &["config", "branch.lanes/m.description", "mine"]);
    std::fs::write(unmerged.order.path.as_path().join("one.txt"), "unmerged").expect("a file");
    work.git(unmerged.order.path.as_path(), &["commit", "-qam", "unmerged"]);
    let other = work.path().join("other");
    let args = ["worktree", "add", "-q", "-f", other.to_str().expect("text"), "lanes/used"];
    work.git(&work.main(), &args);
    let mut theirs = foreign.order.clone();
    theirs.branch.created = false;
    let mut entries = Vec::new();
    for (order, tree) in [
        (&merged.order, &merged.tree),
        (&unmerged.order, &unmerged.tree),
        (&used.order, &used.tree),
        (&theirs, &foreign.tree),
    ] {
        entries.push(retire(&work.git, &work.repo, order, tree).await.expect("retired"));
    }
    let deleted: Vec<bool> = entries.iter().map(|entry| entry.branch_deleted).collect();
    assert_eq!(deleted, [true, false, false, false]);
    assert!(!work.try_git(&work.main(), &["config", "branch.lanes/m.description"]).0);
    let back = bring_back(&work.git, &work.repo, &entries[0], &work.order("b")).await.expect("brought back");
    assert_eq!(work.git(back.path.as_path(), &["symbolic-ref", "HEAD"]), "refs/heads/lanes/m");
    assert_eq!(work.git(&work.main(), &["config", "branch.lanes/m.description"]), "mine");
}

#[tokio::test]
async fn emptying_lets_go_of_one_entry_and_holds_the_others() {
    let work = Work::new(Kind::Plain).await;
    let mut oids = Vec::new();
    let mut lanes = Vec::new();
    for name in ["a", "b", "c"] {
        let lane = work.lane(name);
        let tree = lane.order.path.to_path_buf();
        work.git(&tree, &["checkout", "-q", "--detach"]);
        work.git(&tree, &["commit", "-q", "--allow-empty", "-m", name]);
        oids.push(work.git(&tree, &["rev-parse", "HEAD"]));
        let _entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
        lanes.push(lane);
    }
    let listed = trash::list(&work.root()).expect("listed");
    assert_eq!(listed.len(), 3);
    let sized: Vec<_> =
        listed.iter().map(|entry| (entry.clone(), trash::size(entry).expect("a size"))).collect();
    assert_eq!(trash::expired(&sized, Duration::from_secs(3600), None, lanes::clock::now()), []);
    let emptied = empty(&work.git, &work.repo, &work.root(), &[lanes[1].order.lane_id], &Pace::full())
        .await
        .expect("emptied");
    assert_eq!(emptied.lanes, [lanes[1].order.lane_id]);
    assert!(emptied.freed > 0);
    work.collect_garbage();
    assert!(!work.try_git(&work.main(), &["cat-file", "-e", &oids[1]]).0, "nothing holds it any more");
    for oid in [&oids[0], &oids[2]] {
        work.git(&work.main(), &["cat-file", "-e", oid]);
    }
    // Somebody removes the vault by force; the next retirement makes it anew with everything.
    let vault = work.root().join(".vault");
    work.git(&work.main(), &["worktree", "remove", "-f", "-f", vault.to_str().expect("text")]);
    let lane = work.lane("d");
    let _entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    work.collect_garbage();
    for oid in [&oids[0], &oids[2]] {
        work.git(&work.main(), &["cat-file", "-e", oid]);
    }
    let all: Vec<_> = trash::list(&work.root()).expect("listed").iter().map(|e| e.order.lane_id).collect();
    let _emptied = empty(&work.git, &work.repo, &work.root(), &all, &Pace::full()).await.expect("emptied");
    work.collect_garbage();
    assert!(!work.root().join(".vault").exists() && !work.root().join(".trash").exists());
    assert!(!work.main().join(".git/worktrees").exists());
    assert_eq!(work.git(&work.main(), &["worktree", "list"]).lines().count(), 1);
    assert!(!work.try_git(&work.main(), &["cat-file", "-e", &oids[0]]).0);
}

#[tokio::test]
async fn lanes_retired_at_once_all_have_their_pins() {
    let work = Work::new(Kind::Plain).await;
    let lanes: Vec<_> = (0..8).map(|n| work.lane(&format!("l{n}"))).collect();
    let oids: Vec<_> = lanes
        .iter()
        .map(|lane| {
            let tree = lane.order.path.to_path_buf();
            work.git(&tree, &["checkout", "-q", "--detach"]);
            work.git(&tree, &["commit", "-q", "--allow-empty", "-m", &lane.order.name]);
            work.git(&tree, &["rev-parse", "HEAD"])
        })
        .collect();
    let mut set = tokio::task::JoinSet::new();
    for lane in lanes {
        let (git, repo) = (work.git.clone(), work.repo.clone());
        let _handle = set.spawn(async move { retire(&git, &repo, &lane.order, &lane.tree).await });
    }
    while let Some(result) = set.join_next().await {
        assert!(result.expect("joined").expect("retired").complete);
    }
    work.collect_garbage();
    for oid in &oids {
        work.git(&work.main(), &["cat-file", "-e", oid]);
    }
}

#[tokio::test]
async fn an_admin_directory_that_became_a_copys_is_left_to_it() {
    let work = Work::new(Kind::Plain).await;
    let lane = work.lane("a");
    let tree = lane.order.path.to_path_buf();
    let copy = work.path().join("copy");
    let (from, to) = (tree.to_str().expect("text"), copy.to_str().expect("text"));
    let copied = std::process::Command::new("cp").args(["-a", from, to]).status().expect("cp starts");
    assert!(copied.success());
    work.git(&copy, &["worktree", "repair"]);
    std::fs::write(copy.join("new"), "of the copy").expect("a file");
    let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    assert!(!entry.notes.is_empty() && !entry.branch_deleted);
    assert!(!tree.exists());
    assert_eq!(work.git(&copy, &["status", "--porcelain"]), "?? new");
}

#[tokio::test]
async fn a_tree_that_was_moved_by_git_is_found() {
    let work = Work::new(Kind::Plain).await;
    let lane = work.lane("a");
    std::fs::write(lane.order.path.as_path().join("new"), "never committed").expect("a file");
    let moved = work.path().join("moved");
    let (from, to) = (lane.order.path.to_path_buf(), moved.to_str().expect("text"));
    work.git(&work.main(), &["worktree", "move", "-f", "-f", from.to_str().expect("text"), to]);
    let files = picture(&moved);
    let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    assert!(!moved.exists());
    let back = bring_back(&work.git, &work.repo, &entry, &work.order("b")).await.expect("brought back");
    assert_eq!(picture(back.path.as_path()), files);
}

#[tokio::test]
async fn a_tree_that_lost_its_git_file_is_known_by_its_files() {
    let work = Work::new(Kind::Plain).await;
    let lane = work.lane("a");
    std::fs::remove_file(lane.order.path.as_path().join(".git")).expect("removed");
    let files = picture(lane.order.path.as_path());
    let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    assert_eq!(entry.notes, Vec::<String>::new());
    assert!(!lane.order.path.as_path().exists());
    let back = bring_back(&work.git, &work.repo, &entry, &work.order("b")).await.expect("brought back");
    assert_eq!(picture(back.path.as_path()), files);
}

#[tokio::test]
async fn a_file_of_another_user_is_kept_with_its_tree() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let chown = |_work: &Work, tree: &Path| {
        std::fs::write(tree.join("docker"), "made in a container").expect("a file");
        std::os::unix::fs::chown(tree.join("docker"), Some(1), None).expect("root may");
    };
    whole(chown, u64::MAX, "belongs to user 1").await;
}

#[tokio::test]
async fn a_failed_restore_leaves_the_entry_usable() {
    let work = Work::new(Kind::Plain).await;
    let lane = work.lane("a");
    std::fs::write(lane.order.path.as_path().join("new"), "never committed").expect("a file");
    let files = picture(lane.order.path.as_path());
    let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    let _saved = save(&work.git, &work.repo, &work.root(), lane.order.lane_id, u64::MAX, &Pace::full())
        .await
        .expect("saved");
    let taken = work.order("taken");
    std::fs::create_dir(taken.path.as_path()).expect("in the way");
    let refused = bring_back(&work.git, &work.repo, &entry, &taken).await;
    assert!(refused.is_err());
    let spot = work.root().join(".trash").join(lane.order.lane_id.to_string());
    let archive = std::fs::read(spot.join("files.tar.gz")).expect("the archive");
    std::fs::write(spot.join("files.tar.gz"), &archive[..archive.len() / 2]).expect("cut off");
    let refused = bring_back(&work.git, &work.repo, &entry, &work.order("b")).await;
    assert!(refused.is_err());
    assert!(!work.root().join("b").exists());
    std::fs::write(spot.join("files.tar.gz"), &archive).expect("whole again");
    let back = bring_back(&work.git, &work.repo, &entry, &work.order("b")).await.expect("brought back");
    assert_eq!(picture(back.path.as_path()), files);
}
