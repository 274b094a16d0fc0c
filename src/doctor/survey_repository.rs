//! Looks at the repository: its configuration, trees, locks, trash and vault.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::check::Check;
use super::disk::{Place as DiskPlace, judge_disk};
use super::settings::{SHARED, SettingsFacts, judge_settings, parse_settings};
use super::spares::{SpareFacts, judge_spares};
use super::state::DaemonFacts;
use super::survey::{Records, Subject, late, within};
use super::survey_home::size_until;
use super::survey_machine::disk_of;
use super::survey_spares;
use super::trees::{self, LaneTree, Lock, TrashFacts, TreeFacts, VaultFacts};
use crate::clock;
use crate::config::{self, Approvals, Config};
use crate::lanes::lane::Lane;
use crate::proc;
use crate::worktree::links::{Link, LinkState, links, vaults};
use crate::worktree::resolve::heads;
use crate::worktree::{
    self, Floors, Git, Mode, Place, Repository, TrashEntry, WorktreeError, discover, layout, overlay,
    overlays, trash,
};

/// Files of an index that are looked for, at most.
const LOOKED_FOR: usize = 1_000;
/// How long git may take from one file of an admin entry to the next.
const MAKING: Duration = Duration::from_secs(2);
/// Where git keeps lock files of a repository, and of a worktree.
const LOCKS: [&str; 7] = [
    "index.lock",
    "HEAD.lock",
    "ORIG_HEAD.lock",
    "config.lock",
    "config.worktree.lock",
    "packed-refs.lock",
    "shallow.lock",
];

/// Looks at every open lane's tree. Blocks.
pub(super) fn lanes(lanes: &[(Lane, PathBuf)]) -> Vec<LaneTree> {
    let placed = lanes.iter().filter_map(|(lane, place)| Some((lane, place, lane.tree.as_ref()?)));
    placed
        .map(|(lane, common_dir, tree)| {
            let path = lane.order.path.to_path_buf();
            let there = path.is_dir();
            LaneTree {
                name: lane.name().to_owned(),
                moved_to: if there {
                    None
                } else {
                    moved_to(&common_dir.join("worktrees").join(&tree.admin_id), &path)
                },
                there,
                repository: common_dir.is_dir() || leads_to_its_order(&path, lane),
                path,
            }
        })
        .collect()
}

/// True when a tree finds a repository that knows it: one that was moved, and that nobody has used since.
fn leads_to_its_order(tree: &Path, lane: &Lane) -> bool {
    let admin = discover::gitfile_target(&tree.join(".git")).map(|said| tree.join(said));
    let order = admin.and_then(|admin| worktree::read_token(&admin));
    order.is_some_and(|order| order.token == lane.order.token)
}

/// Where a tree is that was moved away: by its admin entry, or beside its old place.
fn moved_to(admin: &Path, path: &Path) -> Option<PathBuf> {
    let leads_here = |tree: &Path| {
        let said = discover::gitfile_target(&tree.join(".git"));
        said.is_some_and(|said| tree.join(said) == *admin)
    };
    let said = worktree::resolve::tree_of(admin).filter(|tree| tree != path && leads_here(tree));
    let beside = || {
        let entries = fs::read_dir(path.parent()?).ok()?;
        entries.flatten().map(|entry| entry.path()).find(|tree| leads_here(tree))
    };
    said.or_else(beside)
}

/// Looks at the repository that the user is in, when there is one.
pub(super) async fn repository(
    subject: &Subject,
    git: &Git,
    daemon: &DaemonFacts,
    records: &Records,
) -> Vec<Check> {
    const ID: &str = "repository.open";
    let from = subject.cwd.clone();
    // By its files alone: some settings keep git from reading a repository at all.
    let common_dir = match within(ID, subject.patience, move || discover::locate(&from)).await {
        Ok(Ok(found)) => found.common_dir,
        Ok(Err(error)) => return vec![nowhere(&error)],
        Err(late) => return vec![late],
    };
    let mut checks = match settings(git, &common_dir).await {
        Ok(facts) => judge_settings(&facts),
        Err(error) => vec![Check::fail("repository.config", error.to_string())],
    };
    let looking = async {
        match discover::discover(git, &subject.cwd).await {
            Ok(repo) => look(subject, git, daemon, records, &repo).await,
            Err(error) => vec![Check::fail(ID, error.to_string())],
        }
    };
    match tokio::time::timeout(subject.long_patience() + subject.patience, looking).await {
        Ok(more) => checks.extend(more),
        Err(_late) => checks.push(late(ID, subject.long_patience())),
    }
    checks
}

