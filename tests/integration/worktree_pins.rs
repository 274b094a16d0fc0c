//! What only a lane held stays reachable, and nothing of it is published.

use lanes::worktree::{Pace, bring_back, empty, retire};

use crate::support::work::{Kind, Work};

async fn check(kind: Kind) {
    let work = Work::new(kind).await;
    let lane = work.lane("a");
    let tree = lane.order.path.to_path_buf();
    let commit = |name: &str| {
        std::fs::write(tree.join(name), name).expect("a file");
        work.git(&tree, &["add", name]);
        work.git(&tree, &["commit", "-qm", name]);
        work.git(&tree, &["rev-parse", "HEAD"])
    };
    let in_reflog = commit("in the reflog");
    work.git(&tree, &["reset", "-q", "--hard", "HEAD~1"]);
    work.git(&tree, &["checkout", "-q", "--detach"]);
    let detached = commit("detached");
    work.git(&tree, &["update-ref", "refs/worktree/mine", &in_reflog]);
    std::fs::write(tree.join("staged"), "only in the index").expect("a file");
    work.git(&tree, &["add", "staged"]);
    let staged = work.git(&tree, &["rev-parse", ":staged"]);
    let entry = retire(&work.git, &work.repo, &lane.order, &lane.tree).await.expect("retired");
    assert_eq!(entry.head.as_deref(), Some(detached.as_str()));
    work.git(&work.main(), &["fetch", "-q", "--prune", "."]);
    work.collect_garbage();
    for oid in [&in_reflog, &detached, &staged] {
        work.git(&work.main(), &["cat-file", "-e", oid]);
    }
    let bare = work.path().join("bare.git");
    let format = if kind == Kind::Sha256 { "sha256" } else { "sha1" };
    let place = bare.to_str().expect("text");
    work.git(&work.main(), &["init", "-q", "--bare", &format!("--object-format={format}"), place]);
    work.git(&work.main(), &["push", "-q", "--mirror", place]);
    assert_eq!(work.git(&bare, &["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
    assert!(!work.try_git(&bare, &["cat-file", "-e", &detached]).0);
    let tree = bring_back(&work.git, &work.repo, &entry, &work.order("b")).await.expect("brought back");
    let path = tree.path.to_path_buf();
    work.collect_garbage();
    assert_eq!(work.git(&path, &["rev-parse", "HEAD"]), detached);
    assert_eq!(work.git(&path, &["rev-parse", "refs/worktree/mine"]), in_reflog);
    assert_eq!(work.git(&path, &["cat-file", "-p", ":staged"]), "only in the index");
    let emptied = empty(&work.git, &work.repo, &work.root(), &[], &Pace::full()).await.expect("emptied");
    assert!(emptied.lanes.is_empty() && !work.root().join(".vault").exists());
    assert_eq!(work.git(&path, &["rev-parse", "HEAD"]), detached);
}

#[tokio::test]
async fn commits_and_staged_content_survive_garbage_collection() {
    check(Kind::Plain).await;
}

#[tokio::test]
async fn commits_and_staged_content_survive_in_sha256() {
    check(Kind::Sha256).await;
}

#[tokio::test]
async fn commits_and_staged_content_survive_in_reftable() {
    check(Kind::Reftable).await;
}
