//! git is asked for its configuration once, and again when anything it came from has changed.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lanes::worktree::{Git, GitConfig, Repository, Settings, SettingsCache, discover};

use crate::support::git::{Yard, executable, write};

/// A repository whose git calls are counted.
struct Desk {
    yard: Yard,
    git: Git,
    repo: Repository,
    cache: SettingsCache,
}

impl Desk {
    async fn new() -> Self {
        let yard = Yard::new();
        let counted = yard.path().join("bin/git");
        let calls = yard.path().join("calls");
        write(&counted, &format!("#!/bin/sh\necho \"$*\" >> '{}'\nexec git \"$@\"\n", calls.display()));
        executable(&counted);
        let config = GitConfig { program: Some(counted), ..yard.config() };
        let git = Git::find(config).await.expect("git");
        let repo = discover(&git, &yard.repo).await.expect("a repository");
        Self { yard, git, repo, cache: SettingsCache::default() }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.yard.path().join(below)
    }

    fn calls(&self) -> usize {
        std::fs::read_to_string(self.path("calls")).unwrap_or_default().lines().count()
    }

    async fn get(&self) -> Settings {
        let settings = self.cache.get(&self.git, &self.repo).await.expect("settings");
        Settings::clone(&settings)
    }

    /// Asks until git is not needed any more: what was just written is not believed at once.
    async fn settled(&self) -> Settings {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let before = self.calls();
            let settings = self.get().await;
            if self.calls() == before {
                return settings;
            }
            assert!(Instant::now() < until, "git is asked again and again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// Checkouts look different.
    Looks,
    /// git is asked, with the same answer.
    Nothing,
}

/// Does something and looks at the very next answer.
#[track_caller]
fn check(desk: &Desk, what: &str, means: Means, change: impl FnOnce()) -> impl Future<Output = Settings> {
    let what = format!("{what} ({})", std::panic::Location::caller());
    async move {
        let before = desk.settled().await;
        let calls = desk.calls();
        change();
        let after = desk.get().await;
        assert!(desk.calls() > calls, "{what}: git was not asked");
        assert_eq!(after.print != before.print, means == Means::Looks, "{what}");
        after
    }
}

#[tokio::test]
async fn git_is_not_started_when_nothing_has_changed() {
    let desk = Desk::new().await;
    let settings = desk.settled().await;
    let calls = desk.calls();
    for _ in 0..20 {
        assert_eq!(desk.get().await, settings);
    }
    assert_eq!(desk.calls(), calls);
    assert_eq!((settings.hooks_path, settings.only_git), (None, None));
    // Another one that starts anew says the same.
    let other = SettingsCache::default().get(&desk.git, &desk.repo).await.expect("settings");
    assert_eq!(other.print, settings.print);
}

#[tokio::test]
async fn those_who_ask_at_once_wait_for_one_answer() {
    let desk = Desk::new().await;
    let before = desk.settled().await;
    let calls = desk.calls();
    let cache = SettingsCache::default();
    let ask = || cache.get(&desk.git, &desk.repo);
    let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
    for one in [a, b, c, d] {
        assert_eq!(*one.expect("settings"), before);
    }
    // Two to learn where the system's files are, one for the list.
    assert_eq!(desk.calls() - calls, 3);
}

#[tokio::test]
async fn each_kind_of_change_is_noticed_by_the_next_request() {
    use Means::{Looks, Nothing};
    let desk = Desk::new().await;
    let common = desk.repo.common_dir.clone();
    let git = |args: &[&str]| drop(desk.yard.git(args));
    check(&desk, "local setting", Looks, || git(&["config", "core.autocrlf", "input"])).await;
    check(&desk, "what a push writes", Nothing, || git(&["config", "branch.x.remote", "o"])).await;
    check(&desk, "global setting", Looks, || git(&["config", "--global", "core.eol", "lf"])).await;
    let xdg = desk.path("home/xdg/git");
    check(&desk, "a user's second file", Looks, || {
        write(&xdg.join("config"), "[filter \"x\"]\n\tsmudge = cat\n");
    })
    .await;
    check(&desk, "attributes", Looks, || write(&common.join("info/attributes"), "* text\n")).await;
    check(&desk, "the user's attributes", Looks, || write(&xdg.join("attributes"), "*.x -text\n")).await;
    check(&desk, "sparse patterns", Looks, || write(&common.join("info/sparse-checkout"), "/sub/\n")).await;
    check(&desk, "worktree configuration", Looks, || {
        git(&["config", "extensions.worktreeConfig", "true"]);
        git(&["config", "--worktree", "core.symlinks", "false"]);
    })
    .await;
    check(&desk, "one that is gone", Looks, || {
        std::fs::remove_file(common.join("config.worktree")).expect("removed");
    })
    .await;
    // Written in place, of the same length.
    let attributes = common.join("info/attributes");
    check(&desk, "the same length", Looks, || write(&attributes, "* texu\n")).await;
    let elsewhere = desk.path("elsewhere");
    write(&elsewhere, "*.c text\n");
    check(&desk, "another attributes file", Looks, || {
        git(&["config", "core.attributesFile", &elsewhere.display().to_string()]);
    })
    .await;
    check(&desk, "its content", Looks, || write(&elsewhere, "*.c -text\n")).await;
}

#[tokio::test]
async fn files_that_are_included_count_from_where_they_lie() {
    use Means::{Looks, Nothing};
    let desk = Desk::new().await;
    let more = desk.path("home/more");
    write(&more, "[core]\n\tautocrlf = false\n");
    let git = |args: &[&str]| drop(desk.yard.git(args));
    check(&desk, "an include", Looks, || git(&["config", "--global", "include.path", "more"])).await;
    check(&desk, "its content", Looks, || write(&more, "[core]\n\tautocrlf = true\n")).await;
    check(&desk, "one that is not there", Nothing, || git(&["config", "include.path", "../later"])).await;
    let later = desk.yard.repo.join("later");
    check(&desk, "it comes to be", Looks, || write(&later, "[core]\n\teol = crlf\n")).await;
    let linked = desk.path("linked");
    write(&linked, "[core]\n\teol = lf\n");
    check(&desk, "a link in its place", Looks, || {
        std::fs::remove_file(&later).expect("removed");
        symlink(&linked, &later).expect("a link");
    })
    .await;
    check(&desk, "where the link leads", Looks, || write(&linked, "[core]\n\teol = native\n")).await;
    let work = desk.path("home/work");
    write(&work, "[core]\n\tsafecrlf = true\n[user]\n\temail = w@example.com\n");
    let key = format!("includeIf.gitdir:{}/.path", desk.yard.path().join("w").display());
    let settings = check(&desk, "a condition", Nothing, || git(&["config", "--global", &key, "work"])).await;
    assert_eq!(settings.only_git, None);
    let settings = check(&desk, "its content", Looks, || write(&work, "[core]\n\teol = lf\n")).await;
    assert_eq!(settings.only_git, None, "it holds for every tree of the repository");
}

#[tokio::test]
async fn what_depends_on_the_branch_keeps_trees_from_being_made_beforehand() {
    use Means::{Looks, Nothing};
    let desk = Desk::new().await;
    let file = desk.path("home/branch");
    write(&file, "[user]\n\temail = b@example.com\n");
    let git = |args: &[&str]| drop(desk.yard.git(args));
    let settings = check(&desk, "a condition", Nothing, || {
        git(&["config", "--global", "includeIf.onbranch:lanes/**.path", "branch"]);
    })
    .await;
    assert_eq!(settings.only_git, None, "it says nothing about files");
    let settings = check(&desk, "its content", Looks, || write(&file, "[core]\n\tautocrlf = true\n")).await;
    assert!(settings.only_git.is_some_and(|why| why.contains("branches")), "{:?}", settings.only_git);
    check(&desk, "another branch", Looks, || git(&["checkout", "-q", "-b", "lanes/x"])).await;
}

#[tokio::test]
async fn the_folder_of_hooks_is_read_with_its_scope() {
    let desk = Desk::new().await;
    let git = |args: &[&str]| drop(desk.yard.git(args));
    let hooks = check(&desk, "of the user", Means::Nothing, || {
        git(&["config", "--global", "core.hooksPath", "~/hooks"]);
    })
    .await
    .hooks_path;
    assert_eq!(hooks, Some(("global".to_owned(), desk.path("home/hooks"))));
    let hooks = check(&desk, "of the repository", Means::Nothing, || {
        git(&["config", "core.hooksPath", "tools/hooks"]);
    })
    .await
    .hooks_path;
    assert_eq!(hooks, Some(("local".to_owned(), PathBuf::from("tools/hooks"))));
}

#[tokio::test]
async fn a_configuration_that_git_cannot_read_is_an_error_until_it_can() {
    let desk = Desk::new().await;
    let before = desk.settled().await;
    let config = desk.repo.common_dir.join("config");
    let text = std::fs::read_to_string(&config).expect("there");
    write(&config, &format!("{text}[core\n"));
    desk.cache.get(&desk.git, &desk.repo).await.expect_err("it is broken");
    write(&config, &text);
    assert_eq!(desk.settled().await, before);
}
