//! `lanes quickstart` as a program: all of it, and nothing left.

use std::path::Path;
use std::process::Command;

fn quickstart(folder: &Path, arguments: &[&str]) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_lanes"))
        .args(["--json", "quickstart"])
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("a PATH"))
        .env("HOME", folder.join("user"))
        .env("TMPDIR", folder.join("tmp"))
        .current_dir(folder)
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).expect("one object")
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for part in ["user", "tmp", "repo"] {
        std::fs::create_dir(folder.path().join(part)).expect("a folder");
    }
    folder
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("reads").next().is_none()
}

#[test]
fn the_scratch_tour_is_good_and_leaves_nothing() {
    let folder = folder();
    let report = quickstart(folder.path(), &[]);
    assert_eq!((&report["schema"], &report["quickstart"]["ok"]), (&1.into(), &true.into()));
    assert!(is_empty(&folder.path().join("tmp")));
    assert!(is_empty(&folder.path().join("user")), "the user's own folder was touched");
}

#[test]
fn the_tour_of_a_real_repository_leaves_its_checkout_and_branches_alone() {
    let folder = folder();
    let repo = folder.path().join("repo");
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
            .args(arguments)
            .current_dir(&repo);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        let output = command.output().expect("git");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    git(&["init", "--quiet", "--initial-branch=main", "."]);
    std::fs::write(repo.join("dirty"), "mine").expect("writes");
    git(&["commit", "--quiet", "--allow-empty", "--message=start"]);
    let before = (git(&["for-each-ref"]), git(&["status", "--porcelain"]));
    // What the user has configured is not for the tour: these lanes would not be made with it.
    std::fs::create_dir_all(folder.path().join("user/.config/lanes")).expect("a folder");
    std::fs::write(folder.path().join("user/.config/lanes/config.toml"), "[lanes]\ncapacity = 1\n")
        .expect("writes");
    let report = quickstart(folder.path(), &["--repo", "repo"]);
    assert_eq!(report["quickstart"]["ok"], true);
    assert_eq!(before, (git(&["for-each-ref"]), git(&["status", "--porcelain"])));
    assert!(!folder.path().join("repo.lanes").exists(), "the folder of the lanes is left");
    assert!(!repo.join(".git/worktrees").exists(), "an entry of git is left");
    assert!(is_empty(&folder.path().join("tmp")));
}
