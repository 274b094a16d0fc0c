//! A real repository with one lane's tree, and exact pictures of what is in it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use lanes::ids::{LaneId, WorkspaceId};
use lanes::raw::Raw;
use lanes::worktree::{Base, Branch, Git, GitConfig, Order, Repository, Tree};
use tempfile::TempDir;

/// What kind of repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Sha256,
    Reftable,
}

/// A repository in a folder of its own, with a root for trees beside it.
pub struct Work {
    pub dir: TempDir,
    pub repo: Repository,
    pub git: Git,
}

/// One lane.
pub struct Lane {
    pub order: Order,
    pub tree: Tree,
}

/// Path to kind, permissions, content or target.
pub type Picture = BTreeMap<Vec<u8>, (char, u32, Vec<u8>)>;

/// What to ask git for the picture of an index; the last lists worktrees.
pub const INDEX_CALLS: [&[&str]; 10] = [
    &["status", "--porcelain=v2", "--branch", "--ignored", "--untracked-files=all"],
    &["ls-files", "--stage"],
    &["ls-files", "-v"],
    &["ls-files", "--resolve-undo"],
    &["diff", "--cached", "--binary"],
    &["diff", "--binary"],
    &["log", "--format=%H %s", "-5"],
    &["reflog", "show", "--format=%H %gs", "HEAD"],
    &["status"],
    &["worktree", "list", "--porcelain"],
];

impl Work {
    pub async fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let real = dir.path().canonicalize().expect("its real path");
        let main = real.join("main");
        std::fs::create_dir(&main).expect("main");
        std::fs::create_dir(real.join("home")).expect("home");
        let env: Vec<(OsString, OsString)> = environment(&real);
        let git = Git::find(GitConfig { env: Some(env), ..GitConfig::default() }).await.expect("git");
        let oid_len = if kind == Kind::Sha256 { 64 } else { 40 };
        let repo = Repository {
            common_dir: main.join(".git"),
            main_tree: Some(main.clone()),
            name: "main".to_owned(),
            oid_len,
            libgit2: kind == Kind::Plain,
        };
        let work = Self { dir, repo, git };
        let init: &[&str] = match kind {
            Kind::Plain => &["init", "-q", "-b", "main"],
            Kind::Sha256 => &["init", "-q", "-b", "main", "--object-format=sha256"],
            Kind::Reftable => &["init", "-q", "-b", "main", "--ref-format=reftable"],
        };
        work.git(&main, init);
        std::fs::write(main.join("one.txt"), "one\ntwo\nthree\n").expect("a file");
        std::fs::write(main.join("mixed.txt"), "a\r\nb\nc\r\n").expect("a file");
        std::fs::write(main.join("gone.txt"), "will be deleted\n").expect("a file");
        std::fs::write(main.join("run.sh"), "#!/bin/sh\n").expect("a file");
        std::fs::set_permissions(main.join("run.sh"), PermissionsExt::from_mode(0o755)).expect("mode");
        std::fs::create_dir_all(main.join("deep/er")).expect("folders");
        std::fs::write(main.join("deep/er/file"), "deep\n").expect("a file");
        std::fs::write(main.join("assumed.txt"), "assumed\n").expect("a file");
        std::fs::write(main.join("skipped.txt"), "skipped\n").expect("a file");
        std::fs::write(main.join("staged.txt"), "staged\n").expect("a file");
        std::os::unix::fs::symlink("deep/er/file", main.join("link")).expect("a link");
        work.git(&main, &["add", "."]);
        work.git(&main, &["commit", "-q", "-m", "first"]);
        work
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().canonicalize().expect("its real path")
    }

    pub fn main(&self) -> PathBuf {
        self.path().join("main")
    }

    pub fn root(&self) -> PathBuf {
        self.path().join("main.lanes")
    }

    /// Runs plain git as its user would, and expects success.
    pub fn git(&self, cwd: &Path, args: &[&str]) -> String {
        let (ok, text) = self.try_git(cwd, args);
        assert!(ok, "git {args:?} in {}: {text}", cwd.display());
        text
    }

    pub fn try_git(&self, cwd: &Path, args: &[&str]) -> (bool, String) {
        let output = Command::new("git")
            .args(args)
            .current_dir(cwd)
            .env_clear()
            .envs(environment(&self.path()))
            .output()
            .expect("git starts");
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            text.push_str(&String::from_utf8_lossy(&output.stderr));
        }
        (output.status.success(), text.trim_end_matches('\n').to_owned())
    }

    pub fn order(&self, name: &str) -> Order {
        let lane_id = LaneId::generate();
        Order {
            lane_id,
            name: name.to_owned(),
            workspace_id: WorkspaceId::generate(),
            token: format!("token-of-{lane_id}"),
            home: Raw::from(self.path().join("home")),
            root: Raw::from(self.root()),
            path: Raw::from(self.root().join(name)),
            base: Base {
                rev: "main".to_owned(),
                sha: self.git(&self.main(), &["rev-parse", "main"]),
                target: Some("refs/heads/main".to_owned()),
            },
            branch: Branch { name: format!("lanes/{name}"), created: true },
            lock_reason: format!("lanes {lane_id} boot 1"),
            submodules: false,
            copy: Vec::new(),
            link: Vec::new(),
        }
    }

    /// A lane as provisioning makes it.
    pub fn lane(&self, name: &str) -> Lane {
        let order = self.order(name);
        let path = order.path.to_path_buf();
        std::fs::create_dir_all(self.root()).expect("the root");
        let place = path.to_str().expect("text").to_owned();
        let args =
            ["worktree", "add", "-q", "--lock", "--reason", &order.lock_reason, "-b", &order.branch.name];
        self.git(&self.main(), &[&args[..], &[&place, "main"]].concat());
        let tree = Tree {
            path: order.path.clone(),
            admin_id: String::new(),
            dev: 0,
            ino: 0,
            branch: order.branch.clone(),
            backend: "git".to_owned(),
            ms: 0,
            notes: Vec::new(),
        };
        let mut lane = Lane { order, tree };
        self.prove(&mut lane);
        lane
    }

    /// Writes the proof that a tree is the lane's, and records what it is.
    pub fn prove(&self, lane: &mut Lane) {
        let path = lane.order.path.to_path_buf();
        let admin = PathBuf::from(self.git(&path, &["rev-parse", "--absolute-git-dir"]));
        let proof = serde_json::to_vec(&lane.order).expect("an order");
        std::fs::write(admin.join("lanes.json"), proof).expect("the token");
        let facts = std::fs::metadata(&path).expect("the tree");
        lane.tree.path = lane.order.path.clone();
        lane.tree.admin_id = admin.file_name().expect("a name").to_str().expect("text").to_owned();
        lane.tree.dev = facts.dev();
        lane.tree.ino = facts.ino();
    }

    /// What somebody may do at any time, and what removes everything that nothing holds.
    pub fn collect_garbage(&self) {
        self.git(&self.main(), &["worktree", "prune", "--expire=now"]);
        self.git(&self.main(), &["gc", "-q", "--prune=now"]);
        self.git(&self.main(), &["fsck", "--no-progress", "--no-dangling"]);
    }

    /// What git says of a tree's index and HEAD.
    pub fn index_picture(&self, tree: &Path) -> Vec<String> {
        let mut said: Vec<String> = INDEX_CALLS.iter().map(|args| self.try_git(tree, args).1).collect();
        // The name of the tree's own entry and its lock may differ; how many there are may not.
        let worktrees = said.pop().expect("the last");
        said.push(
            worktrees.lines().filter(|line| line.starts_with("branch ")).collect::<Vec<_>>().join("\n"),
        );
        said
    }
}

