//! The seam to what recovery looks at and acts on beyond the store and the owners of lanes.

use crate::bus::BoxFuture;
use crate::failure::Failure;
use crate::ids::{LaneId, TaskId};
use crate::lanes::lane::{Lane, Task};
use crate::raw::Raw;
use crate::worktree::{Order, TrashEntry, Tree};

/// What lies outside, looked at once.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// Every tree or admin entry that carries an order, those of other homes too: the order, the name of
    /// the admin entry, and where the tree is.
    pub trees: Vec<(Order, String, TreeAt)>,
    /// Lanes of whose tree something begun or half undone is there that carries no order.
    pub begun: Vec<LaneId>,
    /// Every entry of the trash, and the lane it is being brought back as.
    pub trash: Vec<(TrashEntry, Option<LaneId>)>,
    /// Run folders of this home.
    pub runs: Vec<Run>,
    /// Roots of trees in which emptied trash was not freed yet.
    pub unswept: Vec<Raw>,
}

/// A run folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The task.
    pub id: TaskId,
    /// Whose, when the keeper has come to write that down.
    pub lane: Option<LaneId>,
    /// True when its keeper lives, or is on its way.
    pub keeper: bool,
}

/// Where the tree of a lane is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeAt {
    /// In its place, and provably the lane's. Device and inode as they are now: devices are numbered anew
    /// by a start of the machine.
    Here {
        /// Device.
        dev: u64,
        /// Inode.
        ino: u64,
    },
    /// Somebody moved it.
    Moved(Raw),
    /// Nowhere.
    Gone,
    /// Something else is in its place: what.
    Foreign(String),
    /// It cannot be told now: why.
    Unknown(String),
}

/// A record for a lane that had none, its tree, its tasks.
pub type FoundLane = (Lane, Tree, Vec<Task>);

/// Looks, and does what repairs need done. Every call may be repeated, and be cut off anywhere.
pub trait Outside: Send + Sync {
    /// The home whose lanes are ours.
    fn home(&self) -> Raw;

    /// Looks at everything; changes nothing.
    ///
    /// # Errors
    /// What hides all of it. What only one repository hides is left out.
    fn look(&self) -> BoxFuture<'_, Result<Outlook, Failure>>;

    /// Where the tree of a lane is now. A lane that never had one asks whether its repository can be
    /// opened: `Gone` then, `Unknown` otherwise.
    fn tree_at<'a>(&'a self, lane: &'a Lane) -> BoxFuture<'a, TreeAt>;

    /// True unless everything in a tree is certain to be elsewhere too.
    fn holds_work<'a>(&'a self, order: &'a Order, admin_id: &'a str) -> BoxFuture<'a, bool>;

    /// A record for the lane of an order, with its tree as it is found and proved to be the order's, and
    /// its tasks as their keepers wrote them down.
    ///
    /// # Errors
    /// When it cannot be proved.
    fn found<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<FoundLane, Failure>>;

    /// Retires the tree of an order, or goes on with that, and has it saved.
    ///
    /// # Errors
    /// What git and the disk say.
    fn retire<'a>(&'a self, order: &'a Order, tree: &'a Tree) -> BoxFuture<'a, Result<(), Failure>>;

    /// Takes back what a provisioning of a closed lane has left.
    ///
    /// # Errors
    /// What git and the disk say.
    fn undo<'a>(&'a self, lane: &'a Lane) -> BoxFuture<'a, Result<(), Failure>>;

    /// Puts what was being brought back into the trash again.
    ///
    /// # Errors
    /// What git and the disk say.
    fn roll_back_restore<'a>(&'a self, entry: &'a TrashEntry) -> BoxFuture<'a, Result<(), Failure>>;

    /// Ends whatever is left of a task that no open lane waits for, and removes its run folder.
    ///
    /// # Errors
    /// `BUSY` when something of it cannot be ended.
    fn end_task(&self, id: TaskId) -> BoxFuture<'_, Result<(), Failure>>;

    /// Has a retired tree saved in the background.
    fn save_later(&self, entry: &TrashEntry);

    /// Frees what was taken out of the trash of a root.
    fn sweep<'a>(&'a self, root: &'a Raw) -> BoxFuture<'a, ()>;
}
