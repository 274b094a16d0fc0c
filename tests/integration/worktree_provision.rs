//! Trees are made whole or not at all, in repositories of every kind.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lanes::failure::{Code, Failure};
use lanes::ids::{LaneId, WorkspaceId};
use lanes::worktree::provision::{Direct, Floors, provision};
use lanes::worktree::{
    Branch, Git, GitConfig, Order, Repository, Root, SettingsCache, Tree, Way, WorkspaceLock, WorktreeError,
    admin_dir_of, check_branch, discover, layout, owned_trees, resolve_base, undo,
};

use crate::support::git::{Mounted, Yard, executable, write};

/// A repository with what is needed to make lanes in it.
pub struct Bench {
    pub yard: Yard,
    pub git: Git,
    pub repo: Repository,
    pub root: Root,
}

impl Bench {
    pub async fn of(yard: Yard) -> Self {
        let git = yard.our_git().await;
        let repo = discover(&git, &yard.repo).await.expect("a repository");
        let root = layout::choose(&repo, None, &yard.path().join("data")).expect("a root");
        Self { yard, git, repo, root }
    }

    pub async fn order(&self, name: &str, rev: Option<&str>) -> Order {
        let base = resolve_base(&self.git, &self.repo, &self.yard.repo, rev).await.expect("a base");
        let branch = check_branch(&self.git, &self.repo, "lanes/", name, None).await.expect("a branch");
        let lane_id = LaneId::generate();
        Order {
            lane_id,
            name: name.to_owned(),
            workspace_id: WorkspaceId::generate(),
            token: format!("secret of {lane_id}"),
            home: "/home".into(),
            root: self.root.path.as_path().into(),
            path: self.root.path.join(name).as_path().into(),
            base,
            branch,
            lock_reason: format!("lanes {lane_id} boot 1"),
            submodules: true,
            copy: Vec::new(),
            link: Vec::new(),
        }
    }

    pub async fn make(&self, order: &Order) -> Result<Tree, WorktreeError> {
        self.make_above(order, Floors::default()).await
    }

    async fn make_above(&self, order: &Order, floors: Floors) -> Result<Tree, WorktreeError> {
        let settings = SettingsCache::default().get(&self.git, &self.repo).await?;
        provision(&self.git, &self.repo, order, floors, Way::Git, &settings, &Direct, &|_step| {}).await
    }

