//! Workspaces: the repositories this runtime knows, and their configuration as it is now.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dashmap::DashMap;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OnceCell};

use crate::bus::{Batch, Bus, Table, Write};
use crate::clock::{self, Timestamp};
use crate::config::{self, Approvals, Config, Loaded};
use crate::failure::{Code, Failure};
use crate::home::Home;
use crate::ids::{LaneId, WorkspaceId};
use crate::raw::Raw;
use crate::worktree::{self, Git, GitConfig, Mode, Place, Repository, layout, links};

/// A repository as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: WorkspaceId,
    /// The common git directory, which identifies it.
    pub common_dir: Raw,
    /// The main checkout; none in a bare repository.
    pub main_tree: Option<Raw>,
    /// What people call it.
    pub name: String,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// The lanes last used, the newest first: what `-` means.
    pub recent: Vec<LaneId>,
}

/// A workspace in use.
#[derive(Debug)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// The repository.
    pub repo: Repository,
    /// The lanes last used, the newest first.
    recent: std::sync::Mutex<Vec<LaneId>>,
    created_at: Timestamp,
}

impl Workspace {
    /// The main checkout, or the bare repository.
    pub fn place(&self) -> &Path {
        self.repo.main_tree.as_deref().unwrap_or(&self.repo.common_dir)
    }

    fn record(&self) -> Record {
        Record {
            id: self.id,
            common_dir: self.repo.common_dir.clone().into(),
            main_tree: self.repo.main_tree.clone().map(Raw::from),
            name: self.repo.name.clone(),
            created_at: self.created_at,
            recent: self.recent(),
        }
    }

    /// The lanes last used, the newest first.
    pub fn recent(&self) -> Vec<LaneId> {
        self.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn used(&self, lane: LaneId) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if recent.first() == Some(&lane) {
            return false;
        }
        recent.retain(|id| *id != lane);
        recent.insert(0, lane);
        recent.truncate(RECENT);
        true
    }
}

/// How many lanes `-` remembers: it means the one before the current one.
const RECENT: usize = 8;

/// The workspaces of a runtime, and what they share.
pub struct Workspaces {
    home: Home,
    bus: Bus,
    user_config: Option<PathBuf>,
    git_program: Option<PathBuf>,
    git: OnceCell<Git>,
    by_dir: DashMap<PathBuf, Arc<Workspace>>,
    /// One at a time makes a new record, so that a repository has one id.
    registering: Mutex<()>,
}

impl Workspaces {
    /// No workspaces yet.
    pub fn new(home: Home, bus: Bus, user_config: Option<PathBuf>, git_program: Option<PathBuf>) -> Self {
        Self {
            home,
            bus,
            user_config,
            git_program,
            git: OnceCell::new(),
            by_dir: DashMap::new(),
            registering: Mutex::new(()),
        }
    }

    /// git, looked up once; a missing one is looked for again by the next request.
    ///
    /// # Errors
    /// `GIT_MISSING`, `GIT_TOO_OLD`.
    pub async fn git(&self) -> Result<&Git, Failure> {
        self.git
            .get_or_try_init(|| async {
                let limits = config::load(None, self.user_config.as_deref(), false)?.config.git;
                let wanted = GitConfig {
                    program: self.git_program.clone(),
                    timeout: limits.timeout,
                    checkout_timeout: limits.checkout_timeout,
                    ..GitConfig::default()
                };
                Ok(Git::find(wanted).await?)
            })
            .await
    }

    /// The workspace that a folder is in; made when it is new.
    ///
    /// # Errors
    /// `NOT_A_REPOSITORY`, `GIT_FAILED` for one that was moved and whose lanes do not find it, and what git
    /// and the journal say.
    pub async fn at(&self, from: &Path) -> Result<Arc<Workspace>, Failure> {
        let git = self.git().await?;
        let repo = worktree::discover(git, from).await?;
        self.of(repo).await
    }

