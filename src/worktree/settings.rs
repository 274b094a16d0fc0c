//! What git's configuration says about a repository: asked once, and again when a file it came from changed.
//!
//! The files are looked at by every request (about twenty `stat` calls), so a change counts from the next one
//! on. A file that was written a moment before git read it may be written again without its stamp showing it:
//! such an answer is not kept.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dashmap::DashMap;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, OnceCell};

use super::blocking::blocking;
use super::error::WorktreeError;
use super::git::{Git, Mode, Place};
use super::model::Repository;
use super::settings_list::{self as list, Entry, Included};
use crate::clock::{self, Timestamp};
use crate::proc;

/// What is done, for people.
const LOOKING: &str = "looking at git's configuration";
/// So many repositories are remembered; one of more is asked about each time anew.
const MAX_REPOSITORIES: usize = 256;
/// So many files a configuration may include under a condition; each costs a call of git.
const MAX_CONDITIONS: usize = 32;
/// A file that changed so shortly before git read it may change again with the same stamp: clocks of file
/// systems tick each 4 to 10 ms.
const TICK_MS: u64 = 100;
/// The same where a file system counts whole seconds, some count two at a time.
const COARSE_TICK_MS: u64 = 2_500;

/// What counts in a repository now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The scope and value of the `core.hooksPath` that counts.
    pub hooks_path: Option<(String, PathBuf)>,
    /// Fingerprint of what decides how a checkout looks, but for the commit.
    pub print: String,
    /// Why two trees of one commit may look different here, so that each must be made by git for itself.
    pub only_git: Option<&'static str>,
}

/// The settings of repositories, kept with the stamps of the files they came from.
#[derive(Debug, Default)]
pub struct SettingsCache {
    known: DashMap<PathBuf, Arc<Mutex<Option<Known>>>>,
    system: OnceCell<Places>,
}

#[derive(Clone, Debug)]
struct Known {
    settings: Arc<Settings>,
    files: Arc<Vec<(Option<Stamp>, PathBuf)>>,
    /// False when the answer must not be used again.
    settled: bool,
}

