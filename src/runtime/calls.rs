//! The facade's requests by name, for embedders: each is one [`Runtime::call`].

use std::path::Path;
use std::time::Duration;

use super::Runtime;
use crate::api::{
    self, AgentRef, At, Chunk, Cleanup, Command, Create, CreateReply, Exec, Input, InputReply, LaneRef,
    LaneResult, LaneView, List, Logs, LogsReply, Restore, SnapshotReply, TaskRef, TaskReply, TaskView,
    TrashView, Wait,
};
use crate::failure::Failure;
use crate::ids::{LaneId, TaskId};
use crate::raw::Raw;

fn by_id(lane: LaneId) -> LaneRef {
    LaneRef { lane: lane.to_string().into(), cwd: Raw::default() }
}

impl Runtime {
    /// Makes a lane; answers when it is ready.
    ///
    /// # Errors
    /// `NOT_A_REPOSITORY`, `NO_COMMITS`, `BASE_NOT_FOUND`, `NAME_*`, `BRANCH_*`, `AT_CAPACITY`, `NOT_TRUSTED`,
    /// `DISK_LOW`, `GIT_*`; nothing is left behind then.
    pub async fn create(&self, lane: Create) -> Result<CreateReply, Failure> {
        self.call::<api::LaneCreate>(lane).await
    }

    /// The open lanes of the workspace that `cwd` is in.
    ///
    /// # Errors
    /// `NOT_A_REPOSITORY`.
    pub async fn lanes(&self, cwd: &Path) -> Result<Vec<LaneView>, Failure> {
        let list = List { cwd: cwd.into(), all: false, everywhere: false };
        Ok(self.call::<api::LaneList>(list).await?.lanes)
    }

    /// One lane, with its changes counted now.
    ///
    /// # Errors
    /// `LANE_NOT_FOUND`.
    pub async fn lane(&self, lane: LaneId) -> Result<LaneView, Failure> {
        Ok(self.call::<api::LaneGet>(by_id(lane)).await?.lane)
    }

    /// Starts a run; answers when its command is alive.
    ///
    /// # Errors
    /// `LANE_BUSY`, `LANE_NOT_SHARED`, `INVALID_TRANSITION`, `COMMAND_NOT_FOUND`, `LANE_NOT_FOUND`.
    pub async fn run(
        &self,
        lane: LaneId,
        command: Command,
        timeout: Option<Duration>,
    ) -> Result<TaskReply, Failure> {
        let timeout_ms = timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        let exec = Exec {
            lane: by_id(lane),
            command,
            stdin: false,
            timeout_ms,
            agent: None,
            heartbeat_ms: None,
            detached: false,
        };
        self.call::<api::TaskExec>(exec).await
    }

    /// Starts a run for an agent, who joins a shared lane with it.
    ///
    /// # Errors
    /// As [`Runtime::run`].
    pub async fn run_as(&self, lane: LaneId, agent: &str, command: Command) -> Result<TaskReply, Failure> {
        let exec = Exec {
            lane: by_id(lane),
            command,
            stdin: false,
            timeout_ms: None,
            heartbeat_ms: None,
            detached: false,
            agent: Some(agent.to_owned()),
        };
        self.call::<api::TaskExec>(exec).await
    }

    /// Starts a terminal; answers when its command is alive.
    ///
    /// # Errors
    /// As [`Runtime::run`].
    pub async fn terminal(&self, lane: LaneId, command: Command) -> Result<TaskReply, Failure> {
        let attach = api::Attach { lane: by_id(lane), terminal: None, new: true, command };
        self.call::<api::TaskAttach>(attach).await
    }

    /// Writes to a task: types into a terminal, or feeds a run's standard input.
    ///
    /// # Errors
    /// `TASK_NOT_FOUND`, `BACKPRESSURE` when it does not read.
    pub async fn input(&self, task: TaskId, bytes: &[u8]) -> Result<InputReply, Failure> {
        let input =
            Input { lane: None, task: Some(task.to_string()), data: Raw(bytes.to_vec()), enter: false };
        self.call::<api::TaskInput>(input).await
    }

    /// Recorded output from a byte on.
    ///
    /// # Errors
    /// `TASK_NOT_FOUND`.
    pub async fn logs(&self, task: TaskId, since: u64) -> Result<LogsReply, Failure> {
        let task = TaskRef { task: task.to_string(), lane: None };
        self.call::<api::TaskLogs>(Logs { task, since, limit: 0 }).await
    }

