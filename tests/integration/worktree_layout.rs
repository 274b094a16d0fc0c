//! The folder of a workspace's trees is private, and beside the repository where that is possible.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use lanes::failure::{Code, Failure};
use lanes::worktree::{Choice, Repository, Root, WorktreeError, discover, layout};

use crate::support::git::{Mounted, Yard, is_root, write};

async fn repo_of(yard: &Yard) -> Repository {
    discover(&yard.our_git().await, &yard.repo).await.expect("a repository")
}

async fn chosen(yard: &Yard, configured: Option<&str>) -> Result<Root, WorktreeError> {
    layout::choose(&repo_of(yard).await, configured.map(Path::new), &yard.path().join("data"))
}

#[tokio::test]
async fn it_is_beside_the_repository_and_private() {
    let yard = Yard::new();
    let root = chosen(&yard, None).await.expect("chosen");
    assert_eq!((root.path.clone(), root.choice), (yard.path().join("w/repo.lanes"), Choice::Sibling));
    assert_eq!(root.path.metadata().expect("there").mode() & 0o777, 0o700);
    assert_eq!(chosen(&yard, None).await.expect("again"), root);
}

#[tokio::test]
async fn a_repository_inside_another_one_uses_the_data_folder() {
    let yard = Yard::with("outer/inner", &[]);
    yard.git_in(&yard.path().join("w/outer"), &["init", "-q"]);
    let root = chosen(&yard, None).await.expect("chosen");
    assert_eq!(root.choice, Choice::DataFolder);
    assert!(root.path.starts_with(yard.path().join("data")));
}

#[tokio::test]
async fn a_read_only_parent_means_the_data_folder() {
    let yard = Yard::new();
    let parent = yard.path().join("w");
    let args = ["--bind".as_ref(), parent.as_os_str()];
    let Some(_mounted) = Mounted::new(&args, &parent) else { return };
    let remounted = std::process::Command::new("mount").args(["-o", "remount,ro,bind"]).arg(&parent).status();
    if !remounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: a read-only bind mount is not possible here");
        return;
    }
    let root = chosen(&yard, None).await.expect("chosen");
    assert_eq!(root.choice, Choice::DataFolder);
}

#[tokio::test]
async fn two_repositories_of_one_name_do_not_share_a_root() {
    let yard = Yard::new();
    let bare = yard.path().join("w/repo.git");
    yard.git(&["clone".as_ref(), "-q".as_ref(), "--bare".as_ref(), ".".as_ref(), bare.as_os_str()]);
    let first = chosen(&yard, None).await.expect("chosen");
    let other = discover(&yard.our_git().await, &bare).await.expect("a repository");
    let second = layout::choose(&other, None, &yard.path().join("data")).expect("chosen");
    assert_ne!(first.path, second.path);
    let shared = yard.path().join("shared");
    let first = chosen(&yard, Some(shared.to_str().expect("text"))).await.expect("chosen");
    let second = layout::choose(&other, Some(&shared), &yard.path().join("data")).expect("chosen");
    assert_eq!(first.path, shared);
    assert_ne!(first.path, second.path);
}

#[tokio::test]
async fn a_root_inside_the_repository_is_kept_out_of_its_status_once() {
    let yard = Yard::new();
    let root = chosen(&yard, Some(".helios-worktrees")).await.expect("chosen");
    assert_eq!((root.path.clone(), root.choice), (yard.repo.join(".helios-worktrees"), Choice::Inside));
    assert_eq!(chosen(&yard, Some(".helios-worktrees")).await.expect("again"), root);
    assert_eq!(yard.git(&["status", "--porcelain"]), "");
    let exclude = std::fs::read_to_string(yard.repo.join(".git/info/exclude")).expect("there");
    assert_eq!(exclude.matches(".helios-worktrees").count(), 1);
}

#[tokio::test]
async fn roots_that_others_could_use_are_refused() {
    let yard = Yard::new();
    let refused = async |root: &Path, why: &str| {
        let error = chosen(&yard, root.to_str()).await.expect_err(why);
        let failure = Failure::from(error);
        assert_eq!(failure.code, Code::ConfigInvalid);
        assert!(failure.message.contains(why), "{}", failure.message);
    };
    let open = yard.path().join("open");
    std::fs::create_dir(&open).expect("made");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("set");
    refused(&open, "others can write").await;
    let link = yard.path().join("link");
    symlink(yard.path().join("home"), &link).expect("a link");
    refused(&link, "symbolic link").await;
    symlink(yard.path().join("home"), yard.repo.join("way")).expect("a link");
    refused(Path::new("way/root"), "symbolic link").await;
    write(&yard.path().join("file"), "");
    refused(&yard.path().join("file"), "not a folder").await;
    refused(Path::new("."), "the main checkout itself").await;
    refused(Path::new(".."), "the main checkout is inside it").await;
    refused(Path::new(".git/lanes"), "inside the git directory").await;
    if is_root() {
        let foreign = yard.path().join("foreign");
        std::fs::create_dir(&foreign).expect("made");
        std::os::unix::fs::chown(&foreign, Some(12_345), None).expect("given away");
        refused(&foreign, "another user").await;
    }
}
