//! The trees of a repository: admin entries and their back links, locks that were left, trash, vault, and
//! the lanes that are written down.

use std::path::PathBuf;
use std::time::Duration;

use super::check::{Check, Mend, count, some};
use crate::config::size_text;
use crate::worktree::links::{Link, LinkState};
use crate::worktree::{Standing, Stands};

/// A lock file that is older belongs to no call of git that goes well.
const OLD_LOCK: Duration = Duration::from_secs(10 * 60);

/// The admin entries of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeFacts {
    /// Every linked worktree, the vault's aside.
    pub links: Vec<Link>,
    /// The home of this runtime.
    pub home: PathBuf,
    /// Why the root of the trees is refused.
    pub root_refused: Option<String>,
    /// True when trees and repository are on one file system.
    pub one_file_system: bool,
    /// A branch that keeps `lanes/…` from being made.
    pub branch_in_the_way: Option<String>,
    /// Why libgit2 cannot read the repository.
    pub unreadable_by_libgit2: Option<String>,
}

/// Says how the admin entries are.
pub fn judge_trees(facts: &TreeFacts) -> Vec<Check> {
    let mut checks = vec![match &facts.unreadable_by_libgit2 {
        None => Check::ok("repository.open", "the repository can be read"),
        Some(why) => Check::note(
            "repository.open",
            format!("libgit2 cannot read the repository ({why}): git is asked, which takes longer"),
        ),
    }];
    if let Some(why) = &facts.root_refused {
        checks
            .push(Check::fail("trees.root", why.clone()).hint(
                "give a folder of your own that nobody else can write to, not a link: `worktree.root`",
            ));
    }
    if !facts.one_file_system {
        checks.push(
            Check::note("trees.disk", "the trees are on another file system than the repository: their admin entries are copied on cleanup")
                .hint("a `worktree.root` beside the repository is faster"),
        );
    }
    if let Some(branch) = &facts.branch_in_the_way {
        checks.push(
            Check::fail(
                "repository.branch",
                format!("a branch called {branch} is in the way of those of lanes ({branch}/…)"),
            )
            .hint("rename it (git branch -m), or set `lanes.branch_prefix`"),
        );
    }
    checks.extend(links(facts));
    checks
}

fn links(facts: &TreeFacts) -> Vec<Check> {
    const ID: &str = "trees.links";
    let mut checks = Vec::new();
    let mut moved = Vec::new();
    for link in &facts.links {
        let ours = link.order.as_ref().is_some_and(|order| order.home.as_path() == facts.home);
        let (name, path) = (&link.name, link.tree.display());
        let locked = link.locked.as_ref().map(|why| format!(", locked ({why})")).unwrap_or_default();
        match &link.state {
            LinkState::Fits => {}
            LinkState::Broken if ours => moved.push((link.tree.clone(), link.admin.clone())),
            LinkState::Broken => checks.push(
                Check::note(ID, format!("{path} does not find its repository any more"))
                    .hint("git worktree repair (run in the repository) mends it"),
            ),
            LinkState::Elsewhere(other) => checks.push(
                Check::fail(
                    ID,
                    format!("the .git of {path} leads to {}, not to its admin entry {name}", other.display()),
                )
                .hint(format!("look who uses it; it was: gitdir: {}", link.admin.display())),
            ),
            LinkState::NoLink => checks.push(
                Check::warn(
                    ID,
                    format!("{path} has no .git file any more, its admin entry {name} is there{locked}"),
                )
                .hint("git worktree repair PATH (run in the repository) makes it again"),
            ),
            // Lanes that are written down are looked at by themselves.
            LinkState::Gone if ours => {}
            LinkState::Gone => checks.push(match &link.locked {
                Some(why) if why == "initializing" => Check::warn(
                    ID,
                    format!("a `git worktree add` of {path} was cut off; its entry {name} is locked"),
                )
                .hint(format!("when no git is at work there: git worktree remove -f -f {path}")),
                Some(_) => Check::note(ID, format!("the tree {path} of another tool is gone{locked}")).hint(
                    format!("when it does not come back: git worktree unlock {path}; git worktree prune"),
                ),
                None => {
                    Check::note(ID, format!("the tree {path} of another tool is gone, git would forget it"))
                        .hint("git worktree prune")
                }
            }),
            LinkState::Unreadable(why) => checks.push(
                Check::fail(
                    ID,
                    format!("the admin entry {name} is broken ({why}): git cannot list worktrees well"),
                )
                .hint(format!("look into {}, and take it away when it is nobody's", link.admin.display())),
            ),
        }
    }
    if !moved.is_empty() {
        let paths: Vec<_> = moved.iter().map(|(tree, _admin)| tree.display()).collect();
        let what =
            count(moved.len(), "lane does not find its repository", "lanes do not find their repository");
        checks.push(
            Check::fail("trees.moved", format!("{what}, which was moved: {}", some(&paths)))
                .hint("lanes doctor --fix, run here, leads them to it")
                .mend(Mend::Links(moved)),
        );
    }
    if checks.is_empty() {
        let trees =
            count(facts.links.len(), "worktree finds its repository", "worktrees find their repository");
        checks.push(Check::ok(ID, trees));
    }
    checks
}

