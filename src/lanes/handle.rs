//! A handle to a lane: one method per request, answered when the request has been handled.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::lane::{Lane, Task};
use super::machine::Input;
use super::table::State;
use super::world::Launch;
use crate::bus::Context;
use crate::failure::{Code, Failure};
use crate::ids::LaneId;

/// How many requests may wait for one lane. A request takes about a millisecond; a caller that finds so
/// many before it is better told than queued.
pub const MAILBOX: usize = 64;

/// What the actor is asked.
pub(super) enum Ask {
    /// Apply this input.
    Apply(Input),
    /// Start this task; answered when its command is alive or could not be started.
    Start(Box<Task>, Launch),
    /// Count the changes again.
    Count,
}

/// A request on its way.
pub(super) struct Message {
    pub(super) ask: Ask,
    pub(super) context: Context,
    pub(super) reply: oneshot::Sender<Result<Arc<Lane>, Failure>>,
}

/// A handle to a lane's owner. Cheap to clone; the lane ends by its own states, not by its handles.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) id: LaneId,
    pub(super) mailbox: mpsc::Sender<Message>,
    pub(super) view: watch::Receiver<Arc<Lane>>,
    pub(super) stuck: watch::Receiver<Option<Failure>>,
}

impl Handle {
    /// Which lane.
    pub fn id(&self) -> LaneId {
        self.id
    }

    /// The lane as it was last written down. Never waits.
    pub fn lane(&self) -> Arc<Lane> {
        Arc::clone(&self.view.borrow())
    }

    /// Applies an input; answers with the lane after it.
    ///
    /// Dropping the future does not take the request back.
    ///
    /// # Errors
    /// The machine's refusal; `BUSY` when the mailbox is full; `LANE_NOT_FOUND` when its owner has ended.
    pub async fn apply(&self, input: Input, context: Context) -> Result<Arc<Lane>, Failure> {
        self.ask(Ask::Apply(input), context).await
    }

    /// Starts a task; answers when its command is alive.
    ///
    /// # Errors
    /// As [`Handle::apply`], and why the command could not be started.
    pub async fn start(&self, task: Task, launch: Launch, context: Context) -> Result<Arc<Lane>, Failure> {
        self.ask(Ask::Start(Box::new(task), launch), context).await
    }

    /// Has the changes counted again, in the background.
    ///
    /// # Errors
    /// As [`Handle::apply`].
    pub async fn count(&self, context: Context) -> Result<Arc<Lane>, Failure> {
        self.ask(Ask::Count, context).await
    }

    /// Waits until `done` gives something for the lane, or the lane's owner has ended.
    pub async fn until<T>(&self, mut done: impl FnMut(&Lane) -> Option<T>) -> Option<T> {
        let mut view = self.view.clone();
        loop {
            if let Some(value) = done(&view.borrow_and_update()) {
                return Some(value);
            }
            if view.changed().await.is_err() {
                let last = view.borrow();
                return done(&last);
            }
        }
    }

    /// As [`Handle::until`], for one who waits for the end of what was asked for.
    ///
    /// # Errors
    /// Why what has been done cannot be written down now; once it can, it goes on by itself.
    pub async fn until_told<T>(&self, done: impl FnMut(&Lane) -> Option<T>) -> Result<Option<T>, Failure> {
        let mut stuck = self.stuck.clone();
        let why = async { stuck.wait_for(Option::is_some).await.ok().and_then(|why| why.clone()) };
        tokio::select! {
            biased;
            value = self.until(done) => Ok(value),
            Some(failure) = why => Err(failure),
        }
    }

    /// Waits until the lane's owner has ended and its name is free; gives the lane as it was last.
    pub async fn ended(&self) -> Arc<Lane> {
        let mut view = self.view.clone();
        while view.changed().await.is_ok() {}
        self.lane()
    }

    /// Waits until the lane has left `state`.
    ///
    /// # Errors
    /// As [`Handle::until_told`].
    pub async fn left(&self, state: State) -> Result<Option<Arc<Lane>>, Failure> {
        self.until_told(|lane| (lane.state() != state).then(|| Arc::new(lane.clone()))).await
    }

    async fn ask(&self, ask: Ask, context: Context) -> Result<Arc<Lane>, Failure> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.try_send(Message { ask, context, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Failure::new(
                Code::Busy,
                format!("{MAILBOX} requests wait for lane {} already", self.lane().name()),
            )
            .hint("try again in a moment"),
            mpsc::error::TrySendError::Closed(_) => self.gone(),
        })?;
        answer.await.map_err(|_ended| self.gone())?
    }

    fn gone(&self) -> Failure {
        let lane = self.lane();
        if lane.state() == State::Closed {
            return Failure::new(Code::InvalidTransition, format!("lane {} is closed", lane.name()))
                .hint(format!("bring it back as a new lane: lanes restore {}", lane.name()))
                .details(serde_json::json!({ "lane_id": lane.id, "state": State::Closed }));
        }
        Failure::new(Code::DaemonDown, "the runtime is stopping").hint("try again")
    }
}
