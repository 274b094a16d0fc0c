//! Requests about events, the trash, approvals, recovery, and the runtime itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::owner::Owner;
use super::recover::Extent;
use crate::api::{
    At, DaemonReply, DaemonView, Hello, HelloReply, Nothing, PROTOCOL_MAX, PROTOCOL_MIN, ReconcileParams,
    RepairsReply, Replay, ReplayReply, SnapshotReply, Span, TrashEmptyParams, TrashReply, TrashView,
    TrustParams, TrustReply,
};
use crate::bus::{Context, Query, Table};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::lanes::table::State;
use crate::lanes::workspace::Workspace;
use crate::raw::Raw;
use crate::worktree::{TrashEntry, layout, trash};

/// The most events in one reply of `event.replay`.
const REPLAY_PAGE: usize = 1000;

impl Owner {
    /// `daemon.hello`.
    pub(super) async fn hello(&self, asked: Hello, _context: Context) -> Result<HelloReply, Failure> {
        let newest = asked.protocol_max.min(PROTOCOL_MAX);
        if newest < asked.protocol_min.max(PROTOCOL_MIN) {
            let message = format!(
                "this runtime speaks protocol {PROTOCOL_MIN} to {PROTOCOL_MAX}, the client {} to {}",
                asked.protocol_min, asked.protocol_max
            );
            return Err(Failure::new(Code::ProtocolMismatch, message)
                .hint("restart the older of the two: lanes daemon restart keeps every lane running"));
        }
        Ok(HelloReply {
            protocol: newest,
            version: env!("CARGO_PKG_VERSION").into(),
            epoch: self.bus.head().1,
            capabilities: self.bus.methods().into_iter().map(str::to_owned).collect(),
        })
    }

    /// `daemon.status`.
    pub(super) async fn status(&self, _asked: Nothing, _context: Context) -> Result<DaemonReply, Failure> {
        Ok(DaemonReply {
            daemon: DaemonView {
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").into(),
                protocol: PROTOCOL_MAX,
                home: self.home.path().into(),
                uptime_s: self.started.elapsed().as_secs(),
                lanes: self.registry.open() as u64,
                safe_mode: self.safe_mode.is_some(),
                notes: self.notes.clone(),
            },
        })
    }

    /// `daemon.stop`.
    pub(super) async fn stop_asked(&self, _asked: Nothing, context: Context) -> Result<Nothing, Failure> {
        self.guard(&context, None, "stop the runtime of")?;
        self.stop.cancel();
        Ok(Nothing {})
    }

    /// `event.replay`.
    pub(super) async fn replay(&self, asked: Replay, _context: Context) -> Result<ReplayReply, Failure> {
        let lane = match &asked.lane {
            Some(words) => Some(self.find(words).await?.lane().id),
            None => None,
        };
        let limit = match usize::try_from(asked.limit) {
            Ok(0) | Err(_) => REPLAY_PAGE,
            Ok(limit) => limit.min(REPLAY_PAGE),
        };
        let page = self.bus.read(Query { since: asked.since, limit, patterns: asked.topics, lane }).await?;
        Ok(ReplayReply {
            events: page.events.iter().map(|event| crate::bus::Event::clone(event)).collect(),
            gap: page.gap.map(|(from, to)| Span { from, to }),
            next: page.next,
            head: page.head,
            epoch: self.bus.head().1,
        })
    }

    /// `state.snapshot`.
    pub(super) async fn snapshot(
        &self,
        _asked: Nothing,
        _context: Context,
    ) -> Result<SnapshotReply, Failure> {
        let snapshot = self.bus.snapshot(vec![Table::Lanes, Table::Tasks]).await?;
        let lanes = crate::recovery::records::lanes(&snapshot);
        let open = lanes.iter().filter(|lane| lane.state() != State::Closed);
        Ok(SnapshotReply {
            offset: snapshot.offset,
            epoch: snapshot.epoch,
            lanes: open.map(|lane| self.view(lane)).collect(),
        })
    }

    /// `trash.list`.
    pub(super) async fn trash_list(&self, asked: At, _context: Context) -> Result<TrashReply, Failure> {
        let workspace = self.workspaces.at(asked.cwd.as_path()).await?;
        let entries = self.trash_of(&workspace).await?;
        Ok(TrashReply { trash: self.trash_views(&workspace, &entries).await? })
    }

    /// `trash.empty`.
    pub(super) async fn trash_empty(
        &self,
        asked: TrashEmptyParams,
        context: Context,
    ) -> Result<TrashReply, Failure> {
        self.guard(&context, None, "empty the trash of")?;
        let workspace = self.workspaces.at(asked.cwd.as_path()).await?;
        let mut entries = self.trash_of(&workspace).await?;
        if !asked.lanes.is_empty() {
            for words in &asked.lanes {
                if !entries.iter().any(|entry| is_meant(entry, &words.lossy())) {
                    return Err(nothing_in_trash(&words.lossy()));
                }
            }
            entries.retain(|entry| asked.lanes.iter().any(|words| is_meant(entry, &words.lossy())));
        }
        let views = self.trash_views(&workspace, &entries).await?;
        let _emptying = self.watch.emptying();
        self.live.empty_trash(&workspace.repo, &entries).await?;
        Ok(TrashReply { trash: views })
    }

    /// The folder of a workspace's trees.
    pub(super) fn root(&self, workspace: &Workspace, config: &Config) -> Result<PathBuf, Failure> {
        let wanted = config.worktree.root.as_deref();
        Ok(layout::choose(&workspace.repo, wanted, &self.home.worktrees())?.path)
    }

