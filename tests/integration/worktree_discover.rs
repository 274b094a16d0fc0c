//! Repositories of every kind are found from every folder of theirs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use lanes::failure::{Code, Failure};
use lanes::worktree::{Repository, discover};

use crate::support::git::Yard;

async fn found(yard: &Yard, from: &Path) -> Repository {
    let git = yard.our_git().await;
    discover(&git, from).await.unwrap_or_else(|error| panic!("{}: {error}", from.display()))
}

async fn refused(yard: &Yard, from: &Path) -> Failure {
    let git = yard.our_git().await;
    Failure::from(discover(&git, from).await.expect_err("it is none"))
}

fn worktree(yard: &Yard, name: &str) -> PathBuf {
    let path = yard.path().join(name);
    yard.git(&["worktree".as_ref(), "add".as_ref(), "-q".as_ref(), "--detach".as_ref(), path.as_os_str()]);
    path
}

#[tokio::test]
async fn every_folder_of_a_checkout_and_of_its_worktrees_finds_the_same() {
    let yard = Yard::new();
    let other = worktree(&yard, "other");
    let expected = Repository {
        common_dir: yard.repo.join(".git"),
        main_tree: Some(yard.repo.clone()),
        name: "repo".to_owned(),
        oid_len: 40,
        libgit2: true,
    };
    for from in
        [yard.repo.clone(), yard.repo.join("sub"), yard.repo.join(".git/refs"), other.join("sub"), other]
    {
        assert_eq!(found(&yard, &from).await, expected, "{}", from.display());
    }
}

#[tokio::test]
async fn a_bare_repository_and_its_worktrees_are_good_input() {
    let yard = Yard::new();
    let bare = yard.path().join("bare.git");
    yard.git(&["clone".as_ref(), "-q".as_ref(), "--bare".as_ref(), ".".as_ref(), bare.as_os_str()]);
    let tree = yard.path().join("tree");
    yard.git_in(
        &bare,
        &["worktree".as_ref(), "add".as_ref(), "-q".as_ref(), tree.as_os_str(), "main".as_ref()],
    );
    for from in [bare.clone(), bare.join("refs"), tree.clone(), tree.join("sub")] {
        let repo = found(&yard, &from).await;
        assert_eq!((repo.common_dir, repo.main_tree, repo.name), (bare.clone(), None, "bare".to_owned()));
    }
}

#[tokio::test]
async fn a_hidden_bare_repository_beside_its_git_file_is_found_from_both() {
    let yard = Yard::new();
    let project = yard.path().join("project");
    let bare = project.join(".bare");
    yard.git(&["clone".as_ref(), "-q".as_ref(), "--bare".as_ref(), ".".as_ref(), bare.as_os_str()]);
    std::fs::write(project.join(".git"), "gitdir: ./.bare\n").expect("written");
    for from in [project.clone(), bare.clone()] {
        let repo = found(&yard, &from).await;
        assert_eq!((repo.common_dir, repo.main_tree, repo.name), (bare.clone(), None, "project".to_owned()));
    }
}

#[tokio::test]
async fn a_bare_repository_planted_in_a_checkout_is_refused() {
    let yard = Yard::new();
    let planted = yard.repo.join("docs/planted");
    yard.git(&["init".as_ref(), "-q".as_ref(), "--bare".as_ref(), planted.as_os_str()]);
    assert_eq!(refused(&yard, &planted).await.code, Code::NotARepository);
}

#[tokio::test]
async fn what_libgit2_cannot_open_is_read_by_git() {
    for (init, oid_len) in [("--object-format=sha256", 64), ("--ref-format=reftable", 40)] {
        let yard = Yard::with("repo", &[init]);
        let tree = worktree(&yard, "tree");
        for from in [yard.repo.join("sub"), tree] {
            let repo = found(&yard, &from).await;
            assert_eq!((repo.oid_len, repo.libgit2), (oid_len, false), "{init}");
            assert_eq!(repo.main_tree, Some(yard.repo.clone()));
        }
    }
}

#[tokio::test]
async fn paths_are_bytes() {
    for name in ["a b", "ünï中", "new\nline", " ends in blank "] {
        let yard = Yard::with(name, &[]);
        assert_eq!(found(&yard, &yard.repo.join("sub")).await.main_tree, Some(yard.repo.clone()), "{name:?}");
    }
    let yard = Yard::with(OsStr::from_bytes(b"\xff\xfe"), &[]);
    assert_eq!(found(&yard, &yard.repo).await.main_tree, Some(yard.repo.clone()));
    let tree = worktree(&yard, "tree");
    assert_eq!(found(&yard, &tree).await.common_dir, yard.repo.join(".git"));
}

#[tokio::test]
async fn a_submodule_is_a_repository_of_its_own() {
    let yard = Yard::new();
    let inner = Yard::new();
    yard.git(&["submodule".as_ref(), "add".as_ref(), "-q".as_ref(), inner.repo.as_os_str(), "mod".as_ref()]);
    let repo = found(&yard, &yard.repo.join("mod")).await;
    assert_eq!(repo.common_dir, yard.repo.join(".git/modules/mod"));
    assert_eq!((repo.main_tree, repo.name), (Some(yard.repo.join("mod")), "mod".to_owned()));
}

#[tokio::test]
async fn other_folders_are_refused_with_what_to_do() {
    let yard = Yard::new();
    let failure = refused(&yard, &yard.path().join("home")).await;
    assert_eq!(failure.code, Code::NotARepository);
    assert!(failure.hint.is_some());
    assert_eq!(refused(&yard, &yard.path().join("nowhere")).await.code, Code::NotARepository);
    std::fs::write(yard.path().join("home/.git"), "gitdir: /nonexistent\n").expect("written");
    assert_eq!(refused(&yard, &yard.path().join("home")).await.code, Code::NotARepository);
}

#[tokio::test]
async fn a_repository_of_another_user_needs_to_be_trusted_first() {
    if !crate::support::git::is_root() {
        eprintln!("skipped: only root can give a folder away");
        return;
    }
    let yard = Yard::new();
    std::os::unix::fs::chown(yard.repo.join(".git"), Some(12_345), None).expect("given away");
    let failure = refused(&yard, &yard.repo).await;
    assert!(failure.hint.is_some_and(|hint| hint.contains("safe.directory")));
    yard.git(&["config".as_ref(), "--global".as_ref(), "safe.directory".as_ref(), yard.repo.as_os_str()]);
    assert_eq!(found(&yard, &yard.repo).await.main_tree, Some(yard.repo.clone()));
}
