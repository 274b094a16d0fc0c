//! Requests about events, approvals, recovery, and the runtime itself.

use std::sync::Arc;

use super::owner::Owner;
use super::recover::Extent;
use crate::api::{
    DaemonReply, DaemonView, Hello, HelloReply, Nothing, PROTOCOL_MAX, PROTOCOL_MIN, ReconcileParams,
    RepairsReply, Replay, ReplayReply, SnapshotReply, Span, TrustParams, TrustReply,
};
use crate::bus::{Context, Query, Table};
use crate::failure::{Code, Failure};
use crate::lanes::table::State;

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

    /// `trust`.
    pub(super) async fn trust(&self, asked: TrustParams, context: Context) -> Result<TrustReply, Failure> {
        let workspace = self.workspace_at(asked.cwd.as_path()).await?;
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
