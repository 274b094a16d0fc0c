//! Files that git does not track come along, and nothing else does.

use std::os::unix::fs::symlink;
use std::path::Path;

use lanes::failure::Code;
use lanes::worktree::undo;

use crate::support::git::Yard;
use crate::worktree_provision::Bench;

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

async fn bench() -> Bench {
    let yard = Yard::new();
    yard.write(".gitignore", "*.local\nnode_modules/\n.env\n");
    yard.commit("ignore");
    yard.write(".env", "SECRET=1\n");
    yard.write("sub/x.local", "x\n");
    yard.write("node_modules/p/index.js", "js\n");
    yard.write("plain", "not ignored, not tracked\n");
    Bench::of(yard).await
}

#[tokio::test]
async fn copies_and_links_are_placed_and_kept_out_of_the_status() {
    let bench = bench().await;
    let mut order = bench.order("a", None).await;
    order.copy = vec![".env".to_owned(), "**/*.local".to_owned(), "a.txt".to_owned()];
    order.link = vec!["node_modules".to_owned(), "absent".to_owned()];
    let tree = bench.make(&order).await.expect("it is made");
    let path = tree.path.as_path();
    assert_eq!(text(&path.join(".env")), "SECRET=1\n");
    assert_eq!(text(&path.join("sub/x.local")), "x\n");
    assert_eq!(text(&path.join("node_modules/p/index.js")), "js\n");
    assert!(path.join("node_modules").is_symlink() && !path.join("plain").exists());
    assert_eq!(bench.yard.git_in(path, &["status", "--porcelain"]), "");
    assert!(
        tree.notes.iter().any(|note| note.contains("a.txt")),
        "tracked files are not copied: {:?}",
        tree.notes
    );
    assert!(tree.notes.iter().any(|note| note.contains("absent")), "{:?}", tree.notes);
    let exclude = text(&bench.repo.common_dir.join("info/exclude"));
    bench.make(&bench.order("b", None).await).await.expect("another");
    assert_eq!(text(&bench.repo.common_dir.join("info/exclude")), exclude, "once");
    undo(&bench.git, &bench.repo, &order).await.expect("it is undone");
    assert_eq!(
        text(&bench.yard.repo.join("node_modules/p/index.js")),
        "js\n",
        "a link is removed, not followed"
    );
}

#[tokio::test]
async fn the_file_of_patterns_is_read_like_an_ignore_file() {
    let bench = bench().await;
    bench
        .yard
        .write(".worktreeinclude", "# what lanes need\n*.local\nnode_modules/\n!sub/\n/plain\n../../etc\n");
    let tree = bench.lane("a").await;
    let path = tree.path.as_path();
    assert_eq!(text(&path.join("node_modules/p/index.js")), "js\n");
    assert_eq!(text(&path.join("plain")), "not ignored, not tracked\n");
    assert!(!path.join(".env").exists());
}

#[tokio::test]
async fn entries_that_leave_the_tree_are_refused_before_anything_is_made() {
    let bench = bench().await;
    for bad in ["../outside", "/etc/passwd", "a/../../b", ".git/config", "", "x\ny"] {
        let mut order = bench.order("a", None).await;
        order.copy = vec![bad.to_owned()];
        assert_eq!(bench.refused(&order).await.code, Code::ConfigInvalid, "copy {bad:?}");
        order.copy.clear();
        order.link = vec![bad.to_owned()];
        assert_eq!(bench.refused(&order).await.code, Code::ConfigInvalid, "link {bad:?}");
    }
    bench.assert_nothing_left();
}

#[tokio::test]
async fn symbolic_links_are_not_followed_on_either_side() {
    let bench = bench().await;
    let outside = bench.yard.path().join("outside");
    crate::support::git::write(&outside.join("x.local"), "outside\n");
    let main = &bench.yard.repo;
    symlink(&outside, main.join("way")).expect("a link");
    symlink(outside.join("x.local"), main.join("direct.local")).expect("a link");
    let mut order = bench.order("a", None).await;
    order.copy = vec!["way/*.local".to_owned(), "*.local".to_owned()];
    let tree = bench.make(&order).await.expect("it is made");
    let path = tree.path.as_path();
    assert!(!path.join("way").exists());
    let copied = std::fs::read_link(path.join("direct.local")).expect("a link comes as a link");
    assert_eq!(copied, outside.join("x.local"));
    for bad in ["way", "way/x.local"] {
        let mut order = bench.order("b", None).await;
        order.link = vec![bad.to_owned()];
        assert_eq!(bench.refused(&order).await.code, Code::ConfigInvalid, "{bad}");
    }

    // The tree brings a link where the main checkout has a folder.
    std::fs::remove_file(main.join("way")).expect("removed");
    symlink(&outside, main.join("trap")).expect("a link");
    bench.yard.git(&["add", "trap"]);
    bench.yard.git(&["commit", "-q", "-m", "trap"]);
    bench.yard.git(&["rm", "-q", "--cached", "trap"]);
    std::fs::remove_file(main.join("trap")).expect("removed");
    bench.yard.write("trap/new.local", "new\n");
    let mut order = bench.order("c", None).await;
    order.copy = vec!["trap/new.local".to_owned()];
    let tree = bench.make(&order).await.expect("it is made");
    assert!(!outside.join("new.local").exists());
    assert!(tree.notes.iter().any(|note| note.contains("symbolic link")), "{:?}", tree.notes);
}

#[tokio::test]
async fn a_tracked_path_is_not_linked_over() {
    let bench = bench().await;
    for bad in ["sub", "a.txt"] {
        let mut order = bench.order("a", None).await;
        order.link = vec![bad.to_owned()];
        assert_eq!(bench.refused(&order).await.code, Code::ConfigInvalid, "{bad}");
    }
    bench.assert_nothing_left();
}