    /// All recorded output of one stream of a task, as it is now.
    ///
    /// # Errors
    /// `TASK_NOT_FOUND`.
    pub async fn output(&self, task: TaskId, stream: &str) -> Result<Vec<u8>, Failure> {
        let (mut bytes, mut since) = (Vec::new(), 0);
        loop {
            let page = self.logs(task, since).await?;
            let wanted = |chunk: &&Chunk| chunk.stream == stream;
            page.chunks
                .iter()
                .filter(wanted)
                .for_each(|chunk| bytes.extend_from_slice(chunk.data.as_bytes()));
            if page.next <= since {
                return Ok(bytes);
            }
            since = page.next;
        }
    }

    /// Waits until no task of the lane is live; answers with the one that ended last.
    ///
    /// # Errors
    /// `TIMEOUT`, `LANE_NOT_FOUND`.
    pub async fn wait_for_exit(
        &self,
        lane: LaneId,
        timeout: Option<Duration>,
    ) -> Result<Option<TaskView>, Failure> {
        let timeout_ms = timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        let wait = Wait { lane: by_id(lane), until: "exit".into(), timeout_ms };
        Ok(self.call::<api::LaneWait>(wait).await?.task)
    }

    /// Lets several agents into a lane.
    ///
    /// # Errors
    /// `INVALID_TRANSITION`, `LANE_NOT_FOUND`.
    pub async fn share(&self, lane: LaneId) -> Result<LaneView, Failure> {
        Ok(self.call::<api::LaneShare>(by_id(lane)).await?.lane)
    }

    /// Ends that.
    ///
    /// # Errors
    /// `SHARED_IN_USE`, `INVALID_TRANSITION`, `LANE_NOT_FOUND`.
    pub async fn unshare(&self, lane: LaneId) -> Result<LaneView, Failure> {
        Ok(self.call::<api::LaneUnshare>(by_id(lane)).await?.lane)
    }

    /// Attaches an agent.
    ///
    /// # Errors
    /// `LANE_NOT_SHARED`, `INVALID_TRANSITION`, `LANE_NOT_FOUND`.
    pub async fn join_lane(&self, lane: LaneId, agent: &str) -> Result<LaneView, Failure> {
        let asked = AgentRef { lane: by_id(lane), agent: agent.to_owned() };
        Ok(self.call::<api::LaneJoin>(asked).await?.lane)
    }

    /// Detaches an agent.
    ///
    /// # Errors
    /// `LANE_NOT_FOUND`.
    pub async fn leave_lane(&self, lane: LaneId, agent: &str) -> Result<LaneView, Failure> {
        let asked = AgentRef { lane: by_id(lane), agent: agent.to_owned() };
        Ok(self.call::<api::LaneLeave>(asked).await?.lane)
    }

    /// Ends a lane; what it held can be restored. `force` detaches the agents of a shared lane.
    ///
    /// # Errors
    /// `SHARED_IN_USE`, and what stood in the way; asking again goes on from there.
    pub async fn close(&self, lane: LaneId, force: bool) -> Result<LaneResult, Failure> {
        let asked = Cleanup { lanes: vec![lane.to_string().into()], force, ..Cleanup::default() };
        let results = self.call::<api::LaneCleanup>(asked).await?.results;
        let mut result = results.into_iter().next().expect("invariant: one lane, one result");
        match result.error.take() {
            Some(failure) => Err(failure),
            None => Ok(result),
        }
    }

    /// Brings a closed lane back as a new one.
    ///
    /// # Errors
    /// `LANE_NOT_FOUND` when it is not in the trash, `NAME_TAKEN`, `AT_CAPACITY`, `GIT_*`.
    pub async fn restore(&self, lane: LaneId, cwd: &Path) -> Result<LaneView, Failure> {
        let asked = Restore { lane: lane.to_string().into(), cwd: cwd.into(), name: None };
        Ok(self.call::<api::LaneRestore>(asked).await?.lane)
    }

    /// What can be restored in the workspace that `cwd` is in.
    ///
    /// # Errors
    /// `NOT_A_REPOSITORY`.
    pub async fn trash(&self, cwd: &Path) -> Result<Vec<TrashView>, Failure> {
        Ok(self.call::<api::TrashList>(At { cwd: cwd.into() }).await?.trash)
    }

    /// The open lanes as of one offset, to follow from there without a hole.
    ///
    /// # Errors
    /// What the store says.
    pub async fn snapshot(&self) -> Result<SnapshotReply, Failure> {
        self.call::<api::StateSnapshot>(api::Nothing {}).await
    }
}
