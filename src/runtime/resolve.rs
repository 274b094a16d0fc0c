//! Which lane somebody means: name, id, unique id prefix, path, `.`, `-`, `repo:name`.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::owner::Owner;
use crate::api::LaneRef;
use crate::bus::Table;
use crate::failure::{Code, Failure};
use crate::ids::{LaneId, TaskId, WorkspaceId};
use crate::lanes::Handle;
use crate::lanes::lane::{Lane, Task};
use crate::lanes::table::State;

/// A lane that was meant.
pub(super) enum Found {
    /// One with an owner.
    Open(Handle),
    /// One that is closed; its record.
    Closed(Box<Lane>),
}

impl Found {
    /// Its record.
    pub(super) fn lane(&self) -> Arc<Lane> {
        match self {
            Self::Open(handle) => handle.lane(),
            Self::Closed(lane) => Arc::new(Lane::clone(lane)),
        }
    }
}

/// The shortest id prefix that is taken for one: `ln_` and two characters.
const SHORTEST_PREFIX: usize = 5;

impl Owner {
    /// The open lane that is meant.
    pub(super) async fn open_lane(&self, words: &LaneRef) -> Result<Handle, Failure> {
        match self.find(words).await? {
            Found::Open(handle) => Ok(handle),
            Found::Closed(lane) => {
                Err(Failure::new(Code::InvalidTransition, format!("lane {} is closed", lane.name()))
                    .hint(format!("bring it back as a new lane: lanes restore {}", lane.name()))
                    .details(serde_json::json!({ "lane_id": lane.id, "state": State::Closed })))
            }
        }
    }

    /// The lane that is meant, open or closed; an open one comes first.
    pub(super) async fn find(&self, words: &LaneRef) -> Result<Found, Failure> {
        if let Some(handle) = self.find_open(words).await? {
            return Ok(Found::Open(handle));
        }
        let text = words.lane.lossy().into_owned();
        let here = self.workspace_at(words.cwd.as_path()).await.map(|workspace| workspace.id);
        let (workspace, failure) = match here {
            Ok(id) => (Some(id), None),
            Err(failure) if failure.code == Code::NotARepository => (None, None),
            Err(failure) => (None, Some(failure)),
        };
        let closed = self.records().await?.into_iter().filter(|lane| lane.state() == State::Closed);
        let by_id = |lane: &Lane| text.len() >= SHORTEST_PREFIX && lane.id.text().as_str().starts_with(&text);
        let by_name =
            |lane: &Lane| Some(lane.workspace_id()) == workspace && lane.name().eq_ignore_ascii_case(&text);
        match closed.filter(|lane| by_id(lane) || by_name(lane)).max_by_key(|lane| lane.id) {
            Some(lane) => Ok(Found::Closed(Box::new(lane))),
            // A lane of that name may be in the repository that cannot be used just now.
            None => Err(failure.unwrap_or_else(|| self.not_found(&text, workspace))),
        }
    }

    async fn find_open(&self, words: &LaneRef) -> Result<Option<Handle>, Failure> {
        let text = words.lane.lossy();
        let cwd = words.cwd.as_path();
        if text == "." {
            return self.around(cwd).map(Some).ok_or_else(|| {
                Failure::new(Code::LaneNotFound, format!("{} is not in a lane", cwd.display()))
                    .hint("go into a lane, or name one (lanes ls)")
            });
        }
        if text == "-" {
            return self.previous(cwd).await.map(Some);
        }
        if text.contains('/') {
            return Ok(self.around(&absolute(cwd, words.lane.as_path())));
        }
        if let Some((repo, name)) = text.split_once(':') {
            return Ok(self.in_repository(repo, name));
        }
        if let Ok(workspace) = self.workspace_at(cwd).await
            && let Some(handle) = self.registry.by_name(workspace.id, &text)
        {
            return Ok(Some(handle));
        }
        self.by_prefix(&text)
    }

    /// The open lane whose tree `path` is in.
    pub(super) fn around(&self, path: &Path) -> Option<Handle> {
        let path = path.canonicalize().unwrap_or_else(|_missing| path.to_path_buf());
        self.registry.all().into_iter().find(|handle| path.starts_with(handle.lane().order.path.as_path()))
    }

    async fn previous(&self, cwd: &Path) -> Result<Handle, Failure> {
        let workspace = self.workspace_at(cwd).await?;
        let here = self.around(cwd).map(|handle| handle.id());
        let open: Vec<LaneId> =
            workspace.recent().into_iter().filter(|id| self.registry.get(*id).is_some()).collect();
        let previous = match here {
            Some(here) => open.into_iter().find(|id| *id != here),
            None => open.into_iter().nth(1),
        };
        previous.and_then(|id| self.registry.get(id)).ok_or_else(|| {
            Failure::new(Code::LaneNotFound, "there is no previous lane here").hint("name one (lanes ls)")
        })
    }