/// Where a kind of file lies that may not be there.
#[derive(Clone, Debug)]
struct Places {
    config: PathBuf,
    attributes: PathBuf,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    dev: u64,
    ino: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl SettingsCache {
    /// The settings of a repository. Those who ask at the same time wait for one answer.
    ///
    /// # Errors
    /// Those of git, and `ReadGit`.
    pub async fn get(&self, git: &Git, repo: &Repository) -> Result<Arc<Settings>, WorktreeError> {
        let turn = self.turn(repo);
        let mut known = turn.lock().await;
        if let Some(kept) = known.as_ref().filter(|kept| kept.settled) {
            let files = Arc::clone(&kept.files);
            let same = move || Ok(files.iter().all(|(stamp, path)| Stamp::of(path) == *stamp));
            if blocking(LOOKING, same).await? {
                return Ok(Arc::clone(&kept.settings));
            }
        }
        let asked = self.ask(git, repo).await?;
        let settings = Arc::clone(&asked.settings);
        *known = Some(asked);
        Ok(settings)
    }

    fn turn(&self, repo: &Repository) -> Arc<Mutex<Option<Known>>> {
        if self.known.len() >= MAX_REPOSITORIES && !self.known.contains_key(&repo.common_dir) {
            return Arc::default();
        }
        Arc::clone(&self.known.entry(repo.common_dir.clone()).or_default())
    }

    async fn ask(&self, git: &Git, repo: &Repository) -> Result<Known, WorktreeError> {
        let asked_at = clock::now();
        let system = self.system.get_or_try_init(|| system_places(git)).await?;
        let args = ["config", "--list", "--includes", "--show-scope", "--show-origin", "-z"];
        let command = git.command(Mode::Look, &Place::repository(repo), args);
        let (env, cwd, label) = (command.env.clone(), command.cwd.clone(), command.label.clone());
        let output = git.run(command, git.timeout()).await?.success(&label)?;
        let Some(entries) = list::parse_list(&output.stdout, &cwd) else {
            return Err(WorktreeError::ReadGit { command: label, what: "not a list of settings" });
        };
        let home = variable(&env, "HOME").map(PathBuf::from);
        let included = list::included(&entries, home.as_deref());
        let (maybe, only_git) = under_conditions(git, repo, &included).await?;
        let own = own_places(&env, home.as_deref());
        let attributes = path_of(git, repo, &entries, "core.attributesfile").await?.or(own.attributes);
        let hooks_path = path_of(git, repo, &entries, "core.hookspath").await?;
        let scope = list::last(&entries, "core.hookspath").map(|entry| entry.scope.clone());
        let heard = Heard {
            configs: [repo.common_dir.join("config"), system.config.clone()]
                .into_iter()
                .chain(own.configs)
                .collect(),
            attributes: [Some(system.attributes.clone()), attributes].into_iter().flatten().collect(),
            hooks_path: scope.zip(hooks_path),
            entries,
            included,
            maybe,
            only_git,
        };
        let common_dir = repo.common_dir.clone();
        blocking(LOOKING, move || Ok(heard.with_files(&common_dir, asked_at))).await
    }
}

/// What git has said.
struct Heard {
    entries: Vec<Entry>,
    included: Vec<Included>,
    /// What files that are included under a condition say about looks.
    maybe: Vec<u8>,
    only_git: Option<&'static str>,
    hooks_path: Option<(String, PathBuf)>,
    /// Files with settings that may come to be.
    configs: Vec<PathBuf>,
    /// Files with attributes outside the repository.
    attributes: Vec<PathBuf>,
}

impl Heard {
    /// Reads what decides looks besides, and the stamps of everything. Blocks.
    fn with_files(self, common_dir: &Path, asked_at: Timestamp) -> Known {
        let info = common_dir.join("info");
        let contents: Vec<PathBuf> =
            [common_dir.join("config.worktree"), info.join("attributes"), info.join("sparse-checkout")]
                .into_iter()
                // A relative one is looked for in the tree: it belongs to the commit.
                .chain(self.attributes.into_iter().filter(|path| path.is_absolute()))
                .collect();
        let mut conditions = self.included.iter().filter_map(|file| file.condition.as_deref());
        let head = conditions.any(list::is_about_branch).then(|| common_dir.join("HEAD"));
        let all_known = self.included.iter().all(|file| file.path.is_some());
        let paths: BTreeSet<PathBuf> = self
            .configs
            .into_iter()
            .chain(head)
            .chain(self.entries.iter().map(|entry| entry.origin.clone()))
            .chain(self.included.into_iter().filter_map(|file| file.path))
            .chain(contents.iter().cloned())
            .collect();
        // Before the contents are read: what changes afterwards is noticed by its stamp.
        let files: Vec<_> = paths.into_iter().map(|path| (Stamp::of(&path), path)).collect();
        let print = print_of(&self.entries, &self.maybe, &contents);
        let settled = |stamp: Option<Stamp>| stamp.is_none_or(|stamp| stamp.is_before(asked_at));
        Known {
            settled: all_known && files.iter().all(|(stamp, _path)| settled(*stamp)),
            settings: Arc::new(Settings { hooks_path: self.hooks_path, print, only_git: self.only_git }),
            files: Arc::new(files),
        }
    }
}

impl Stamp {
    /// None for what is not there, or not to be looked at: git cannot read it either.
    fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        Some(Self {
            dev: meta.dev(),
            ino: meta.ino(),
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// True when a change after `moment` cannot have this stamp.
    fn is_before(&self, moment: Timestamp) -> bool {
        let whole = self.modified.1 == 0 && self.changed.1 == 0;
        let tick = if whole { COARSE_TICK_MS } else { TICK_MS };
        let ms = |(seconds, nanos): (i64, i64)| {
            u64::try_from(seconds.saturating_mul(1_000).saturating_add(nanos / 1_000_000)).unwrap_or(0)
        };
        ms(self.changed).saturating_add(tick) < moment.as_ms()
    }
}

/// The system's files: git has their place built in. Older ones cannot be asked; they are in `/etc`.
async fn system_places(git: &Git) -> Result<Places, WorktreeError> {
    let ask = async |name: &str, usual: &str| {
        let output =
            git.run(git.command(Mode::Look, &Place::nowhere(), ["var", name]), git.timeout()).await?;
        let said = output.stdout.strip_suffix(b"\n").unwrap_or(&output.stdout);
        let path = Path::new(OsStr::from_bytes(said));
        Ok::<_, WorktreeError>(match output.ok() && path.is_absolute() {
            true => path.to_path_buf(),
            false => PathBuf::from(usual),
        })
    };
    Ok(Places {
        config: ask("GIT_CONFIG_SYSTEM", "/etc/gitconfig").await?,
        attributes: ask("GIT_ATTR_SYSTEM", "/etc/gitattributes").await?,
    })
}

/// The user's own files.
struct Own {
    configs: Vec<PathBuf>,
    attributes: Option<PathBuf>,
}

fn own_places(env: &BTreeMap<OsString, OsString>, home: Option<&Path>) -> Own {
    let folder = match variable(env, "XDG_CONFIG_HOME") {
        Some(folder) => Some(PathBuf::from(folder)),
        None => home.map(|home| home.join(".config")),
    };
    let folder = folder.map(|folder| folder.join("git"));
    let configs = match env.get(OsStr::new("GIT_CONFIG_GLOBAL")) {
        Some(only) => vec![PathBuf::from(only)],
        None => {
            let usual = home.map(|home| home.join(".gitconfig"));
            folder.iter().map(|folder| folder.join("config")).chain(usual).collect()
        }
    };
    Own { configs, attributes: folder.map(|folder| folder.join("attributes")) }
}

fn variable<'a>(env: &'a BTreeMap<OsString, OsString>, name: &str) -> Option<&'a OsString> {
    env.get(OsStr::new(name)).filter(|value| !value.is_empty())
}

/// A setting that is a path; git is asked about `~user/` and the like.
async fn path_of(
    git: &Git,
    repo: &Repository,
    entries: &[Entry],
    key: &str,
) -> Result<Option<PathBuf>, WorktreeError> {
    let Some(value) = list::last(entries, key).and_then(|entry| entry.value.as_deref()) else {
        return Ok(None);
    };
    if !list::needs_git(value) {
        return Ok(Some(PathBuf::from(OsStr::from_bytes(value))));
    }
    let args = ["config", "--includes", "--type=path", "-z", "--get", key];
    // Our own core.hooksPath would be the one that counts.
    let command = git.command(Mode::Look, &Place::repository(repo), args).with_hooks();
    let label = command.label.clone();
    let said = git.run(command, git.timeout()).await?.found(&label)?;
    Ok(said.map(|said| {
        let path = said.stdout.strip_suffix(b"\0").unwrap_or(&said.stdout);
        PathBuf::from(OsStr::from_bytes(path))
    }))
}

/// What files that are included under a condition say about looks, and why the condition is in the way of
/// trees that are made beforehand. A condition is judged by git for the main checkout and not for the lane
/// to come: so all of them count.
async fn under_conditions(
    git: &Git,
    repo: &Repository,
    included: &[Included],
) -> Result<(Vec<u8>, Option<&'static str>), WorktreeError> {
    let (mut maybe, mut only_git) = (Vec::new(), None);
    let conditional = included.iter().filter_map(|file| Some((file.condition.as_deref()?, &file.path)));
    for (count, (condition, path)) in conditional.enumerate() {
        let Some(path) = path.as_ref().filter(|_| count < MAX_CONDITIONS) else {
            only_git = Some("what its configuration includes under a condition cannot be told");
            continue;
        };
        if !path.is_file() {
            continue;
        }
        let args = ["config", "--includes", "--list", "-z", "--file"].map(OsString::from);
        let args = args.into_iter().chain([path.as_os_str().to_owned()]);
        let output = git.ask(Mode::Look, &Place::repository(repo), args).await?;
        let begun = maybe.len();
        for (key, value) in list::parse_plain(&output.stdout) {
            if list::decides_looks(&key) || key.starts_with(b"includeif.") {
                put(&mut maybe, &key, value.as_deref());
            }
        }
        if maybe.len() > begun && list::differs_by_tree(condition) {
            only_git = Some("its configuration says how files look for some branches or trees only");
        }
    }
    Ok((maybe, only_git))
}

/// Adds a name and what it has, so that no two lists look the same.
fn put(into: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    for part in [Some(name), value] {
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        into.extend(length.to_le_bytes());
        into.extend(part.unwrap_or_default());
    }
}

fn print_of(entries: &[Entry], maybe: &[u8], contents: &[PathBuf]) -> String {
    let mut all = Vec::new();
    for entry in entries.iter().filter(|entry| list::decides_looks(&entry.key)) {
        put(&mut all, &entry.key, entry.value.as_deref());
    }
    put(&mut all, b"under conditions", Some(maybe));
    for (number, path) in contents.iter().enumerate() {
        // Only what is a file: another kind could keep us waiting.
        let bytes = path.is_file().then(|| fs::read(path).ok()).flatten();
        put(&mut all, number.to_string().as_bytes(), bytes.as_deref());
    }
    let umask = proc::umask().map(|mask| mask.to_string());
    put(&mut all, b"umask", umask.as_deref().map(str::as_bytes));
    Sha256::digest(&all).iter().map(|byte| format!("{byte:02x}")).collect()
}