fn environment(dir: &Path) -> Vec<(OsString, OsString)> {
    let config = dir.join("home/gitconfig");
    let text = "[user]\n\tname = Test\n\temail = test@localhost\n[protocol \"file\"]\n\tallow = always\n[init]\n\tdefaultBranch = main\n[gc]\n\treflogExpire = never\n";
    if !config.exists() && dir.join("home").is_dir() {
        std::fs::write(&config, text).expect("the configuration");
    }
    let mut env: Vec<(OsString, OsString)> = [
        ("HOME", dir.join("home").into_os_string()),
        ("XDG_CONFIG_HOME", dir.join("home/xdg").into_os_string()),
        ("GIT_CONFIG_GLOBAL", config.into_os_string()),
        ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ("GIT_OPTIONAL_LOCKS", "0".into()),
        ("GIT_EDITOR", "true".into()),
        ("LC_ALL", "C".into()),
    ]
    .map(|(name, value)| (OsString::from(name), value))
    .to_vec();
    env.push(("PATH".into(), std::env::var_os("PATH").unwrap_or_default()));
    env
}

/// Everything in a tree but `.git` files.
pub fn picture(tree: &Path) -> Picture {
    let mut found = Picture::new();
    look(tree, b"", &mut found);
    found
}

fn look(folder: &Path, path: &[u8], found: &mut Picture) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.file_name() == OsStr::new(".git") {
            continue;
        }
        let mut inner = path.to_vec();
        if !inner.is_empty() {
            inner.push(b'/');
        }
        inner.extend_from_slice(entry.file_name().as_bytes());
        let facts = std::fs::symlink_metadata(entry.path()).expect("facts");
        let mode = facts.permissions().mode() & 0o7777;
        let kind = facts.file_type();
        if kind.is_dir() {
            look(&entry.path(), &inner, found);
            let _new = found.insert(inner, ('d', mode, Vec::new()));
        } else if kind.is_symlink() {
            let target = std::fs::read_link(entry.path()).expect("a target");
            let _new = found.insert(inner, ('l', 0, target.as_os_str().as_bytes().to_vec()));
        } else if !kind.is_file() {
            let _new = found.insert(inner, ('s', mode, facts.rdev().to_string().into_bytes()));
        } else {
            let mut content = std::fs::read(entry.path()).expect("content");
            content.extend_from_slice(format!("\n@{}.{}", facts.mtime(), facts.mtime_nsec()).as_bytes());
            let _new = found.insert(inner, ('f', mode, content));
        }
    }
}