    fn in_repository(&self, repo: &str, name: &str) -> Option<Handle> {
        let workspaces = self.workspaces.all();
        workspaces
            .iter()
            .filter(|workspace| workspace.repo.name == repo)
            .find_map(|workspace| self.registry.by_name(workspace.id, name))
    }

    fn by_prefix(&self, text: &str) -> Result<Option<Handle>, Failure> {
        if text.len() < SHORTEST_PREFIX || !text.starts_with("ln_") {
            return Ok(None);
        }
        let mut hits = self.registry.all();
        hits.retain(|handle| handle.id().text().as_str().starts_with(text));
        if hits.len() > 1 {
            let ids: Vec<String> = hits.iter().map(|handle| handle.id().to_string()).collect();
            return Err(Failure::new(Code::LaneNotFound, format!("{text} could be {}", ids.join(" or ")))
                .hint("give more of the id"));
        }
        Ok(hits.pop())
    }

    fn not_found(&self, text: &str, workspace: Option<WorkspaceId>) -> Failure {
        let shown: String = text.chars().take(80).collect();
        let failure = Failure::new(Code::LaneNotFound, format!("there is no lane {shown:?}"));
        let names: Vec<String> = self
            .registry
            .all()
            .iter()
            .map(Handle::lane)
            .filter(|lane| workspace.is_none_or(|id| lane.workspace_id() == id))
            .map(|lane| lane.name().to_owned())
            .collect();
        let near = names
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(a, text).total_cmp(&strsim::jaro_winkler(b, text)));
        match near.filter(|name| strsim::jaro_winkler(name, text) > 0.75) {
            Some(name) => failure.hint(format!("did you mean {name}? (lanes ls shows them all)")),
            None => {
                failure.hint("lanes ls shows the lanes of this repository, lanes ls --everywhere all of them")
            }
        }
    }

    /// Every lane that is written down, with its tasks.
    pub(super) async fn records(&self) -> Result<Vec<Lane>, Failure> {
        let snapshot = self.bus.snapshot(vec![Table::Lanes, Table::Tasks]).await?;
        Ok(crate::recovery::records::lanes(&snapshot))
    }

    /// The task that is meant by an id or a unique prefix of one, and its lane.
    pub(super) async fn task(
        &self,
        text: &str,
        lane: Option<&LaneRef>,
    ) -> Result<(Arc<Lane>, Task), Failure> {
        let exact = text.parse::<TaskId>().ok();
        let mut hits: Vec<(Arc<Lane>, Task)> = Vec::new();
        for handle in self.registry.all() {
            let lane = handle.lane();
            let wanted = |task: &&Task| match exact {
                Some(id) => task.id == id,
                None => text.len() >= SHORTEST_PREFIX && task.id.text().as_str().starts_with(text),
            };
            hits.extend(lane.tasks.values().filter(wanted).map(|task| (Arc::clone(&lane), task.clone())));
        }
        if hits.is_empty() {
            hits = self.stored_task(text).await?;
        }
        let (found, task) = match hits.len() {
            1 => hits.swap_remove(0),
            0 => {
                return Err(Failure::new(Code::TaskNotFound, format!("there is no task {text:?}"))
                    .hint("lanes show LANE lists the tasks of a lane"));
            }
            _ => {
                return Err(Failure::new(Code::TaskNotFound, format!("{text} could be several tasks"))
                    .hint("give more of the id"));
            }
        };
        if let Some(words) = lane {
            let meant = self.find(words).await?.lane();
            if meant.id != found.id {
                return Err(Failure::new(
                    Code::TerminalContextMismatch,
                    format!("task {} belongs to lane {}, not to {}", task.id, found.name(), meant.name()),
                )
                .hint("name the lane that the task belongs to"));
            }
        }
        Ok((found, task))
    }

    async fn stored_task(&self, text: &str) -> Result<Vec<(Arc<Lane>, Task)>, Failure> {
        let Some(body) = self.bus.get(Table::Tasks, text).await? else { return Ok(Vec::new()) };
        let Ok(task) = serde_json::from_value::<Task>(body) else { return Ok(Vec::new()) };
        let Some(body) = self.bus.get(Table::Lanes, task.lane_id.to_string()).await? else {
            return Ok(Vec::new());
        };
        let Ok(lane) = serde_json::from_value::<Lane>(body) else { return Ok(Vec::new()) };
        Ok(vec![(Arc::new(lane), task)])
    }
}

/// `path` seen from `cwd`, without `.` and `..`, touching nothing.
fn absolute(cwd: &Path, path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in cwd.join(path).components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => out.push(part),
        }
    }
    out
}
