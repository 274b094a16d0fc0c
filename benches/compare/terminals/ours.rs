//! Our side: a daemon, a lane, its terminals.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use lanes::api::{
    Attach, Cleanup, Create, DaemonStop, LaneCleanup, LaneCreate, LaneRef, LaneShare, LaneView, Nothing,
    Size, TaskAttach, TaskKill, TaskRef, TaskView,
};
use lanes::raw::Raw;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::peers::Side;
use super::stage::Stage;
use crate::yard::{Daemon, LANES};

/// So many requests are on the way at once: fewer than a lane's owner takes.
const IN_FLIGHT: usize = 48;

/// A daemon, a lane, its terminals.
pub(super) struct Ours {
    runtime: Runtime,
    daemon: Option<Daemon>,
    lane: Option<LaneView>,
    terminals: BTreeMap<String, TaskView>,
    lanes_made: u32,
}

impl Ours {
    /// Starts a daemon.
    pub(super) fn new(stage: &Stage) -> Result<Self, String> {
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        let daemon = Some(runtime.block_on(Daemon::start(&stage.yard))?);
        Ok(Self { runtime, daemon, lane: None, terminals: BTreeMap::new(), lanes_made: 0 })
    }

    fn daemon(&self) -> Result<&Daemon, String> {
        self.daemon.as_ref().ok_or_else(|| "the daemon is down".to_owned())
    }

    /// The lane of this round, made when there is none.
    pub(super) fn lane(&mut self, stage: &Stage) -> Result<LaneView, String> {
        if let Some(lane) = &self.lane {
            return Ok(lane.clone());
        }
        self.lanes_made += 1;
        let name = Some(format!("terminals-{}", self.lanes_made));
        let wanted = Create { cwd: stage.yard.repo.as_path().into(), name, ..Create::default() };
        let made = self.runtime.block_on(self.daemon()?.client.call::<LaneCreate>(wanted));
        let lane = made.map_err(|failure| failure.to_string())?.lane;
        self.lane = Some(lane.clone());
        Ok(lane)
    }

    /// Starts many, over one connection; their processes.
    pub(super) fn start_many(
        &mut self,
        stage: &Stage,
        names: &[String],
        argv: &[String],
    ) -> Result<Vec<u32>, String> {
        let lane = self.lane(stage)?;
        let client = self.daemon()?.client.clone();
        let turns = Arc::new(Semaphore::new(IN_FLIGHT));
        let started = self.runtime.block_on(async {
            let mut starting = JoinSet::new();
            for name in names {
                let (client, turns, name) = (client.clone(), Arc::clone(&turns), name.clone());
                let wanted = asked(stage, &lane, argv);
                starting.spawn(async move {
                    let _turn = turns.acquire().await;
                    (name, client.call::<TaskAttach>(wanted).await)
                });
            }
            starting.join_all().await
        });
        for (name, reply) in started {
            self.terminals.insert(name, reply.map_err(|failure| failure.to_string())?.task);
        }
        Ok(self.terminals.values().filter_map(|task| task.pid).collect())
    }

    /// Ends all terminals, each by a request of its own, over one connection.
    pub(super) fn kill_many(&mut self) -> Result<(), String> {
        let client = self.daemon()?.client.clone();
        let turns = Arc::new(Semaphore::new(IN_FLIGHT));
        let tasks = std::mem::take(&mut self.terminals);
        let ended = self.runtime.block_on(async {
            let mut ending = JoinSet::new();
            for task in tasks.into_values() {
                let (client, turns) = (client.clone(), Arc::clone(&turns));
                let wanted = TaskRef { task: task.id.to_string(), lane: None };
                ending.spawn(async move {
                    let _turn = turns.acquire().await;
                    client.call::<TaskKill>(wanted).await
                });
            }
            ending.join_all().await
        });
        ended.into_iter().try_for_each(|reply| reply.map(drop).map_err(|failure| failure.to_string()))
    }

