//! All that the tree of a lane is, to be compared before and after.

use std::path::Path;

use super::e2e::{Made, Scene};
use super::git::write;
use super::work::{INDEX_CALLS, Picture, picture};

/// What a tree has that [`INDEX_CALLS`] do not ask for.
const MORE_CALLS: [&[&str]; 11] = [
    &["ls-files", "-t"],
    &["ls-files", "--unmerged"],
    &["config", "--worktree", "--list"],
    &["stash", "list", "--format=%H %gs"],
    &["for-each-ref", "--format=%(refname) %(objectname)", "refs/bisect", "refs/worktree", "refs/rewritten"],
    &["rev-parse", "--verify", "--quiet", "MERGE_HEAD"],
    &["rev-parse", "--verify", "--quiet", "CHERRY_PICK_HEAD"],
    &["rev-parse", "--verify", "--quiet", "REVERT_HEAD"],
    &["rev-parse", "--verify", "--quiet", "REBASE_HEAD"],
    &["rev-parse", "--verify", "--quiet", "ORIG_HEAD"],
    &["bisect", "log"],
];

/// Files and what git says of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    files: Picture,
    top_mode: u32,
    git: Vec<(String, String)>,
}

impl State {
    /// Of a tree, as it is now.
    pub fn of(scene: &Scene, tree: &Path) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let (_worktrees, others) = INDEX_CALLS.split_last().expect("some");
        let ask = |args: &&[&str]| (args.join(" "), scene.try_git(tree, args).stdout);
        let git: Vec<_> = others.iter().chain(&MORE_CALLS).map(ask).collect();
        let top_mode = std::fs::metadata(tree).expect("a tree").permissions().mode() & 0o7777;
        Self { files: picture(tree), top_mode, git }
    }

    /// Fails with what differs.
    pub fn same(&self, now: &Self) {
        assert_eq!(self.files.keys().collect::<Vec<_>>(), now.files.keys().collect::<Vec<_>>());
        for (name, file) in &self.files {
            assert_eq!(now.files.get(name), Some(file), "{}", String::from_utf8_lossy(name));
        }
        for (before, now) in self.git.iter().zip(&now.git) {
            assert_eq!(before, now);
        }
        assert_eq!(self.top_mode, now.top_mode, "the mode of the tree itself");
    }
}

/// What only this lane holds: a commit on no branch, staged content that is in no file, files.
pub fn work_in(scene: &Scene, lane: &Made) -> Vec<String> {
    write(&lane.path.join("new"), &format!("of {}\n", lane.name));
    write(&lane.path.join("staged"), &format!("staged in {}\n", lane.name));
    scene.git_in(&lane.path, &["add", "staged"]);
    let blob = scene.git_in(&lane.path, &["rev-parse", ":staged"]);
    scene.git_in(&lane.path, &["commit", "-q", "-m", "on the branch"]);
    scene.git_in(&lane.path, &["checkout", "-q", "--detach"]);
    scene.git_in(
        &lane.path,
        &["commit", "-q", "--allow-empty", "-m", &format!("nowhere but in {}", lane.name)],
    );
    let head = scene.git_in(&lane.path, &["rev-parse", "HEAD"]);
    write(&lane.path.join("staged"), &format!("only in the index of {}\n", lane.name));
    scene.git_in(&lane.path, &["add", "staged"]);
    let only = scene.git_in(&lane.path, &["rev-parse", ":staged"]);
    write(&lane.path.join("staged"), "something else\n");
    vec![blob, head, only]
}
