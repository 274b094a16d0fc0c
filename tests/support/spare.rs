//! A repository with templates and pooled trees.
#![allow(dead_code, reason = "each suite uses a part")]

use std::path::Path;
use std::sync::Arc;

use lanes::ids::{LaneId, WorkspaceId};
use lanes::worktree::provision::{Direct, Floors, provision};
use lanes::worktree::{
    Git, Kept, Order, Pace, Repository, Root, Settings, SettingsCache, SpareKind, Tree, Want, Way,
    WorktreeError, check_branch, discover, layout, make_pooled, make_template, remove_spare, resolve_base,
};

use super::git::Yard;

/// A repository with a root, a home, and what is needed to make spares and lanes.
pub struct Stocked {
    pub yard: Yard,
    pub git: Git,
    pub repo: Repository,
    pub root: Root,
    pub workspace: WorkspaceId,
    settings: SettingsCache,
}

impl Stocked {
    pub async fn of(yard: Yard) -> Self {
        let git = yard.our_git().await;
        let repo = discover(&git, &yard.repo).await.expect("a repository");
        let root = layout::choose(&repo, None, &yard.path().join("data")).expect("a root");
        Self { yard, git, repo, root, workspace: WorkspaceId::generate(), settings: SettingsCache::default() }
    }

    pub async fn new() -> Self {
        Self::of(Yard::new()).await
    }

    pub fn home(&self) -> std::path::PathBuf {
        self.yard.path().join("lanes-home")
    }

    pub async fn want(&self, kind: SpareKind, base: &str) -> Want {
        Want {
            kind,
            home: self.home().as_path().into(),
            workspace_id: self.workspace,
            root: self.root.path.as_path().into(),
            base: base.to_owned(),
            print: self.settings().await.print.clone(),
            lock_reason: "lanes spare boot 1".to_owned(),
        }
    }

    pub async fn settings(&self) -> Arc<Settings> {
        self.settings.get(&self.git, &self.repo).await.expect("settings")
    }

    pub fn head(&self) -> String {
        self.yard.git(&["rev-parse", "HEAD"])
    }

    pub async fn template(&self) -> Kept {
        self.template_at(&self.head()).await
    }

    pub async fn template_at(&self, base: &str) -> Kept {
        let want = self.want(SpareKind::Template, base).await;
        make_template(&self.git, &self.repo, &want, &Direct).await.expect("a template")
    }

    pub async fn pooled(&self) -> Kept {
        let template = self.template().await;
        let kept = self.pooled_of(&template).await.expect("a pooled tree");
        remove_spare(&self.repo, &template, Pace::full()).await.expect("removed");
        kept
    }

    pub async fn pooled_of(&self, template: &Kept) -> Result<Kept, WorktreeError> {
        let want = self.want(SpareKind::Pooled, &template.spare.base).await;
        make_pooled(&self.repo, template, &want, Pace::full()).await
    }

    pub async fn order(&self, name: &str, branch: Option<&str>) -> Order {
        let base = resolve_base(&self.git, &self.repo, &self.yard.repo, branch).await.expect("a base");
        let branch = check_branch(&self.git, &self.repo, "lanes/", name, branch).await.expect("a branch");
        let lane_id = LaneId::generate();
        Order {
            lane_id,
            name: name.to_owned(),
            workspace_id: self.workspace,
            token: format!("secret of {lane_id}"),
            home: self.home().as_path().into(),
            root: self.root.path.as_path().into(),
            path: self.root.path.join(name).as_path().into(),
            base,
            branch,
            lock_reason: format!("lanes {lane_id} boot 1"),
            submodules: true,
            copy: Vec::new(),
            link: Vec::new(),
        }
    }

    pub async fn make(&self, order: &Order, way: Way) -> Result<Tree, WorktreeError> {
        let settings = self.settings().await;
        let floors = Floors::default();
        provision(&self.git, &self.repo, order, floors, way, &settings, &Direct, &|_step| {}).await
    }

    /// The names of everything in a folder of the root, or of the common directory.
    pub fn names(&self, folder: &Path) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let name = |e: std::io::Result<std::fs::DirEntry>| e.expect("an entry").file_name();
        let mut names: Vec<_> =
            entries.map(|e| name(e).to_string_lossy().into_owned()).filter(|n| n != ".workspace").collect();
        names.sort();
        names
    }

    /// Nothing of any lane or spare is there: no folder, admin entry, branch.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let none = Vec::<String>::new();
        assert_eq!(self.names(&self.root.path), none, "trees");
        assert_eq!(self.names(&self.repo.common_dir.join("worktrees")), none, "admin entries");
        assert_eq!(self.yard.git(&["for-each-ref", "refs/heads/lanes/"]), "", "branches");
        let aside = self.names(&self.repo.common_dir);
        let ours = |name: &&String| name.contains("lanes-") && *name != "lanes.lock";
        assert_eq!(aside.iter().filter(ours).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}