/// Outside of a repository, or in a tree that lost its own.
fn nowhere(error: &WorktreeError) -> Check {
    const ID: &str = "repository.open";
    let reason = match error {
        WorktreeError::NotARepository { reason, .. } => reason.clone(),
        other => other.to_string(),
    };
    match reason.contains(LEADS_NOWHERE) {
        true => Check::fail(ID, reason)
            .hint("was the repository moved? run `lanes doctor --fix` in the place it was moved to"),
        false => Check::ok(
            ID,
            format!("no repository here ({reason}): only the machine and the home were looked at"),
        ),
    }
}

/// What finding a repository says of a link that leads nowhere.
const LEADS_NOWHERE: &str = "leads nowhere";

async fn look(
    subject: &Subject,
    git: &Git,
    daemon: &DaemonFacts,
    records: &Records,
    repo: &Repository,
) -> Vec<Check> {
    let patience = subject.patience;
    let (mut checks, config) = configuration(subject, git, repo).await;
    let floors = Floors { bytes: config.disk.min_free, inodes: config.disk.min_inodes };
    let worktrees = subject.home.join("worktrees");
    let root = layout::find(repo, config.worktree.root.as_deref(), &worktrees);

    let common_dir = repo.common_dir.clone();
    let at = root.as_ref().ok().map(|root| root.path.clone());
    let disks = move || {
        let mut checks = Vec::new();
        checks.extend(
            disk_of(&common_dir)
                .map(|disk| judge_disk(DiskPlace::Repository, &disk, Floors { bytes: 0, inodes: 0 })),
        );
        checks.extend(
            at.and_then(|root| disk_of(&root)).map(|disk| judge_disk(DiskPlace::Trees, &disk, floors)),
        );
        checks.into_iter().flatten().collect::<Vec<_>>()
    };
    checks.extend(within("trees.disk", patience, disks).await.unwrap_or_else(|late| vec![late]));
    let branch = in_the_way(git, repo, &config.lanes.branch_prefix).await;
    let facts = {
        let (repo, home, root) = (
            repo.clone(),
            subject.home.clone(),
            root.as_ref().map(|root| root.path.clone()).map_err(ToString::to_string),
        );
        within("trees.links", patience, move || tree_facts(&repo, home, root, branch)).await
    };
    checks.extend(facts.map_or_else(|late| vec![late], |facts| trees::judge_trees(&facts)));
    let common_dir = repo.common_dir.clone();
    let found = within("repository.locks", patience, move || locks(&common_dir)).await;
    checks.extend(found.map_or_else(|late| vec![late], |locks| trees::judge_locks(&locks)));

    if let Ok(root) = root.as_ref().map(|root| root.path.clone()) {
        let (repo, home, disk) = (repo.clone(), subject.home.clone(), config.disk.clone());
        let look = move || survey_spares::spares(&repo, &root, &home, &disk);
        let found = within("spares.trees", subject.long_patience(), look).await;
        let watched = matches!(daemon, DaemonFacts::Answers { .. });
        let told = |facts| judge_spares(&SpareFacts { cwd: subject.cwd.clone(), watched, ..facts });
        checks.extend(found.map_or_else(|late| vec![late], told));
    }
    let mut roots: BTreeSet<PathBuf> = root.into_iter().map(|root| root.path).collect();
    let lanes = records.open.iter().flatten().filter(|(_lane, place)| *place == repo.common_dir);
    roots.extend(lanes.map(|(lane, _place)| lane.order.root.to_path_buf()));
    let (of, home, looked) = (repo.clone(), subject.home.clone(), roots.clone());
    let found = move || looked.iter().flat_map(|root| overlays(&of, root, &home)).collect::<Vec<_>>();
    let watched = matches!(daemon, DaemonFacts::Answers { .. });
    let found = within("trees.overlay", patience, found).await;
    checks.extend(found.map_or_else(|late| vec![late], |found| trees::judge_overlays(&found, watched)));
    checks.extend(kept(subject, git, daemon, repo, &config, roots).await);
    checks
}

