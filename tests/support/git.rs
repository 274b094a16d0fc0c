//! Real repositories in a folder of their own, with nothing of this machine's configuration.
#![allow(dead_code, reason = "each suite uses a part")]

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use lanes::worktree::{Git, GitConfig};

/// A folder with a home, a configuration and a repository in it; gone when dropped.
pub struct Yard {
    /// The folder.
    pub dir: tempfile::TempDir,
    /// The repository's main checkout.
    pub repo: PathBuf,
}

impl Yard {
    /// A repository with one commit of two files on `main`.
    pub fn new() -> Self {
        Self::with("repo", &[])
    }

    /// The same with a name of its own and more arguments to `git init`.
    pub fn with(name: impl AsRef<OsStr>, init: &[&str]) -> Self {
        let yard = Self::empty(name, init);
        yard.write("a.txt", "one\ntwo\nthree\n");
        yard.write("sub/b.txt", "b\n");
        yard.commit("first");
        yard
    }

    /// A repository without a commit.
    pub fn empty(name: impl AsRef<OsStr>, init: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("lanes-yard-").tempdir().expect("a temporary folder");
        let path = std::fs::canonicalize(dir.path()).expect("it is there");
        let repo = path.join("w").join(name.as_ref());
        for folder in [path.join("home"), repo.clone()] {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        let config = "[user]\n\tname = T\n\temail = t@example.com\n[init]\n\tdefaultBranch = main\n\
                      [protocol \"file\"]\n\tallow = always\n";
        std::fs::write(path.join("home/.gitconfig"), config).expect("a configuration");
        let yard = Self { dir, repo };
        let mut args = vec!["init", "-q"];
        args.extend(init);
        yard.git(&args);
        yard
    }

    /// The folder, canonical.
    pub fn path(&self) -> PathBuf {
        std::fs::canonicalize(self.dir.path()).expect("it is there")
    }

    /// The environment of all git calls.
    pub fn env(&self) -> Vec<(OsString, OsString)> {
        let home = self.path().join("home");
        let path = std::env::var_os("PATH").expect("a PATH");
        [
            ("PATH", path),
            ("HOME", home.clone().into()),
            ("XDG_CONFIG_HOME", home.join("xdg").into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ]
        .map(|(name, value)| (name.into(), value))
        .to_vec()
    }

    /// What finds git in this environment.
    pub fn config(&self) -> GitConfig {
        GitConfig {
            env: Some(self.env()),
            timeout: Duration::from_secs(60),
            checkout_timeout: Duration::from_secs(120),
            ..GitConfig::default()
        }
    }

    /// Our git in this environment.
    pub async fn our_git(&self) -> Git {
        Git::find(self.config()).await.expect("git is installed")
    }

    /// Runs plain git in the repository, which must succeed, and returns what it printed.
    pub fn git<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        self.git_in(&self.repo, args)
    }

    /// Runs plain git in a folder, which must succeed, and returns what it printed.
    pub fn git_in<S: AsRef<OsStr>>(&self, folder: &Path, args: &[S]) -> String {
        let output = self.try_git(folder, args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let args: Vec<_> = args.iter().map(AsRef::as_ref).collect();
        assert!(output.status.success(), "git {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Runs plain git in a folder.
    pub fn try_git<S: AsRef<OsStr>>(&self, folder: &Path, args: &[S]) -> Output {
        let mut command = Command::new("git");
        command.args(args).current_dir(folder).env_clear().envs(self.env());
        command.output().expect("git starts")
    }

    /// Writes a file of the repository.
    pub fn write(&self, path: &str, text: &str) {
        write(&self.repo.join(path), text);
    }

    /// Commits everything and returns the commit.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// An executable script that leaves a mark (`<yard>/marks/<name>`), then goes on with `rest`.
    pub fn marking_script(&self, name: &str, rest: &str) -> PathBuf {
        let marks = self.path().join("marks");
        std::fs::create_dir_all(&marks).expect("a folder");
        let path = self.path().join("scripts").join(name);
        let mark = marks.join(name);
        write(&path, &format!("#!/bin/sh\n: > '{}'\n{rest}\n", mark.display()));
        executable(&path);
        path
    }

    /// The names of the marks that scripts left.
    pub fn marks(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path().join("marks")) else { return Vec::new() };
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// Writes a file and the folders above it.
pub fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder above")).expect("folders");
    std::fs::write(path, text).expect("a file");
}

/// Makes a file executable, as a copy that another process wrote: a child that another test starts just
/// now may still hold what we wrote open, and what is open for writing cannot be started.
pub fn executable(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let copy = path.with_extension("copy");
    let copied = Command::new("cp").arg("-p").arg(path).arg(&copy).status().expect("cp runs");
    assert!(copied.success());
    std::fs::rename(copy, path).expect("renames");
}

/// True when this process may mount.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Something mounted for a test; unmounted when dropped.
pub struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// Calls `mount` with these arguments and the place; none, with a printed reason, where it cannot.
    pub fn new(args: &[&OsStr], at: &Path) -> Option<Self> {
        if !is_root() {
            eprintln!("skipped: only root can mount");
            return None;
        }
        let output = Command::new("mount").args(args).arg(at).output().ok()?;
        if !output.status.success() {
            eprintln!("skipped: mounting is not possible here: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Some(Self { at: at.to_path_buf() })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Somebody may still be in it; nothing may stay mounted.
            let _gone = Command::new("umount").arg("-l").arg(&self.at).status();
            return;
        }
        let unmounted = Command::new("umount").arg(&self.at).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "unmounting failed");
    }
}
