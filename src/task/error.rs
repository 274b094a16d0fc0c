//! Why a task could not be started, reached or read.

use std::path::PathBuf;
use std::time::Duration;

use crate::failure::{Code, Failure};
use crate::ids::TaskId;
use crate::keeper::ReadLogError;
use crate::keeper::protocol::Refusal;

/// Why a task could not be started, reached or read.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The keeper said why it could not start the command.
    #[error("{0}")]
    Start(Failure),
    /// The keeper's program could not be copied to where it outlives its original.
    #[error("could not copy the keeper {} to {}: {source}", from.display(), to.display())]
    CopyKeeper {
        /// The program.
        from: PathBuf,
        /// Where it should go.
        to: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The keeper's process could not be started.
    #[error("could not start the keeper {}: {source}", program.display())]
    SpawnKeeper {
        /// What was started.
        program: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The keeper could not be told its task, or its answer could not be read.
    #[error("could not talk to the new keeper of {task}: {source}")]
    TellKeeper {
        /// Which task.
        task: TaskId,
        /// Why not.
        source: std::io::Error,
    },
    /// The keeper ended without an answer, or with something else.
    #[error("the new keeper of {task} did not say whether its command runs")]
    NoResult {
        /// Which task.
        task: TaskId,
    },
    /// The keeper did not answer in time; it was ended, and what it had started with it.
    #[error("the new keeper of {task} said nothing for {after:?}")]
    StartTimeout {
        /// Which task.
        task: TaskId,
        /// How long it had.
        after: Duration,
    },
    /// The keeper cannot be reached; usually the task has ended.
    #[error("could not reach the keeper in {}: {source}", run_dir.display())]
    Connect {
        /// Its run folder.
        run_dir: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Somebody else's process listens there.
    #[error("the socket in {} belongs to another user", run_dir.display())]
    NotOurs {
        /// The run folder.
        run_dir: PathBuf,
    },
    /// The connection to the keeper is over; usually the task has ended.
    #[error("the keeper is gone")]
    Gone,
    /// The keeper did not answer in time. It may be slow; it is left alone.
    #[error("the keeper did not answer within {after:?}")]
    NoAnswer {
        /// How long it had.
        after: Duration,
    },
    /// The keeper said no.
    #[error("{text}")]
    Refused {
        /// Why.
        why: Refusal,
        /// In its words.
        text: String,
    },
    /// The log cannot be read.
    #[error(transparent)]
    ReadLog(#[from] ReadLogError),
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Self {
        let message = error.to_string();
        match error {
            TaskError::Start(failure) => failure,
            TaskError::StartTimeout { .. } | TaskError::NoAnswer { .. } => {
                Self::new(Code::Timeout, message).hint("the machine may be busy; try again")
            }
            TaskError::Connect { .. } | TaskError::Gone => {
                Self::new(Code::TaskNotFound, message).hint("the task has probably ended; see `lanes show`")
            }
            TaskError::Refused { why, .. } => match why {
                Refusal::Version => Self::new(Code::ProtocolMismatch, message)
                    .hint("the task was started by a version too far from this one"),
                Refusal::Size
                | Refusal::Shape
                | Refusal::Signal
                | Refusal::NoInput
                | Refusal::Unknown
                | Refusal::ReadOnly
                | Refusal::Answered => Self::new(Code::ValidationError, message),
                Refusal::Ended => Self::new(Code::TaskNotFound, message),
                Refusal::System | Refusal::Other => Self::new(Code::Io, message),
            },
            TaskError::CopyKeeper { source, .. }
            | TaskError::SpawnKeeper { source, .. }
            | TaskError::TellKeeper { source, .. } => Self::system(message, &source),
            TaskError::NoResult { .. } => {
                Self::new(Code::Io, message).hint("it was ended, perhaps for want of memory; try again")
            }
            TaskError::NotOurs { .. } => {
                Self::new(Code::Io, message).hint("look what is there; it was left alone")
            }
            TaskError::ReadLog(error) => error.into(),
        }
    }
}