    /// The workspace of a repository; made when it is new.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn of(&self, repo: Repository) -> Result<Arc<Workspace>, Failure> {
        if let Some(known) = self.by_dir.get(&repo.common_dir) {
            return Ok(Arc::clone(&known));
        }
        let _one_at_a_time = self.registering.lock().await;
        if let Some(known) = self.by_dir.get(&repo.common_dir) {
            return Ok(Arc::clone(&known));
        }
        let workspace = match self.moved_here(&repo).await? {
            Some(record) => self.moved(record, repo),
            None => self.met(repo).await?,
        };
        let workspace = Arc::new(workspace);
        self.write_down(&workspace).await?;
        self.by_dir.insert(workspace.repo.common_dir.clone(), Arc::clone(&workspace));
        Ok(workspace)
    }

    /// The workspace of a repository that nobody has asked in yet: as it is written down, when it could not be
    /// opened before; as its trees name it, when the home has lost its records; else a new one.
    async fn met(&self, repo: Repository) -> Result<Workspace, Failure> {
        let (common_dir, home) = (repo.common_dir.clone(), self.home.clone());
        let look = move || {
            let records = home.read_workspaces::<Record>();
            let of_trees = links::of_home(&common_dir, home.path()).workspaces;
            let unknown = of_trees.into_iter().find(|id| records.iter().all(|record| record.id != *id));
            (records.into_iter().find(|record| record.common_dir.as_path() == common_dir), unknown)
        };
        let looked = tokio::task::spawn_blocking(look).await;
        let (written, unknown) =
            looked.map_err(|_aborted| Failure::new(Code::DaemonDown, "the runtime is stopping"))?;
        Ok(match written {
            Some(record) => Workspace {
                id: record.id,
                repo,
                recent: std::sync::Mutex::new(record.recent),
                created_at: record.created_at,
            },
            None => Workspace {
                id: unknown.unwrap_or_else(WorkspaceId::generate),
                repo,
                recent: std::sync::Mutex::new(Vec::new()),
                created_at: clock::now(),
            },
        })
    }

    /// The record of a repository that was moved to where this one is: its trees carry our orders, and the
    /// place where it was is empty.
    ///
    /// # Errors
    /// `GIT_FAILED` while its lanes do not lead to it yet: whether it was moved, or is a copy of one
    /// that is only away, the user says by `lanes doctor --fix`.
    async fn moved_here(&self, repo: &Repository) -> Result<Option<Record>, Failure> {
        let (common_dir, home) = (repo.common_dir.clone(), self.home.clone());
        let look = move || {
            let found = links::of_home(&common_dir, home.path());
            let of = found.workspaces.iter().next().copied()?;
            let records = home.read_workspaces::<Record>();
            let record = records.into_iter().find(|record| record.id == of)?;
            let gone = record.common_dir.as_path() != common_dir && !record.common_dir.as_path().exists();
            gone.then_some((record, found.broken))
        };
        let looked = tokio::task::spawn_blocking(look).await;
        let looked = looked.map_err(|_aborted| Failure::new(Code::DaemonDown, "the runtime is stopping"))?;
        match looked {
            Some((record, 0)) => Ok(Some(record)),
            Some((record, broken)) => Err(Failure::new(
                Code::GitFailed,
                format!(
                    "this repository was at {} before, and {broken} of its lanes still lead there",
                    record.common_dir
                ),
            )
            .hint("if it was moved: lanes doctor --fix, run here, leads them to it")),
            None => Ok(None),
        }
    }

    /// The workspace of a record in its new place; its lanes follow, as they name it by its id.
    fn moved(&self, record: Record, repo: Repository) -> Workspace {
        tracing::info!(from = %record.common_dir, to = %repo.common_dir.display(), "a repository was moved");
        let _not_there_any_more = self.by_dir.remove(record.common_dir.as_path());
        for root in links::of_home(&repo.common_dir, self.home.path()).roots {
            if let Err(error) = layout::hand_over(&root, record.common_dir.as_path(), &repo.common_dir) {
                tracing::warn!(%error, "the folder of the trees still names the old place");
            }
        }
        Workspace {
            id: record.id,
            repo,
            recent: std::sync::Mutex::new(record.recent),
            created_at: record.created_at,
        }
    }

    async fn write_down(&self, workspace: &Workspace) -> Result<(), Failure> {
        let record = workspace.record();
        // Beside the store, so that the store can be rebuilt from what exists.
        self.home.write_workspace(&record.id, &record)?;
        self.record(&record).await
    }

    async fn record(&self, record: &Record) -> Result<(), Failure> {
        let writes = vec![Write::put(Table::Workspaces, record.id, record)];
        self.bus.commit(Batch { events: Vec::new(), writes }).await.map(drop)
    }

    /// Takes up a workspace that is written down. One whose repository is gone is skipped.
    pub async fn take_up(&self, record: Record) -> Option<Arc<Workspace>> {
        let git = self.git().await.ok()?;
        let repo = worktree::discover(git, record.common_dir.as_path()).await.ok()?;
        let workspace = Arc::new(Workspace {
            id: record.id,
            repo,
            recent: std::sync::Mutex::new(record.recent),
            created_at: record.created_at,
        });
        self.by_dir.insert(workspace.repo.common_dir.clone(), Arc::clone(&workspace));
        Some(workspace)
    }

    /// The workspace of that common directory, when it is in use.
    pub fn by_common_dir(&self, dir: &Path) -> Option<Arc<Workspace>> {
        self.by_dir.get(dir).map(|entry| Arc::clone(&entry))
    }

    /// The workspace of that id, when it is in use.
    pub fn by_id(&self, id: WorkspaceId) -> Option<Arc<Workspace>> {
        self.by_dir.iter().find(|entry| entry.id == id).map(|entry| Arc::clone(&entry))
    }

    /// Every workspace, in order of registration.
    pub fn all(&self) -> Vec<Arc<Workspace>> {
        let mut all: Vec<_> = self.by_dir.iter().map(|entry| Arc::clone(entry.value())).collect();
        all.sort_by_key(|workspace| workspace.id);
        all
    }

    /// Remembers that a lane was used, for `-`. What is given back writes it down, and nobody has to wait for
    /// that: it is of no use to a store that is rebuilt, so the file beside the store stays as it is.
    pub fn used(
        self: &Arc<Self>,
        workspace: WorkspaceId,
        lane: LaneId,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let workspace = self.by_id(workspace).filter(|workspace| workspace.used(lane))?;
        let workspaces = Arc::clone(self);
        Some(async move {
            if let Err(failure) = workspaces.record(&workspace.record()).await {
                tracing::debug!(error = %failure, "the lane last used was not written down");
            }
        })
    }

    /// The configuration of a repository as its files are now, approved or not.
    ///
    /// # Errors
    /// `CONFIG_INVALID`, and what git says about the local file.
    pub async fn loaded(&self, repo: &Repository) -> Result<Loaded, Failure> {
        let tracked = match &repo.main_tree {
            Some(tree) if tree.join(config::LOCAL_FILE).symlink_metadata().is_ok() => {
                let place = Place::tree(&repo.common_dir, tree);
                let listed =
                    self.git().await?.ask(Mode::Look, &place, ["ls-files", "--", config::LOCAL_FILE]).await?;
                !listed.stdout.is_empty()
            }
            Some(_) | None => false,
        };
        Ok(config::load(repo.main_tree.as_deref(), self.user_config.as_deref(), tracked)?)
    }

    /// The configuration that holds: what needs approval counts only when it was approved.
    ///
    /// # Errors
    /// As [`Workspaces::loaded`].
    pub async fn config(&self, repo: &Repository) -> Result<Config, Failure> {
        let loaded = self.loaded(repo).await?;
        let approved =
            loaded.asks.is_empty() || self.approvals().is_approved(&repo.common_dir, &loaded.fingerprint)?;
        Ok(if approved { loaded.config } else { loaded.unapproved })
    }

    /// The configuration for something that would do what needs approval.
    ///
    /// # Errors
    /// `NOT_TRUSTED`, and as [`Workspaces::loaded`].
    pub async fn trusted(&self, repo: &Repository) -> Result<Config, Failure> {
        let loaded = self.loaded(repo).await?;
        if loaded.asks.is_empty() || self.approvals().is_approved(&repo.common_dir, &loaded.fingerprint)? {
            return Ok(loaded.config);
        }
        let keys: Vec<&str> = loaded.asks.iter().map(|ask| ask.key.as_str()).collect();
        Err(Failure::new(
            Code::NotTrusted,
            format!("the configuration of {} sets {}, which nobody has approved", repo.name, keys.join(", ")),
        )
        .hint("look at it and approve it: lanes trust")
        .details(serde_json::json!({ "keys": keys, "fingerprint": loaded.fingerprint })))
    }

    /// What was approved.
    pub fn approvals(&self) -> Approvals {
        Approvals::at(self.home.path())
    }
}
