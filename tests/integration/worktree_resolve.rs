//! Bases and branches are resolved by git's rules, and hostile names reach nothing.

use lanes::failure::{Code, Failure};
use lanes::worktree::{Git, Repository, WorktreeError, check_branch, discover, resolve_base};

use crate::support::git::Yard;

async fn ready(yard: &Yard) -> (Git, Repository) {
    let git = yard.our_git().await;
    let repo = discover(&git, &yard.repo).await.expect("a repository");
    (git, repo)
}

#[tokio::test]
async fn branches_tags_commits_and_head_are_bases() {
    for init in ["--object-format=sha1", "--object-format=sha256", "--ref-format=reftable"] {
        let yard = Yard::with("repo", &[init]);
        let first = yard.git(&["rev-parse", "HEAD"]);
        yard.git(&["tag", "-a", "v1", "-m", "v1"]);
        yard.git(&["update-ref", "refs/remotes/origin/x", "HEAD"]);
        let second = yard.commit("second");
        let (git, repo) = ready(&yard).await;
        let (main, origin) = (Some("refs/heads/main"), Some("refs/remotes/origin/x"));
        for (rev, sha, target) in [
            (None, &second, main),
            (Some("main"), &second, main),
            (Some("HEAD"), &second, main),
            (Some("refs/heads/main"), &second, main),
            (Some("v1"), &first, None),
            (Some("HEAD~1"), &first, None),
            (Some("origin/x"), &first, origin),
            (Some(&first[..10]), &first, None),
        ] {
            let base =
                resolve_base(&git, &repo, &yard.repo, rev).await.unwrap_or_else(|e| panic!("{rev:?}: {e}"));
            assert_eq!((&base.sha, base.target.as_deref()), (sha, target), "{init} {rev:?}");
            assert_eq!(base.rev, rev.unwrap_or("main"));
        }
        yard.git(&["checkout", "-q", "--detach", "HEAD~1"]);
        let base = resolve_base(&git, &repo, &yard.repo, None).await.expect("a commit");
        assert_eq!((base.rev.as_str(), &base.sha, base.target), ("HEAD", &first, None));
    }
}

#[tokio::test]
async fn hostile_and_unknown_revisions_are_not_found() {
    let yard = Yard::new();
    let (git, repo) = ready(&yard).await;
    for rev in [
        "--upload-pack=touch pwned",
        "-h",
        "",
        "../x",
        "refs/heads/..",
        "main..HEAD",
        "x\ny",
        "a\u{1b}[2Jb",
        "HEAD:a.txt",
        "nowhere",
        "^main",
        "main^{tree}",
        "@{-1}",
        "0000000000000000000000000000000000000000",
    ] {
        let error = resolve_base(&git, &repo, &yard.repo, Some(rev)).await.expect_err(rev);
        let failure = Failure::from(error);
        assert_eq!(failure.code, Code::BaseNotFound, "{rev:?}");
        assert!(!failure.message.chars().any(char::is_control), "{:?}", failure.message);
    }
}

#[tokio::test]
async fn an_unborn_head_is_no_commits() {
    for init in ["--object-format=sha1", "--object-format=sha256", "--ref-format=reftable"] {
        let yard = Yard::empty("repo", &[init]);
        let (git, repo) = ready(&yard).await;
        let error = resolve_base(&git, &repo, &yard.repo, None).await.expect_err("nothing there");
        assert_eq!(Failure::from(error).code, Code::NoCommits, "{init}");
        let error = resolve_base(&git, &repo, &yard.repo, Some("main")).await.expect_err("nothing there");
        assert_eq!(Failure::from(error).code, Code::BaseNotFound, "{init}");
    }
}

#[tokio::test]
async fn branches_in_the_way_are_explained() {
    let kinds =
        [("--object-format=sha1", false), ("--object-format=sha1", true), ("--ref-format=reftable", false)];
    for (init, packed) in kinds {
        let yard = Yard::with("repo", &[init]);
        yard.git(&["branch", "Lanes/A"]);
        yard.git(&["branch", "Ü/x"]);
        yard.git(&["branch", "x/b"]);
        yard.git(&["branch", "y/a/deep"]);
        yard.git(&["branch", "free"]);
        yard.git(&["tag", "lanes"]);
        if packed {
            yard.git(&["pack-refs", "--all"]);
        }
        let (git, repo) = ready(&yard).await;
        let new = async |prefix: &str, name: &str| check_branch(&git, &repo, prefix, name, None).await;
        for (prefix, name, part) in [
            ("x/", "b", "there already"),
            ("lanes/", "a", "only in case"),
            ("ü/", "X", "only in case"),
            ("free/", "a", "in the way"),
            ("y/", "a", "in the way"),
        ] {
            let failure = Failure::from(new(prefix, name).await.expect_err(name));
            assert_eq!(failure.code, Code::BranchExists, "{prefix}{name}");
            assert!(failure.message.contains(part) && failure.hint.is_some(), "{failure:?}");
        }
        assert!(new("lanes/", "new").await.expect("free").created);
        let existing = async |name: &str| check_branch(&git, &repo, "lanes/", "n", Some(name)).await;
        assert!(!existing("free").await.expect("free").created);
        let error = existing("main").await.expect_err("in use");
        assert!(matches!(&error, WorktreeError::BranchCheckedOut { at, .. } if *at == yard.repo), "{error}");
        assert_eq!(Failure::from(existing("nowhere").await.expect_err("unknown")).code, Code::BaseNotFound);
        assert_eq!(Failure::from(existing("--force").await.expect_err("an option")).code, Code::NameInvalid);
    }
}
