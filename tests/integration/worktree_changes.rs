//! Changes are counted and shown, and nothing of the repository runs meanwhile.

use lanes::worktree::{Order, Tree, admin_dir_of, changes, diff, is_merged};

use crate::support::git::Yard;
use crate::worktree_provision::Bench;

async fn lane(bench: &Bench) -> (Order, Tree) {
    let order = bench.order("a", None).await;
    let tree = bench.make(&order).await.expect("it is made");
    (order, tree)
}

async fn counted(bench: &Bench, order: &Order, tree: &Tree) -> (u64, u64, u64, u64, u64) {
    let path = tree.path.as_path();
    let admin = admin_dir_of(&bench.repo, path).expect("ours");
    let found = changes(&bench.git, &bench.repo, path, &admin, &order.base).await.expect("counted");
    (found.ahead, found.behind, found.files, found.insertions, found.deletions)
}

async fn shown(bench: &Bench, order: &Order, tree: &Tree) -> String {
    let path = tree.path.as_path();
    let admin = admin_dir_of(&bench.repo, path).expect("ours");
    let bytes = diff(&bench.git, &bench.repo, path, &admin, &order.base).await.expect("shown");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn commits_files_and_lines_are_counted_and_shown() {
    for init in ["--object-format=sha1", "--object-format=sha256", "--ref-format=reftable"] {
        let bench = Bench::of(Yard::with("repo", &[init])).await;
        let (order, tree) = lane(&bench).await;
        let path = tree.path.as_path();
        assert_eq!(counted(&bench, &order, &tree).await, (0, 0, 0, 0, 0), "{init}");
        assert_eq!(shown(&bench, &order, &tree).await, "");
        bench.yard.commit("behind");
        bench.yard.git_in(path, &["commit", "-q", "--allow-empty", "-m", "ahead"]);
        std::fs::write(path.join("a.txt"), "one\nTWO\nthree\nfour\n").expect("written");
        std::fs::write(path.join("new\tfile"), "n\n").expect("written");
        bench.yard.git_in(path, &["rm", "-q", "sub/b.txt"]);
        assert_eq!(counted(&bench, &order, &tree).await, (1, 1, 3, 2, 2), "{init}");
        let text = shown(&bench, &order, &tree).await;
        for part in ["+TWO", "-two", "+n", "-b", "new file mode", "deleted file mode"] {
            assert!(text.contains(part), "{init}: {part} in {text}");
        }
        assert_eq!(
            bench.yard.git_in(path, &["status", "--porcelain"]).lines().count(),
            3,
            "the index is as it was"
        );
    }
}

#[tokio::test]
async fn nothing_runs_and_fresh_filtered_files_are_not_changed() {
    let yard = Yard::new();
    yard.git(&["config", "filter.up.smudge", "tr a-z A-Z"]);
    yard.git(&["config", "filter.up.clean", "tr A-Z a-z"]);
    yard.write(".gitattributes", "*.up filter=up diff=up\n");
    yard.write("x.up", "loud\n");
    yard.write("y.up", "loud\n");
    yard.commit("filter");
    let bench = Bench::of(yard).await;
    let (order, tree) = lane(&bench).await;
    for (key, name) in [
        ("filter.up.clean", "clean"),
        ("filter.up.process", "process"),
        ("diff.external", "external"),
        ("diff.up.textconv", "textconv"),
        ("diff.up.command", "command"),
        ("core.fsmonitor", "fsmonitor"),
        ("gpg.program", "gpg"),
    ] {
        let script = bench.yard.marking_script(name, "cat");
        bench.yard.git(&["config".as_ref(), key.as_ref(), script.as_os_str()]);
    }
    assert_eq!(counted(&bench, &order, &tree).await, (0, 0, 0, 0, 0));
    std::fs::write(tree.path.as_path().join("y.up"), "OTHER\n").expect("written");
    assert_eq!(counted(&bench, &order, &tree).await, (0, 0, 1, 0, 0));
    let _text = shown(&bench, &order, &tree).await;
    assert_eq!(bench.yard.marks(), Vec::<String>::new());
}

#[tokio::test]
async fn merged_is_reachable_from_elsewhere_or_the_same_tree() {
    for init in ["--object-format=sha1", "--ref-format=reftable"] {
        let bench = Bench::of(Yard::with("repo", &[init])).await;
        let (order, tree) = lane(&bench).await;
        let path = tree.path.as_path();
        let check = async |expected: bool, what: &str| {
            let tip = bench.yard.git_in(path, &["rev-parse", "HEAD"]);
            let merged =
                is_merged(&bench.git, &bench.repo, &tip, "lanes/a", &order.base).await.expect("judged");
            assert_eq!(merged, expected, "{init}: {what}");
        };
        check(true, "nothing done").await;
        std::fs::write(path.join("a.txt"), "work\n").expect("written");
        bench.yard.git_in(path, &["commit", "-qam", "work"]);
        check(false, "work of its own").await;
        bench.yard.write("a.txt", "work\n");
        bench.yard.commit("squashed");
        check(true, "the same tree in the target").await;
        bench.yard.write("a.txt", "more\n");
        bench.yard.commit("more");
        check(false, "the target went on").await;
        bench.yard.git(&["update-ref", "refs/remotes/origin/x", "lanes/a"]);
        check(true, "pushed").await;
    }
}