    pub async fn lane(&self, name: &str) -> Tree {
        let order = self.order(name, None).await;
        self.make(&order).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub async fn refused(&self, order: &Order) -> Failure {
        Failure::from(self.make(order).await.expect_err("it fails"))
    }

    /// Nothing of any lane is there: no folder, admin entry, branch.
    pub fn assert_nothing_left(&self) {
        let names = |folder: PathBuf| -> Vec<String> {
            let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
            let name = |e: std::io::Result<std::fs::DirEntry>| e.expect("an entry").file_name();
            entries.map(|e| name(e).to_string_lossy().into_owned()).filter(|n| n != ".workspace").collect()
        };
        assert_eq!(names(self.root.path.clone()), Vec::<String>::new(), "trees");
        assert_eq!(names(self.repo.common_dir.join("worktrees")), Vec::<String>::new(), "admin entries");
        assert_eq!(self.yard.git(&["for-each-ref", "refs/heads/lanes/"]), "", "branches");
        let aside = names(self.repo.common_dir.clone());
        assert!(!aside.iter().any(|name| name.starts_with(".lanes-undo")), "{aside:?}");
    }
}

async fn bench() -> Bench {
    Bench::of(Yard::new()).await
}

#[tokio::test]
async fn a_tree_is_on_its_branch_locked_and_carries_its_order() {
    let bench = bench().await;
    let order = bench.order("a", None).await;
    let tree = bench.make(&order).await.expect("it is made");
    let path = tree.path.to_path_buf();
    assert_eq!(path, bench.yard.path().join("w/repo.lanes/a"));
    assert_eq!(bench.yard.git_in(&path, &["status", "--porcelain", "--branch"]), "## lanes/a");
    assert_eq!(std::fs::read_to_string(path.join("sub/b.txt")).expect("there"), "b\n");
    assert!(
        bench
            .yard
            .git(&["worktree", "list", "--porcelain"])
            .contains(&format!("locked {}", order.lock_reason))
    );
    let admin = admin_dir_of(&bench.repo, &path).expect("both name each other");
    let mode = std::fs::metadata(admin.join("lanes.json")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(owned_trees(&bench.repo), [(order.clone(), tree.admin_id.clone(), path)]);
    undo(&bench.git, &bench.repo, &order).await.expect("it is undone");
    bench.assert_nothing_left();
    undo(&bench.git, &bench.repo, &order).await.expect("again is success");
}

#[tokio::test]
async fn paths_and_kinds_of_repositories_do_not_matter() {
    for (name, init) in [
        ("a b", ""),
        ("ünï中", ""),
        ("new\nline", ""),
        ("sha256", "--object-format=sha256"),
        ("reftable", "--ref-format=reftable"),
    ] {
        let init: Vec<&str> = Some(init).into_iter().filter(|arg| !arg.is_empty()).collect();
        let bench = Bench::of(Yard::with(name, &init)).await;
        let order = bench.order("a", None).await;
        let tree = bench.make(&order).await.unwrap_or_else(|error| panic!("{name:?}: {error}"));
        assert_eq!(bench.yard.git_in(tree.path.as_path(), &["status", "--porcelain"]), "", "{name:?}");
        undo(&bench.git, &bench.repo, &order).await.expect("it is undone");
        bench.assert_nothing_left();
    }
}

#[tokio::test]
async fn a_bare_repository_has_lanes_too() {
    let yard = Yard::new();
    let bare = yard.path().join("w/bare.git");
    yard.git(&["clone".as_ref(), "-q".as_ref(), "--bare".as_ref(), ".".as_ref(), bare.as_os_str()]);
    let git = yard.our_git().await;
    let repo = discover(&git, &bare).await.expect("a repository");
    let root = layout::choose(&repo, None, &yard.path().join("data")).expect("a root");
    assert_eq!(root.path, yard.path().join("w/bare.lanes"));
    let bench = Bench { yard, git, repo, root };
    let order = bench.order("a", None).await;
    assert_eq!(order.base.target.as_deref(), Some("refs/heads/main"));
    let tree = bench.make(&order).await.expect("it is made");
    assert_eq!(bench.yard.git_in(tree.path.as_path(), &["status", "--porcelain"]), "");
    let mut order = bench.order("b", None).await;
    order.branch =
        check_branch(&bench.git, &bench.repo, "lanes/", "b", Some("main")).await.expect("it is free");
    bench.make(&order).await.expect("an existing branch is checked out");
    undo(&bench.git, &bench.repo, &order).await.expect("it is undone");
    assert!(!order.path.as_path().exists());
    assert!(bench.yard.git_in(&bare, &["branch"]).contains("main"), "it was there before");
}

#[tokio::test]
async fn submodules_are_there_and_filters_have_run() {
    let yard = Yard::new();
    let inner = Yard::new();
    yard.git(&["submodule".as_ref(), "add".as_ref(), "-q".as_ref(), inner.repo.as_os_str(), "mod".as_ref()]);
    yard.git(&["config", "filter.up.smudge", "tr a-z A-Z"]);
    yard.git(&["config", "filter.up.clean", "tr A-Z a-z"]);
    yard.write(".gitattributes", "*.up filter=up\n");
    yard.write("x.up", "loud\n");
    yard.commit("submodule and filter");
    let bench = Bench::of(yard).await;
    let orders = [bench.order("a", None).await, bench.order("b", None).await];
    let (a, b) = tokio::join!(bench.make(&orders[0]), bench.make(&orders[1]));
    for tree in [a.expect("it is made"), b.expect("it is made")] {
        let path = tree.path.as_path();
        assert_eq!(std::fs::read_to_string(path.join("x.up")).expect("there"), "LOUD\n");
        assert_eq!(std::fs::read_to_string(path.join("mod/sub/b.txt")).expect("there"), "b\n");
    }
    for order in &orders {
        undo(&bench.git, &bench.repo, order).await.expect("it is undone");
    }
    bench.assert_nothing_left();
}

#[tokio::test]
async fn a_sparse_checkout_stays_sparse() {
    let yard = Yard::new();
    yard.git(&["sparse-checkout", "set", "--cone", "other"]);
    let bench = Bench::of(yard).await;
    let tree = bench.lane("a").await;
    assert!(tree.path.as_path().join("a.txt").exists());
    assert!(!tree.path.as_path().join("sub/b.txt").exists());
    assert_eq!(bench.yard.git_in(tree.path.as_path(), &["status", "--porcelain"]), "");
}

async fn fifty(bench: Bench, rev: Option<&str>) {
    let mut orders = Vec::new();
    for number in 0..50 {
        orders.push(bench.order(&format!("n{number}"), rev).await);
    }
    let bench = Arc::new(bench);
    let mut all = tokio::task::JoinSet::new();
    for order in orders.clone() {
        let bench = bench.clone();
        all.spawn(async move { bench.make(&order).await.map(|tree| tree.path) });
    }
    let made = all.join_all().await;
    let failed: Vec<_> =
        made.iter().filter_map(|result| result.as_ref().err()).map(ToString::to_string).collect();
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(owned_trees(&bench.repo).len(), 50);
    let mut all = tokio::task::JoinSet::new();
    for order in orders {
        let bench = bench.clone();
        all.spawn(async move { undo(&bench.git, &bench.repo, &order).await });
    }
    for result in all.join_all().await {
        result.expect("it is undone");
    }
    bench.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_from_head_all_succeed() {
    fifty(bench().await, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_from_a_remote_branch_all_succeed() {
    let upstream = Yard::new();
    let yard = Yard::new();
    yard.git(&["remote".as_ref(), "add".as_ref(), "origin".as_ref(), upstream.repo.as_os_str()]);
    yard.git(&["fetch", "-q", "origin"]);
    fifty(Bench::of(yard).await, Some("origin/main")).await;
}

#[tokio::test]
async fn a_failing_hook_fails_the_creation_and_nothing_is_left() {
    let bench = bench().await;
    let hook = bench.repo.common_dir.join("hooks/post-checkout");
    write(&hook, "#!/bin/sh\necho the hook says no >&2\nexit 3\n");
    executable(&hook);
    let order = bench.order("a", None).await;
    let failure = bench.refused(&order).await;
    assert_eq!(failure.code, Code::GitFailed);
    assert!(failure.message.contains("the hook says no"), "{}", failure.message);
    assert!(failure.hint.is_some_and(|hint| hint.contains("correct the hook")));
    bench.assert_nothing_left();
    assert!(!bench.root.path.exists(), "nothing is in the root any more");
}

#[tokio::test]
async fn hooks_of_the_user_run_and_those_of_the_content_do_not() {
    let yard = Yard::new();
    let script = yard.marking_script("default", "");
    std::fs::create_dir_all(yard.repo.join(".git/hooks")).expect("made");
    std::fs::copy(script, yard.repo.join(".git/hooks/post-checkout")).expect("copied");
    let bench = Bench::of(yard).await;
    assert_eq!(bench.lane("a").await.notes, Vec::<String>::new());
    assert_eq!(bench.yard.marks(), ["default"]);

    let script = bench.yard.marking_script("content", "");
    let hooks = bench.yard.repo.join(".husky");
    std::fs::create_dir_all(&hooks).expect("made");
    std::fs::copy(script, hooks.join("post-checkout")).expect("copied");
    bench.yard.git(&["config", "core.hooksPath", ".husky"]);
    let notes = bench.lane("b").await.notes;
    assert!(notes.len() == 1 && notes[0].contains(".husky"), "{notes:?}");
    bench.yard.git(&["config", "--unset", "core.hooksPath"]);
    bench.yard.git(&["config".as_ref(), "--global".as_ref(), "core.hooksPath".as_ref(), hooks.as_os_str()]);
    assert_eq!(bench.lane("c").await.notes.len(), 1);
    assert_eq!(bench.yard.marks(), ["default"]);

    let own = bench.yard.path().join("home/hooks");
    std::fs::rename(hooks, &own).expect("moved");
    bench.yard.git(&["config".as_ref(), "--global".as_ref(), "core.hooksPath".as_ref(), own.as_os_str()]);
    assert_eq!(bench.lane("d").await.notes, Vec::<String>::new());
    assert_eq!(bench.yard.marks(), ["content", "default"]);
}

fn slow_filter(yard: &Yard) -> PathBuf {
    let begun = yard.path().join("begun");
    let script = yard.path().join("scripts/slow");
    write(&script, &format!("#!/bin/sh\necho $$ >> '{}'\nsleep 300\n", begun.display()));
    executable(&script);
    yard.write(".gitattributes", "*.slow filter=slow\n");
    yard.write("x.slow", "x\n");
    yard.commit("slow");
    yard.git(&["config".as_ref(), "filter.slow.smudge".as_ref(), script.as_os_str()]);
    begun
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn has_line(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n'))
}

fn is_gone(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

#[tokio::test]
async fn a_git_killed_in_the_middle_is_undone_from_the_order_alone() {
    let yard = Yard::new();
    let begun = slow_filter(&yard);
    let bench = Arc::new(Bench::of(yard).await);
    let order = bench.order("a", None).await;
    // The same call as provisioning makes, by a process that nobody waits for and whose leader is killed.
    let mut command = std::process::Command::new("git");
    command.args([
        "worktree",
        "add",
        "--lock",
        "--reason",
        &order.lock_reason,
        "--no-track",
        "-b",
        "lanes/a",
        "--",
    ]);
    command.arg(order.path.as_os_str()).arg(&order.base.sha).current_dir(&bench.yard.repo);
    command.env_clear().envs(bench.yard.env()).env("LANES_PROVISIONING", order.lane_id.to_string());
    command.stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("git starts");
    until("the filter to run", || has_line(&begun)).await;
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    let other = bench.repo.common_dir.join("worktrees/a/index.lock");
    assert!(other.exists(), "the kill came too late for what is tested");
    undo(&bench.git, &bench.repo, &order).await.expect("it is undone");
    bench.assert_nothing_left();
    let pids = std::fs::read_to_string(begun).expect("there");
    until("the filter to end", || pids.lines().all(is_gone)).await;
}

#[tokio::test]
async fn a_checkout_that_hangs_is_ended_in_time_and_undone() {
    let yard = Yard::new();
    let begun = slow_filter(&yard);
    let mut bench = Bench::of(yard).await;
    let config = GitConfig { checkout_timeout: Duration::from_millis(700), ..bench.yard.config() };
    bench.git = Git::find(config).await.expect("git is there");
    let order = bench.order("a", None).await;
    let failure = bench.refused(&order).await;
    assert_eq!(failure.code, Code::GitTimeout);
    bench.assert_nothing_left();
    let pids = std::fs::read_to_string(begun).unwrap_or_default();
    until("the filter to end", || pids.lines().all(is_gone)).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_can_be_undone() {
    let yard = Yard::new();
    let begun = slow_filter(&yard);
    let bench = Arc::new(Bench::of(yard).await);
    let order = bench.order("a", None).await;
    let making = tokio::spawn({
        let (bench, order) = (bench.clone(), order.clone());
        async move { bench.make(&order).await }
    });
    until("the filter to run", || has_line(&begun)).await;
    making.abort();
    let _cancelled = making.await;
    undo(&bench.git, &bench.repo, &order).await.expect("it is undone");
    bench.assert_nothing_left();
}

#[tokio::test]
async fn undo_leaves_alone_what_is_not_of_its_order() {
    let bench = bench().await;
    let theirs = bench.order("a", None).await;
    bench.make(&theirs).await.expect("it is made");
    let mut ours = theirs.clone();
    ours.lane_id = LaneId::generate();
    ours.token = "another".to_owned();
    ours.lock_reason = format!("lanes {} boot 2", ours.lane_id);
    undo(&bench.git, &bench.repo, &ours).await.expect("nothing to do");
    assert!(theirs.path.as_path().join("a.txt").exists());
    assert_eq!(owned_trees(&bench.repo).len(), 1);
    assert_eq!(bench.yard.git(&["branch", "--list", "lanes/a"]), "+ lanes/a");
    // A folder of the user's that took the place.
    let place = bench.root.path.join("b");
    write(&place.join("mine"), "mine");
    ours.path = place.as_path().into();
    undo(&bench.git, &bench.repo, &ours).await.expect("nothing to do");
    assert!(place.join("mine").exists());
    // A branch that went on.
    let mut order = bench.order("c", None).await;
    let tree = bench.make(&order).await.expect("it is made");
    bench.yard.git_in(tree.path.as_path(), &["commit", "-q", "--allow-empty", "-m", "work"]);
    order.path = tree.path;
    undo(&bench.git, &bench.repo, &order).await.expect("it is undone");
    assert_eq!(bench.yard.git(&["branch", "--list", "lanes/c"]).trim(), "lanes/c");
}

#[tokio::test]
async fn what_git_was_killed_over_before_it_said_whose_it_is_goes() {
    let bench = bench().await;
    let order = bench.order("a", None).await;
    let worktrees = bench.repo.common_dir.join("worktrees");
    let half = &order.lock_reason[..order.lock_reason.len() / 2];
    write(&worktrees.join("a/locked"), "");
    write(&worktrees.join("a1/locked"), half);
    std::fs::create_dir(worktrees.join("a2")).expect("an empty entry");
    // Of others: another name, another reason, further on.
    write(&worktrees.join("ab/locked"), "");
    write(&worktrees.join("a3/locked"), "initializing");
    write(&worktrees.join("a4/locked"), "");
    write(&worktrees.join("a4/gitdir"), "/elsewhere/.git\n");
    undo(&bench.git, &bench.repo, &order).await.expect("it is undone");
    let left = std::fs::read_dir(&worktrees).expect("it is there").map(|entry| entry.expect("an entry"));
    let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["a3", "a4", "ab"]);
}

#[tokio::test]
async fn a_branch_that_is_there_is_refused_and_kept() {
    let bench = bench().await;
    let order = bench.order("a", None).await;
    bench.yard.git(&["branch", "lanes/a"]);
    assert_eq!(bench.refused(&order).await.code, Code::BranchExists);
    assert_eq!(bench.yard.git(&["branch", "--list", "lanes/a"]).trim(), "lanes/a");
    assert!(!order.path.as_path().exists());
}

#[tokio::test]
async fn a_place_that_is_taken_is_refused_and_kept() {
    let bench = bench().await;
    let order = bench.order("a", None).await;
    write(&order.path.as_path().join("mine"), "mine");
    assert_eq!(bench.refused(&order).await.code, Code::Io);
    assert!(order.path.as_path().join("mine").exists());
}

#[tokio::test]
async fn floors_refuse_before_anything_is_made() {
    let bench = bench().await;
    let order = bench.order("a", None).await;
    for floors in [Floors { bytes: u64::MAX, inodes: 0 }, Floors { bytes: 0, inodes: u64::MAX }] {
        let made = bench.make_above(&order, floors).await;
        assert_eq!(Failure::from(made.expect_err("it is refused")).code, Code::DiskLow);
    }
    bench.assert_nothing_left();
}

#[tokio::test]
async fn a_disk_that_fills_up_is_said_and_undone() {
    let yard = Yard::new();
    for number in 0..40 {
        yard.write(&format!("big{number}"), &"0123456789abcdef".repeat(8_192));
    }
    yard.commit("big");
    let mut bench = Bench::of(yard).await;
    let small = bench.yard.path().join("small");
    std::fs::create_dir(&small).expect("made");
    let args = ["-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs"].map(AsRef::as_ref);
    let Some(mounted) = Mounted::new(&args, &small) else { return };
    bench.root = layout::choose(&bench.repo, Some(&small), Path::new("/nonexistent")).expect("a root");
    let order = bench.order("a", None).await;
    let failure = bench.refused(&order).await;
    assert_eq!(failure.code, Code::DiskLow, "{failure:?}");
    bench.assert_nothing_left();
    drop(mounted);
}

#[tokio::test]
async fn an_unknown_existing_branch_is_a_missing_one() {
    let bench = bench().await;
    let mut order = bench.order("a", None).await;
    order.branch = Branch { name: "nowhere".to_owned(), created: false };
    assert_eq!(bench.refused(&order).await.code, Code::GitFailed);
    bench.assert_nothing_left();
}

#[tokio::test]
async fn the_workspace_lock_is_given_to_one_at_a_time_and_says_who_holds_it() {
    let bench = bench().await;
    let dir = bench.repo.common_dir.clone();
    let held = WorkspaceLock::acquire(&dir, Duration::from_secs(10), "the first").await.expect("it is free");
    let error =
        WorkspaceLock::acquire(&dir, Duration::from_millis(50), "the second").await.expect_err("it is held");
    let failure = Failure::from(error);
    assert_eq!(failure.code, Code::Busy);
    assert!(failure.message.contains("the first"), "{}", failure.message);
    drop(held);
    let _free = WorkspaceLock::acquire(&dir, Duration::from_secs(10), "the third").await.expect("it is free");
}
