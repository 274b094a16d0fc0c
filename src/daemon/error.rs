//! What goes wrong around the socket and its process.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::failure::{Code, Failure};
use crate::home::HomeError;

/// What goes wrong around the socket and its process.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The socket could not be bound.
    #[error("could not listen on {}: {source}", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something else lies where the socket goes.
    #[error("{} is in the way and no socket", path.display())]
    InTheWay {
        /// What.
        path: PathBuf,
    },
    /// The log could not be opened.
    #[error("could not open the log {}: {source}", path.display())]
    OpenLog {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The program could not be started.
    #[error("could not start {}: {source}", program.display())]
    Spawn {
        /// Which.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The runtime ended before it was ready.
    #[error("the runtime ended before it was ready")]
    EndedEarly {
        /// Its log.
        log: PathBuf,
    },
    /// The runtime took too long to start.
    #[error("the runtime was not ready within {}", humantime::format_duration(*after))]
    NotReady {
        /// How long was waited.
        after: Duration,
        /// Its log.
        log: PathBuf,
    },
    /// The caller is in a lane, and what it starts would end with the lane.
    #[error("no runtime serves {}, and none is started from inside a lane", home.display())]
    InsideLane {
        /// The home.
        home: PathBuf,
    },
    /// The process could not leave its caller.
    #[error("could not {attempt}: {source}")]
    Detach {
        /// What was attempted.
        attempt: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        let message = error.to_string();
        let failure = |code| Self::new(code, message.clone());
        match error {
            DaemonError::Home(error) => error.into(),
            DaemonError::Bind { source, .. } | DaemonError::OpenLog { source, .. } => {
                Self::in_place(message, &source, "choose another home with --home or LANES_HOME")
            }
            DaemonError::InTheWay { path: _ } => failure(Code::Io).hint("move it away"),
            DaemonError::Spawn { .. } | DaemonError::Detach { .. } => failure(Code::DaemonDown),
            DaemonError::EndedEarly { log } | DaemonError::NotReady { after: _, log } => {
                failure(Code::DaemonDown)
                    .hint(format!("its log says why: {}", log.display()))
                    .details(json!({ "log": crate::raw::Raw::from(log) }))
            }
            DaemonError::InsideLane { home: _ } => {
                let mut failure = failure(Code::DaemonDown)
                    .hint("run `lanes daemon start` in a shell outside of any lane, then try again");
                failure.retryable = false;
                failure
            }
        }
    }
}