    /// The trash of a workspace, in every root it has used, the oldest first; only what is ours.
    pub(super) async fn trash_of(&self, workspace: &Workspace) -> Result<Vec<TrashEntry>, Failure> {
        let config = self.workspaces.config(&workspace.repo).await?;
        let wanted = config.worktree.root.as_deref();
        let now = layout::find(&workspace.repo, wanted, &self.home.worktrees())?.path;
        // As lanes have it written down; one that is not there has no trash.
        let now = now.canonicalize().unwrap_or(now);
        let mut roots = std::collections::BTreeSet::from([now]);
        for lane in self.records().await? {
            if lane.workspace_id() == workspace.id {
                roots.insert(lane.order.root.to_path_buf());
            }
        }
        let home = self.home.path().to_path_buf();
        tokio::task::spawn_blocking(move || {
            let mut entries = Vec::new();
            for root in &roots {
                entries.extend(trash::list(root)?);
            }
            entries.retain(|entry| entry.order.home.as_path() == home);
            entries.sort_by_key(|entry| (entry.at, entry.order.lane_id));
            Ok(entries)
        })
        .await
        .map_err(|_aborted| Failure::new(Code::DaemonDown, "the runtime is stopping").hint("try again"))?
    }

    async fn trash_views(
        &self,
        workspace: &Workspace,
        entries: &[TrashEntry],
    ) -> Result<Vec<TrashView>, Failure> {
        let keep = self.workspaces.config(&workspace.repo).await?.trash.keep;
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        let entries = entries.to_vec();
        tokio::task::spawn_blocking(move || {
            entries
                .iter()
                .map(|entry| TrashView {
                    id: entry.order.lane_id,
                    name: entry.order.name.clone(),
                    branch: entry.on_branch.clone().unwrap_or_else(|| entry.order.branch.name.clone()),
                    head: entry.head.clone(),
                    at: entry.at,
                    expires: Timestamp(entry.at.as_ms().saturating_add(keep)),
                    saved: entry.saved.clone(),
                    bytes: trash::size(entry).unwrap_or(0),
                    path: trash_dir(entry),
                })
                .collect()
        })
        .await
        .map_err(|_aborted| Failure::new(Code::DaemonDown, "the runtime is stopping").hint("try again"))
    }

    /// The newest entry of that name or id.
    pub(super) async fn trash_entry(
        &self,
        words: &Raw,
        cwd: &Path,
    ) -> Result<(Arc<Workspace>, TrashEntry), Failure> {
        let text = words.lossy();
        let workspaces = match self.workspaces.at(cwd).await {
            Ok(workspace) => vec![workspace],
            Err(_elsewhere) => self.workspaces.all(),
        };
        for workspace in workspaces {
            let entries = self.trash_of(&workspace).await?;
            if let Some(entry) = entries.into_iter().rev().find(|entry| is_meant(entry, &text)) {
                return Ok((workspace, entry));
            }
        }
        Err(nothing_in_trash(&text))
    }

    /// `trust`.
    pub(super) async fn trust(&self, asked: TrustParams, context: Context) -> Result<TrustReply, Failure> {
        let workspace = self.workspaces.at(asked.cwd.as_path()).await?;
        let loaded = self.workspaces.loaded(&workspace.repo).await?;
        let approvals = self.workspaces.approvals();
        let common_dir = &workspace.repo.common_dir;
        if asked.revoke || asked.approve.is_some() {
            self.guard(&context, None, "change approvals of")?;
        }
        if asked.revoke {
            approvals.revoke(common_dir)?;
        } else if let Some(shown) = &asked.approve {
            if *shown != loaded.fingerprint {
                return Err(Failure::new(
                    Code::NotTrusted,
                    "the configuration has changed since it was shown",
                )
                .hint("look at it again: lanes trust"));
            }
            approvals.approve(common_dir, shown)?;
        }
        let approved = loaded.asks.is_empty() || approvals.is_approved(common_dir, &loaded.fingerprint)?;
        let items = loaded.asks.iter().map(ToString::to_string).collect();
        Ok(TrustReply { items, fingerprint: loaded.fingerprint, approved })
    }

    /// `reconcile`.
    pub(super) async fn reconcile(
        self: &Arc<Self>,
        asked: ReconcileParams,
        context: Context,
    ) -> Result<RepairsReply, Failure> {
        let extent = if asked.dry_run { Extent::Look } else { Extent::Repair };
        let repairs = {
            let _suspended = self.watch.turn().await;
            self.recover(extent, &context).await?
        };
        Ok(RepairsReply { repairs, suggestions: self.count_suggestions().await })
    }
}

fn trash_dir(entry: &TrashEntry) -> Raw {
    entry.order.root.as_path().join(".trash").join(entry.order.lane_id.text().as_str()).into()
}

fn is_meant(entry: &TrashEntry, text: &str) -> bool {
    let id = entry.order.lane_id.text();
    entry.order.name.eq_ignore_ascii_case(text) || (text.len() >= 5 && id.as_str().starts_with(text))
}

fn nothing_in_trash(text: &str) -> Failure {
    let shown: String = text.chars().take(80).collect();
    Failure::new(Code::LaneNotFound, format!("there is nothing of a lane {shown:?} in the trash"))
        .hint("lanes trash ls shows what can be restored")
}