/// Says how the overlays of lanes are; nothing where there are none.
pub fn judge_overlays(overlays: &[Stands], watched: bool) -> Vec<Check> {
    const ID: &str = "trees.overlay";
    let mut checks = Vec::new();
    for stands in overlays {
        let (name, at) = (&stands.name, stands.at.display());
        let down = match &stands.standing {
            Standing::Up => continue,
            Standing::Down => format!("the overlay of lane {name} is not mounted on {at}"),
            Standing::Templateless(why) => format!("the overlay of lane {name} shows nothing: {why}"),
            Standing::Blocked(what) => {
                let message = format!("the overlay of lane {name} cannot be mounted on {at}: {what}");
                checks.push(Check::fail(ID, message).hint("move that away, then: lanes doctor --fix"));
                continue;
            }
        };
        checks.push(match watched {
            true => Check::fail(ID, down)
                .hint("nothing of it is lost; lanes doctor --fix has the daemon mount it")
                .mend(Mend::Overlays),
            false => Check::note(ID, down).hint("the daemon mounts it when it starts: lanes daemon start"),
        });
    }
    if checks.is_empty() && !overlays.is_empty() {
        checks.push(Check::ok(ID, count(overlays.len(), "overlay is mounted", "overlays are mounted")));
    }
    checks
}

/// A lock file of git.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Which.
    pub path: PathBuf,
    /// How long it has been there.
    pub age: Duration,
    /// True when a git works in the repository that could hold it.
    pub git_lives: bool,
}

/// Says which lock files were left.
pub fn judge_locks(locks: &[Lock]) -> Vec<Check> {
    const ID: &str = "repository.locks";
    let left = locks.iter().filter(|lock| lock.age >= OLD_LOCK && !lock.git_lives);
    let checks: Vec<Check> = left
        .map(|lock| {
            let (path, age) =
                (lock.path.display(), humantime::format_duration(Duration::from_secs(lock.age.as_secs())));
            Check::warn(
                ID,
                format!("{path} was left {age} ago by a git that was cut off: others wait for it in vain"),
            )
            .hint(format!("when no git is at work there: rm '{path}'"))
        })
        .collect();
    match checks.is_empty() {
        true => vec![Check::ok(ID, "no lock file was left")],
        false => checks,
    }
}

/// The trash of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrashFacts {
    /// Entries that can be restored.
    pub entries: usize,
    /// Entries whose retiring or saving is not at its end.
    pub unfinished: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The most there may be.
    pub max: Option<u64>,
    /// Folders that cannot be read as entries.
    pub broken: Vec<PathBuf>,
    /// What was emptied and could not be freed.
    pub unfreed: Vec<PathBuf>,
    /// True when a daemon answers: it finishes what is unfinished.
    pub watched: bool,
}

/// Says how the trash is.
pub fn judge_trash(facts: &TrashFacts) -> Vec<Check> {
    const ID: &str = "trash.entries";
    let mut checks = Vec::new();
    if !facts.broken.is_empty() {
        let paths: Vec<_> = facts.broken.iter().map(|path| path.display()).collect();
        checks.push(
            Check::fail(
                ID,
                format!("these entries of the trash cannot be read, and are kept: {}", some(&paths)),
            )
            .hint("look into them; they are never emptied by themselves"),
        );
    }
    if !facts.unfreed.is_empty() {
        let paths: Vec<_> = facts.unfreed.iter().map(|path| path.display()).collect();
        checks.push(
            Check::warn(ID, format!("what was emptied could not be freed: {}", some(&paths)))
                .hint("lanes trash empty says why"),
        );
    }
    if let Some(max) = facts.max.filter(|max| facts.bytes > *max) {
        let (bytes, max) = (size_text(facts.bytes), size_text(max));
        checks.push(
            Check::note("trash.size", format!("the trash has {bytes}, more than `trash.max` ({max})"))
                .hint("the daemon frees the oldest every few hours; `lanes trash empty` does it now"),
        );
    }
    if facts.unfinished > 0 && !facts.watched {
        let what = count(facts.unfinished, "lane that was closed is", "lanes that were closed are");
        checks.push(Check::note(ID, format!("{what} not saved yet; the next daemon goes on with it")));
    }
    if checks.is_empty() {
        let entries = count(facts.entries, "lane can be restored", "lanes can be restored");
        checks.push(Check::ok(ID, format!("{entries}, {}", size_text(facts.bytes))));
    }
    checks
}