/// The configuration that holds, and whether it is well and approved.
async fn configuration(subject: &Subject, git: &Git, repo: &Repository) -> (Vec<Check>, Config) {
    const ID: &str = "config.repository";
    let Some(tree) = &repo.main_tree else {
        let user = config::load(None, subject.user_config.as_deref(), false);
        return (Vec::new(), user.map(|loaded| loaded.config).unwrap_or_default());
    };
    let place = Place::tree(&repo.common_dir, tree);
    let listed = git.ask(Mode::Look, &place, ["ls-files", "--", config::LOCAL_FILE]).await;
    let tracked = listed.is_ok_and(|listed| !listed.stdout.is_empty());
    let loaded = match config::load(Some(tree), subject.user_config.as_deref(), tracked) {
        Ok(loaded) => loaded,
        Err(error) => {
            let check = Check::fail(ID, error.to_string()).hint("correct the file that is named");
            return (vec![check], Config::default());
        }
    };
    if loaded.asks.is_empty() {
        return (vec![Check::ok(ID, "nothing in its configuration needs your approval")], loaded.config);
    }
    let keys: Vec<&str> = loaded.asks.iter().map(|ask| ask.key.as_str()).collect();
    match Approvals::at(&subject.home).look(&repo.common_dir, &loaded.fingerprint) {
        Some(true) => (vec![Check::ok(ID, format!("you have approved {}", keys.join(", ")))], loaded.config),
        Some(false) => {
            let check = Check::note(ID, format!("it sets {}, which nobody has approved", keys.join(", ")));
            (vec![check.hint("look at it and approve it: lanes trust")], loaded.unapproved)
        }
        None => {
            let check = Check::warn(
                ID,
                "what you have approved (trust.json) cannot be read: nothing counts as approved",
            );
            (vec![check.hint("approve again: lanes trust")], loaded.unapproved)
        }
    }
}

/// The user's own settings, and those that all worktrees share.
async fn settings(git: &Git, common_dir: &Path) -> Result<SettingsFacts, WorktreeError> {
    let args = ["config", "--includes", "--list", "-z"];
    let general = git.ask(Mode::Look, &Place::nowhere(), args).await?;
    let mut args: Vec<OsString> =
        ["config", "--includes", "--list", "-z", "--file"].map(OsString::from).to_vec();
    args.push(common_dir.join("config").into());
    let shared = git.ask(Mode::Look, &Place::nowhere(), args).await?;
    let mut settings = parse_settings(&general.stdout, "general");
    settings.extend(parse_settings(&shared.stdout, SHARED));
    Ok(SettingsFacts {
        common_dir: common_dir.to_path_buf(),
        checkout: checkout(git, common_dir).await,
        settings,
    })
}

/// The folder above a `.git`, when it provably is a checkout. A bare repository has no index; one that had a
/// checkout once has files that are not there.
async fn checkout(git: &Git, common_dir: &Path) -> Option<PathBuf> {
    let above = common_dir.parent().filter(|_| common_dir.file_name() == Some(".git".as_ref()))?;
    let is_folder = common_dir.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    if !is_folder || !common_dir.join("index").is_file() {
        return None;
    }
    let listed = git.ask(Mode::Look, &Place::tree(common_dir, above), ["ls-files", "-z"]).await.ok()?;
    let names = listed.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()).take(LOOKED_FOR);
    let mut paths = names.map(|name| above.join(crate::raw::Raw(name.to_vec()).as_path()));
    paths.any(|path| path.symlink_metadata().is_ok()).then(|| above.to_path_buf())
}

