//! The seam to everything outside that a lane needs done: git, processes, terminals.

use tokio::sync::mpsc;

use super::machine::Input;
use crate::bus::{BoxFuture, Context};
use crate::failure::Failure;
use crate::ids::{CorrelationId, TaskId};
use crate::keeper::{Exit, Identity};
use crate::lanes::lane::{Lane, Task};
use crate::task::Recipe;
use crate::worktree::{Changes, Tree};

/// What a keeper is told beyond the task's record: never written to the store, because it may hold secrets.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// Program and arguments, whole.
    pub argv: Vec<crate::raw::Raw>,
    /// The environment, our own variables not yet in it.
    pub env: Vec<(crate::raw::Raw, crate::raw::Raw)>,
    /// Below the tree of the lane, or nothing for the tree itself.
    pub dir: Option<crate::raw::Raw>,
    /// After so long the tree of processes is ended.
    pub timeout_ms: Option<u64>,
    /// How it is started again after a reboot, when it is to be.
    pub recipe: Option<Recipe>,
    /// The request that starts it; the keeper writes it down, so that the end belongs to it too.
    pub correlation_id: Option<CorrelationId>,
}

/// Where an effect that goes on tells its lane what it sees.
pub type Tell = mpsc::Sender<Input>;

/// What became of a retired lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// What was kept and how to get it back, for people.
    pub notes: Vec<String>,
}

/// Does what a lane asks for. Every call may be made again after a crash; dropping a future stops the
/// work at its next safe point.
pub trait World: Send + Sync + 'static {
    /// Makes the tree; on failure nothing of it is left.
    fn provision(&self, lane: Lane, context: Context) -> BoxFuture<'static, Result<Tree, Failure>>;

    /// Undoes what a crash has left of making the tree and answers why the lane is closed; or finds that
    /// the tree was finished, which is then never undone.
    fn rollback(&self, lane: Lane) -> BoxFuture<'static, Result<Tree, Failure>>;

    /// The keeper of a task that was being started when the runtime ended, if there is one.
    fn adopt(&self, task: Task) -> BoxFuture<'static, Option<Identity>>;

    /// Starts the keeper of a task and answers when its command is alive.
    fn start(&self, lane: Lane, task: Task, launch: Launch) -> BoxFuture<'static, Result<Identity, Failure>>;

    /// Answers when the task's command has ended; `tell` takes what is seen of it before.
    fn ended(&self, task: Task, tell: Tell) -> BoxFuture<'static, Exit>;

    /// Answers when nothing of an ended task runs any more; `tell` as before.
    fn gone(&self, task: Task, tell: Tell) -> BoxFuture<'static, ()>;

    /// Stops every task side by side, ends the keepers, retires the tree.
    fn clean(&self, lane: Lane, context: Context) -> BoxFuture<'static, Result<Retired, Failure>>;

    /// Counts what the lane has changed: the commit of HEAD, and the numbers.
    fn count(&self, lane: Lane) -> BoxFuture<'static, Result<(Option<String>, Changes), Failure>>;

    /// Forgets whatever it kept in memory for a task that is gone.
    fn forget(&self, task: TaskId);
}