    /// Several runs may be in the lane from now on; its name.
    pub(super) fn share(&mut self, stage: &Stage) -> Result<String, String> {
        let lane = self.lane(stage)?;
        let words = reference(stage, &lane);
        let shared = self.runtime.block_on(self.daemon()?.client.call::<LaneShare>(words));
        shared.map(|_reply| lane.name).map_err(|failure| failure.to_string())
    }

    /// Stops the daemon: the one we started, or the one that a command line started.
    pub(super) fn stop_daemon(&mut self, stage: &Stage) -> Result<(), String> {
        if let Some(daemon) = self.daemon.take() {
            let _it_may_be_gone_first = self.runtime.block_on(daemon.client.call::<DaemonStop>(Nothing {}));
            drop(daemon);
            return Ok(());
        }
        let mut command = stage.command(LANES);
        command.args(["daemon", "stop"]);
        let _not_running = stage.yard.timed(command);
        Ok(())
    }

    /// Starts it again, when it is down.
    pub(super) fn start_daemon(&mut self, stage: &Stage) -> Result<(), String> {
        if self.daemon.is_none() {
            self.daemon = Some(self.runtime.block_on(Daemon::start(&stage.yard))?);
        }
        Ok(())
    }

    /// The process of the daemon.
    pub(super) fn daemon_pid(&self) -> Result<u32, String> {
        Ok(self.daemon()?.pid)
    }

    /// The processes of the keepers.
    pub(super) fn keepers(&self) -> Vec<u32> {
        self.terminals.values().filter_map(|task| task.keeper_pid).collect()
    }
}

fn reference(stage: &Stage, lane: &LaneView) -> LaneRef {
    LaneRef { lane: Raw::from(lane.id.to_string()), cwd: stage.yard.repo.as_path().into() }
}

fn asked(stage: &Stage, lane: &LaneView, argv: &[String]) -> Attach {
    let mut env: Vec<(Raw, Raw)> =
        stage.environment().into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    if let Some(path) = std::env::var_os("PATH") {
        env.push(("PATH".into(), path.into()));
    }
    let argv = argv.iter().map(|word| Raw::from(word.as_str())).collect();
    let size = Some(Size { cols: 80, rows: 24 });
    let command = lanes::api::Command { argv, env: Some(env), size, ..lanes::api::Command::default() };
    Attach { lane: reference(stage, lane), terminal: None, new: true, command }
}

impl Side for Ours {
    fn name(&self) -> &'static str {
        "lanes"
    }

    fn start(&mut self, stage: &Stage, session: &str, argv: &[String]) -> Result<(), String> {
        self.start_many(stage, &[session.to_owned()], argv).map(drop)
    }

    fn attach(&self, stage: &Stage, session: &str) -> Result<Command, String> {
        let task = self.terminals.get(session).ok_or_else(|| format!("there is no {session}"))?;
        let mut command = stage.command(LANES);
        let lane = task.lane_id.to_string();
        command.args(["attach", &lane, "--terminal", &task.id.to_string()]);
        Ok(command)
    }

    fn end(&mut self, stage: &Stage) -> Result<(), String> {
        self.terminals.clear();
        let Some(lane) = self.lane.take() else { return Ok(()) };
        let cwd = stage.yard.repo.as_path().into();
        let lanes = vec![lane.id.to_string().into()];
        let wanted = Cleanup { cwd, lanes, force: true, ..Cleanup::default() };
        let cleaned = self.runtime.block_on(self.daemon()?.client.call::<LaneCleanup>(wanted));
        let cleaned = cleaned.map_err(|failure| failure.to_string())?;
        let failed = cleaned.results.into_iter().find_map(|result| result.error);
        failed.map_or(Ok(()), |failure| Err(failure.to_string()))
    }

    fn processes(&self, _programs: &[u32]) -> Result<Vec<u32>, String> {
        let mut processes = self.keepers();
        processes.push(self.daemon_pid()?);
        Ok(processes)
    }
}

/// What [`Ours::end`] does, when something went wrong before it.
pub(super) fn end_anyway(ours: &mut Ours, stage: &Stage) {
    if ours.lane.is_some() && ours.start_daemon(stage).is_ok() {
        let _reported_by_the_stage = ours.end(stage);
    }
}