/// A branch whose name is a part of what branches of lanes begin with.
async fn in_the_way(git: &Git, repo: &Repository, prefix: &str) -> Option<String> {
    let heads = heads(git, repo).await.ok()?;
    let parts = prefix.match_indices('/').map(|(at, _slash)| &prefix[..at]);
    parts.filter(|part| heads.iter().any(|head| head.name == *part)).map(str::to_owned).next()
}

fn tree_facts(
    repo: &Repository,
    home: PathBuf,
    root: Result<PathBuf, String>,
    branch: Option<String>,
) -> TreeFacts {
    let device = |path: &Path| path.metadata().ok().map(|meta| meta.dev());
    let (refused, one) = match &root {
        Err(why) => (Some(why.clone()), true),
        Ok(root) if !root.exists() => (None, true),
        Ok(root) => (
            layout::check_private(root).err().map(|error| error.to_string()),
            device(root) == device(&repo.common_dir),
        ),
    };
    TreeFacts {
        links: settled(&repo.common_dir).into_iter().filter(|link| !is_unmounted(link)).collect(),
        home,
        root_refused: refused,
        one_file_system: one,
        branch_in_the_way: branch,
        unreadable_by_libgit2: (!repo.libgit2).then(|| discover::libgit2_refuses(&repo.common_dir)).flatten(),
    }
}

/// True for the folder of an overlay that is not mounted: that is said by itself.
fn is_unmounted(link: &Link) -> bool {
    let lane = link.order.as_ref().filter(|_| link.state == LinkState::NoLink);
    lane.is_some_and(|order| {
        overlay::of(order.root.as_path(), order.lane_id).is_ok_and(|found| found.is_some())
    })
}

/// The links, once those that do not fit are no longer just being made: git writes an entry file by file.
fn settled(common_dir: &Path) -> Vec<Link> {
    let changed_ms = |link: &Link| {
        let meta = link.admin.symlink_metadata().ok()?;
        let ms = meta.mtime().checked_mul(1000)?.checked_add(meta.mtime_nsec() / 1_000_000)?;
        u64::try_from(ms).ok()
    };
    let is_young = |link: &Link| {
        let age = changed_ms(link).and_then(|at| clock::now().as_ms().checked_sub(at));
        link.state != LinkState::Fits && age.is_some_and(|ms| Duration::from_millis(ms) < MAKING)
    };
    let until = Instant::now() + 2 * MAKING;
    loop {
        let found = links(common_dir);
        if Instant::now() >= until || !found.iter().any(is_young) {
            return found;
        }
        thread::sleep(MAKING / 10);
    }
}

fn locks(common_dir: &Path) -> Vec<Lock> {
    let mut folders = vec![common_dir.to_path_buf()];
    folders.extend(worktree::resolve::admin_dirs(common_dir).into_iter().map(|(_name, admin)| admin));
    let now = clock::now().as_ms() / 1000;
    let paths = folders.iter().flat_map(|folder| LOCKS.map(|name| folder.join(name)));
    let mut found: Vec<Lock> = paths
        .filter_map(|path| {
            let changed = u64::try_from(path.symlink_metadata().ok()?.mtime()).unwrap_or(0);
            Some(Lock { path, age: Duration::from_secs(now.saturating_sub(changed)), git_lives: false })
        })
        .collect();
    if !found.is_empty() && a_git_lives(common_dir) {
        for lock in &mut found {
            lock.git_lives = true;
        }
    }
    found
}

