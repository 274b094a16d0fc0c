//! Many overlays at once, and what each costs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lanes::worktree::{Pace, Saved, Way, empty, overlay, retire, save};
use tokio::task::JoinSet;

use crate::support::git::Yard;
use crate::support::overlay::{Ground, sh};
use crate::support::work::picture;

/// A repository with about so many files, in folders of twenty.
fn of_files(files: usize) -> Yard {
    let yard = Yard::new();
    for at in 0..files {
        yard.write(
            &format!("src/{}/{}/file-{at}.rs", at / 400, at / 20),
            &format!("{at}\n").repeat(at % 200),
        );
    }
    let _commit = yard.commit("many");
    yard
}

/// Opens `many` lanes at once, works in each, closes all; nothing is left.
async fn check(many: usize) {
    let Some(ground) = Ground::of(of_files(200)).await else { return };
    let stocked = &ground.stocked;
    let template = stocked.template().await;
    let before = picture(template.tree());
    let settings = stocked.settings().await;
    let mut making = JoinSet::new();
    let began = Instant::now();
    for at in 0..many {
        let order = stocked.order(&format!("lane-{at}"), None).await;
        let (git, repo) = (stocked.git.clone(), stocked.repo.clone());
        let (settings, way) = (settings.clone(), Way::Overlay(template.clone()));
        making.spawn(async move {
            let floors = lanes::worktree::Floors::default();
            let runner = &lanes::worktree::Direct;
            let made =
                lanes::worktree::provision(&git, &repo, &order, floors, way, &settings, runner, &|_| {});
            let tree = made.await.expect("made");
            (order, tree)
        });
    }
    let made = making.join_all().await;
    let opened = began.elapsed();
    assert_eq!(ground.mounts().len(), many);
    for (order, tree) in made.iter().step_by(10) {
        sh(
            &stocked.yard,
            tree.path.as_path(),
            "echo x > src/0/0/file-1.rs; rm -r src/0/1; git commit -qam x",
        );
        assert_eq!(
            sh(&stocked.yard, tree.path.as_path(), "git status --porcelain --branch"),
            format!("## {}", order.branch.name)
        );
    }
    let began = Instant::now();
    for (order, tree) in &made {
        let entry = retire(&stocked.git, &stocked.repo, order, tree).await.expect("retired");
        assert!(entry.complete);
    }
    let closed = began.elapsed();
    let began = Instant::now();
    let ids: Vec<_> = made.iter().map(|(order, _tree)| order.lane_id).collect();
    for id in &ids {
        let entry = save(&stocked.git, &stocked.repo, &stocked.root.path, *id, 1 << 30, &Pace::full())
            .await
            .expect("saved");
        assert!(matches!(entry.saved, Saved::Archived { .. }) && entry.stays.is_none(), "{entry:?}");
    }
    let freed = began.elapsed();
    eprintln!("{many} lanes: opened in {opened:?}, closed in {closed:?}, saved and freed in {freed:?}");
    let emptied =
        empty(&stocked.git, &stocked.repo, &stocked.root.path, &ids, &Pace::full()).await.expect("emptied");
    assert_eq!((emptied.lanes.len(), emptied.left), (many, vec![]));
    assert_eq!(ground.mounts(), Vec::<PathBuf>::new());
    assert_eq!(stocked.names(&stocked.root.path), [".reserve", ".template"]);
    assert_eq!(
        stocked.names(&stocked.repo.common_dir.join("worktrees")),
        std::slice::from_ref(&template.name)
    );
    assert_eq!(picture(template.tree()), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_at_once_are_opened_and_closed_and_nothing_is_left() {
    check(30).await;
}

/// `cargo test --test integration -- --ignored --nocapture five_hundred_at_once`
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes minutes"]
async fn five_hundred_at_once_are_opened_and_closed_and_nothing_is_left() {
    check(500).await;
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// `cargo test --release --test integration -- --ignored --nocapture what_an_overlay_costs`
#[tokio::test]
#[ignore = "prints figures"]
async fn what_an_overlay_costs() {
    for files in [3_000, 30_000] {
        let Some(ground) = Ground::of(of_files(files)).await else { return };
        let stocked = &ground.stocked;
        let template = stocked.template().await;
        let (mut took, mut status) = (Vec::new(), Vec::new());
        let free = |path: &Path| {
            rustix::fs::statvfs(path).map(|at| (at.f_bfree * at.f_frsize, at.f_ffree)).expect("a disk")
        };
        rustix::fs::sync();
        let before = free(&stocked.root.path);
        for at in 0..20 {
            let order = stocked.order(&format!("lane-{at}"), None).await;
            let began = Instant::now();
            let tree = stocked.make(&order, Way::Overlay(template.clone())).await.expect("made");
            took.push(began.elapsed());
            let began = Instant::now();
            assert_eq!(sh(&stocked.yard, tree.path.as_path(), "git status --porcelain"), "");
            status.push(began.elapsed());
        }
        rustix::fs::sync();
        let after = free(&stocked.root.path);
        let (bytes, inodes) = (before.0.saturating_sub(after.0) / 20, before.1.saturating_sub(after.1) / 20);
        let upper =
            lanes::worktree::measure(&stocked.root.path.join(overlay::OVERLAY_DIR)).expect("measured");
        let order = stocked.order("plain", None).await;
        let began = Instant::now();
        let _tree = stocked.make(&order, Way::Git).await.expect("made");
        println!(
            "{files} files: provision p50 {:?}, first status {:?}, {bytes} bytes and {inodes} inodes a lane, layers of 20: {upper:?}; by git {:?}",
            median(took),
            median(status),
            began.elapsed()
        );
    }
}
