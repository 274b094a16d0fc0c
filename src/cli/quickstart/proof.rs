//! Looks for what is left, at the real places: folders, git's own files, processes, sockets.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::scratch::Scratch;
use crate::api::LaneView;
use crate::failure::Failure;
use crate::worktree::Mode;

/// How a repository is before anything is done.
#[derive(Debug)]
pub struct Baseline {
    common_dir: PathBuf,
    refs: BTreeSet<String>,
    admin: BTreeSet<String>,
    checkout: String,
}

impl Baseline {
    /// Looks.
    pub async fn take(scratch: &Scratch) -> Result<Self, Failure> {
        let common_dir =
            scratch.git(Mode::Look, &["rev-parse", "--path-format=absolute", "--git-common-dir"]).await?;
        let common_dir = PathBuf::from(common_dir);
        Ok(Self {
            refs: refs(scratch).await?,
            admin: entries(&common_dir.join("worktrees")),
            checkout: checkout(scratch).await,
            common_dir,
        })
    }

    /// What changed in the user's own checkout: its HEAD, index or files.
    pub async fn checkout_changed(&self, scratch: &Scratch) -> Vec<String> {
        let now = checkout(scratch).await;
        if now == self.checkout { Vec::new() } else { vec![format!("before: {}; now: {now}", self.checkout)] }
    }

    /// Branches that were not there.
    pub async fn new_refs(&self, scratch: &Scratch) -> Result<Vec<String>, Failure> {
        Ok(refs(scratch).await?.difference(&self.refs).cloned().collect())
    }

    /// Admin entries of worktrees that were not there: those of trees, and the vault's, which holds commits
    /// of the trash and goes with it.
    pub fn new_admin(&self) -> (Vec<String>, Vec<String>) {
        let worktrees = self.common_dir.join("worktrees");
        let is_vault = |name: &String| {
            std::fs::read_to_string(worktrees.join(name).join("gitdir"))
                .is_ok_and(|gitdir| gitdir.contains("/.vault"))
        };
        let (vault, trees) =
            entries(&worktrees).difference(&self.admin).cloned().partition::<Vec<_>, _>(is_vault);
        (trees, vault)
    }
}

async fn refs(scratch: &Scratch) -> Result<BTreeSet<String>, Failure> {
    let text = scratch.git(Mode::Look, &["for-each-ref", "--format=%(refname) %(objectname)"]).await?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// HEAD and status; a bare repository has no status.
async fn checkout(scratch: &Scratch) -> String {
    let head = scratch.git(Mode::Look, &["rev-parse", "HEAD"]).await.unwrap_or_default();
    let on = scratch.git(Mode::Look, &["symbolic-ref", "--quiet", "HEAD"]).await.unwrap_or_default();
    let status = scratch
        .git(Mode::Look, &["status", "--porcelain", "--untracked-files=normal"])
        .await
        .unwrap_or_default();
    format!("{on} {head} {status}")
}

fn entries(folder: &Path) -> BTreeSet<String> {
    let found = std::fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>());
    found.unwrap_or_default().iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The file that each lane's command writes.
pub fn own_file(name: &str) -> String {
    format!("only-in-{name}.txt")
}

/// Files that are missing in their own lane, or there in another or in the checkout.
pub fn leaks(scratch: &Scratch, lanes: &[LaneView]) -> Vec<String> {
    let mut found = Vec::new();
    for lane in lanes {
        let file = own_file(&lane.name);
        for place in lanes {
            let there = place.worktree.as_path().join(&file).exists();
            if there != (place.id == lane.id) {
                found.push(format!("{file} {} {}", if there { "is in" } else { "is not in" }, place.name));
            }
        }
        if scratch.repo().join(&file).exists() {
            found.push(format!("{file} is in the checkout"));
        }
    }
    found
}

/// Trees that are still there.
pub fn trees(lanes: &[LaneView]) -> Vec<String> {
    let there = |lane: &&LaneView| std::fs::symlink_metadata(lane.worktree.as_path()).is_ok();
    lanes.iter().filter(there).map(|lane| lane.worktree.to_string()).collect()
}

/// Processes of these lanes that are still there: by the lane's id in their environment, or a task's id in
/// their command line (keepers).
pub fn processes(lanes: &[LaneView], tasks: &[String]) -> Vec<String> {
    let marks: Vec<Vec<u8>> =
        lanes.iter().map(|lane| format!("LANES_LANE_ID={}", lane.id).into_bytes()).collect();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let command = read("cmdline");
        let environment = read("environ");
        let is_ours = environment.split(|byte| *byte == 0).any(|one| marks.iter().any(|mark| mark == one))
            || command
                .split(|byte| *byte == 0)
                .any(|word| tasks.iter().any(|id| contains(word, id.as_bytes())));
        if is_ours {
            let words = String::from_utf8_lossy(&command).replace('\0', " ");
            found.push(format!("process {pid}: {}", words.trim_end()));
        }
    }
    found
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Sockets beneath the home, as the kernel and as the disk have them, but the runtime's own while it runs.
pub fn sockets(home: &Path, with_daemon: bool) -> Vec<String> {
    let own = home.join("daemon.sock");
    let mut found = BTreeSet::new();
    let kernel = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    for path in kernel.lines().filter_map(|line| line.split_whitespace().nth(7)).map(Path::new) {
        if path.starts_with(home) && !(with_daemon && path == own) {
            found.insert(path.display().to_string());
        }
    }
    walk(&home.join("run"), &mut found);
    found.into_iter().collect()
}

fn walk(folder: &Path, found: &mut BTreeSet<String>) {
    use std::os::unix::fs::FileTypeExt as _;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            walk(&entry.path(), found);
        } else if kind.is_socket() {
            found.insert(entry.path().display().to_string());
        }
    }
}