/// True when some git may be at work in the repository, or in a worktree of it: one that waits for an
/// editor holds its lock for hours.
fn a_git_lives(common_dir: &Path) -> bool {
    let mut places = vec![common_dir.to_path_buf()];
    places.extend(common_dir.parent().map(Path::to_path_buf));
    places.extend(links(common_dir).into_iter().map(|link| link.tree));
    proc::all().iter().filter(|process| process.name.starts_with(b"git")).any(|process| {
        match fs::read_link(format!("/proc/{}/cwd", process.pid)) {
            Ok(cwd) => places.iter().any(|place| cwd.starts_with(place)) || names(process.pid, common_dir),
            // That of another user may be; one that has ended is not.
            Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
        }
    })
}

fn names(pid: u32, common_dir: &Path) -> bool {
    let wanted = common_dir.as_os_str().as_encoded_bytes();
    let holds = |word: &Vec<u8>| word.windows(wanted.len()).any(|window| window == wanted);
    proc::command_line(pid).iter().any(holds)
}

/// Trash and vaults of every root.
async fn kept(
    subject: &Subject,
    git: &Git,
    daemon: &DaemonFacts,
    repo: &Repository,
    config: &Config,
    roots: BTreeSet<PathBuf>,
) -> Vec<Check> {
    const ID: &str = "trash.entries";
    let watched = matches!(daemon, DaemonFacts::Answers { .. });
    let (common_dir, home, max, patience) =
        (repo.common_dir.clone(), subject.home.clone(), config.trash.max, subject.patience);
    let looking = move || look_at_trash(&common_dir, roots, &home, max, patience);
    let (mut facts, kept) = match within(ID, subject.long_patience(), looking).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return vec![Check::fail(ID, error.to_string())],
        Err(late) => return vec![late],
    };
    facts.watched = watched;
    let mut checks = trees::judge_trash(&facts);
    for (entries, vault) in kept {
        let admin = vault.as_ref().map(|(admin, _locked)| admin.as_path());
        checks.extend(match worktree::audit(git, repo, admin, &entries).await {
            Ok(audit) => trees::judge_vault(&VaultFacts {
                pins: audit.pins,
                unreached: audit.unreached,
                lost: audit.lost,
                locked: vault.as_ref().is_some_and(|(_admin, locked)| *locked),
                admin: vault.map(|(admin, _locked)| admin),
            }),
            Err(error) => vec![Check::fail("trash.vault", error.to_string())],
        });
    }
    checks
}

/// What a root keeps: its entries, its vault with whether that is locked.
type Kept = (Vec<TrashEntry>, Option<(PathBuf, bool)>);

fn look_at_trash(
    common_dir: &Path,
    mut roots: BTreeSet<PathBuf>,
    home: &Path,
    max: Option<u64>,
    measuring: Duration,
) -> Result<(TrashFacts, Vec<Kept>), WorktreeError> {
    let vaults = vaults(common_dir);
    roots.extend(vaults.iter().map(|(root, _admin, _locked)| root.clone()));
    let until = Instant::now() + measuring;
    let mut facts = TrashFacts { max, ..TrashFacts::default() };
    let mut kept = Vec::new();
    let mut seen = BTreeSet::new();
    for root in roots {
        let root = root.canonicalize().unwrap_or(root);
        if !seen.insert(root.clone()) {
            continue;
        }
        let entries = trash::list(&root)?;
        for leftover in trash::leftovers(&root)? {
            match leftover.lane_id {
                Some(_lane) => facts.broken.push(leftover.path),
                None => facts.unfreed.push(leftover.path),
            }
        }
        facts.bytes += size_until(&root.join(trash::TRASH_DIR), until);
        let ours = entries.iter().filter(|entry| entry.order.home.as_path() == home);
        facts.unfinished += ours.filter(|entry| !entry.complete || trash::is_unfinished(entry)).count();
        facts.entries += entries.len();
        let vault = vaults.iter().find(|(of, _admin, _locked)| of.canonicalize().is_ok_and(|of| of == root));
        let vault = vault.map(|(_root, admin, locked)| (admin.clone(), *locked));
        if !entries.is_empty() || vault.is_some() {
            kept.push((entries, vault));
        }
    }
    Ok((facts, kept))
}