/// The vault of one root, which keeps the commits of closed lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaultFacts {
    /// Its admin entry.
    pub admin: Option<PathBuf>,
    /// True when that is locked.
    pub locked: bool,
    /// How many commits and objects closed lanes hold.
    pub pins: usize,
    /// Those that the vault does not reach.
    pub unreached: Vec<String>,
    /// Those that are not there any more.
    pub lost: Vec<String>,
}

/// Says whether what closed lanes hold is kept.
pub fn judge_vault(facts: &VaultFacts) -> Vec<Check> {
    const ID: &str = "trash.vault";
    let mut checks = Vec::new();
    if !facts.lost.is_empty() {
        let what = count(facts.lost.len(), "commit or object", "commits and objects");
        checks.push(
            Check::fail(
                ID,
                format!("{what} of closed lanes are not in the repository any more: {}", some(&facts.lost)),
            )
            .hint("another clone may have them; git fsck --lost-found looks for what is left"),
        );
    }
    match &facts.admin {
        None if facts.pins > 0 => checks.push(
            Check::fail(ID, "the vault is gone: nothing keeps the commits of closed lanes from being collected")
                .hint("run no `git gc`; closing any lane makes it again from the trash, or `lanes restore` brings them back"),
        ),
        None => {}
        Some(admin) => {
            if !facts.locked {
                checks.push(
                    Check::warn(ID, "the vault is not locked: `git worktree prune` could take it away")
                        .hint("lanes doctor --fix locks it again")
                        .mend(Mend::VaultLock(admin.clone())),
                );
            }
            if !facts.unreached.is_empty() {
                let what = count(facts.unreached.len(), "commit or object is", "commits and objects are");
                checks.push(
                    Check::fail(ID, format!("{what} not reached by the vault: {}", some(&facts.unreached)))
                        .hint("run no `git gc`; `lanes restore` brings the lanes back while they are there"),
                );
            }
        }
    }
    if checks.is_empty() {
        let pins = count(facts.pins, "commit of closed lanes is", "commits and objects of closed lanes are");
        checks.push(Check::ok(ID, format!("{pins} kept reachable")));
    }
    checks
}

/// An open lane that is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneTree {
    /// Its name.
    pub name: String,
    /// Where its tree should be.
    pub path: PathBuf,
    /// True when a folder is there.
    pub there: bool,
    /// Where it is instead, when that is known.
    pub moved_to: Option<PathBuf>,
    /// False when its repository is not where it was either.
    pub repository: bool,
}

/// Says which lanes are not where they should be.
pub fn judge_lanes(lanes: &[LaneTree]) -> Vec<Check> {
    const ID: &str = "lanes.trees";
    let gone = lanes.iter().filter(|lane| !lane.there);
    let mut checks: Vec<Check> = gone
        .map(|lane| {
            let (name, path) = (&lane.name, lane.path.display());
            match &lane.moved_to {
                Some(to) => {
                    let to = to.display();
                    Check::fail(ID, format!("the tree of lane {name} was moved from {path} to {to}"))
                        .hint(format!("move it back: mv '{to}' '{path}'"))
                }
                None if !lane.repository => Check::fail(
                    ID,
                    format!("neither the tree {path} of lane {name} nor its repository is there"),
                )
                .hint(
                    "is a disk away, or was a folder above moved? put it back; nothing is given up meanwhile",
                ),
                None => Check::warn(ID, format!("the tree {path} of lane {name} is gone"))
                    .hint("lanes reconcile closes the lane; its commits are kept"),
            }
        })
        .collect();
    let away = lanes.iter().filter(|lane| lane.there && !lane.repository).map(|lane| lane.name.as_str());
    let away: Vec<&str> = away.collect();
    if !away.is_empty() {
        checks.push(
            Check::fail(ID, format!("the repository of these lanes is not where it was: {}", some(&away)))
                .hint("put it back, or run `lanes doctor --fix` in the place that it was moved to"),
        );
    }
    if checks.is_empty() {
        let trees =
            count(lanes.len(), "open lane is where it should be", "open lanes are where they should be");
        checks.push(Check::ok(ID, trees));
    }
    checks
}
