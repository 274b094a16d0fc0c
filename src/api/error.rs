//! What goes wrong between a client and the runtime, before any handler is asked.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::{PROTOCOL_MAX, PROTOCOL_MIN};
use crate::failure::{Code, Failure};

/// What goes wrong between a client and the runtime.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody listens.
    #[error("no runtime serves {}", home.display())]
    NobodyThere {
        /// The home.
        home: PathBuf,
    },
    /// The socket is there and cannot be used.
    #[error("could not connect to {}: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else listens on our socket.
    #[error("{} is served by user {uid}, not by you", path.display())]
    ForeignServer {
        /// The socket.
        path: PathBuf,
        /// Whose.
        uid: u32,
    },
    /// The connection ended while something was asked.
    #[error("the connection to the runtime ended")]
    Lost,
    /// The runtime took too long.
    #[error("the runtime did not answer {method} within {}", humantime::format_duration(*after))]
    TimedOut {
        /// What was asked.
        method: String,
        /// How long was waited.
        after: Duration,
    },
    /// As many calls wait on one connection as may.
    #[error("{limit} requests wait on this connection already")]
    TooMany {
        /// How many.
        limit: usize,
    },
    /// A request that does not fit into a line.
    #[error("the request {method} has {len} bytes, more than {}", super::MAX_LINE)]
    RequestSize {
        /// Which.
        method: String,
        /// How large.
        len: usize,
    },
    /// Parameters that cannot be written as JSON.
    #[error("the parameters of {method} cannot be written: {source}")]
    WriteParams {
        /// Of which request.
        method: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// Parameters that are not an object.
    #[error("the parameters of {method} are not an object")]
    ParamsShape {
        /// Of which request.
        method: String,
    },
    /// A reply of another shape than this version knows.
    #[error("the reply to {method} was not understood: {source}")]
    ReadReply {
        /// To which request.
        method: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The other side does not speak the protocol.
    #[error("the other side does not speak the protocol: {what}")]
    NotOurProtocol {
        /// What was received.
        what: &'static str,
    },
    /// The two sides have no version in common.
    #[error(
        "client speaks protocol {client_min} to {client_max}, the runtime {PROTOCOL_MIN} to {PROTOCOL_MAX}"
    )]
    Versions {
        /// The client's oldest.
        client_min: u32,
        /// The client's newest.
        client_max: u32,
    },
    /// The journal was rebuilt between two connections.
    #[error("the journal was rebuilt: offset {offset} belongs to epoch {before}, the runtime is at {now}")]
    EpochChanged {
        /// Where the reader was.
        offset: u64,
        /// In which epoch.
        before: String,
        /// The epoch now.
        now: String,
    },
    /// Copying between the standard streams and the socket.
    #[error("could not {attempt}: {source}")]
    Bridge {
        /// What was attempted.
        attempt: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let message = error.to_string();
        let failure = |code| Self::new(code, message);
        match error {
            ApiError::NobodyThere { home: _ } => {
                failure(Code::DaemonDown).hint("start it with `lanes daemon start`")
            }
            ApiError::Connect { path: _, source: _ } => {
                failure(Code::DaemonDown).hint("look at `lanes daemon status` and at daemon.log in its home")
            }
            ApiError::ForeignServer { path: _, uid } => {
                let mut failure = failure(Code::DaemonDown)
                    .hint("remove the socket, or choose a home of your own with --home")
                    .details(json!({ "uid": uid }));
                failure.retryable = false;
                failure
            }
            ApiError::Lost => failure(Code::DaemonDown)
                .hint("ask for the state before you try again: the request may still have an effect"),
            ApiError::TimedOut { method, after } => failure(Code::Timeout)
                .hint("ask for the state before you try again: the request may still have an effect")
                .details(json!({ "method": method, "timeout_ms": after.as_millis() as u64 })),
            ApiError::TooMany { limit: _ } => failure(Code::Backpressure).hint("try again in a moment"),
            ApiError::RequestSize { method: _, len: _ } => {
                failure(Code::ValidationError).hint("put what is large into a file and send its path")
            }
            ApiError::WriteParams { .. } | ApiError::ParamsShape { method: _ } => {
                failure(Code::ValidationError)
            }
            ApiError::ReadReply { .. } | ApiError::NotOurProtocol { what: _ } => {
                failure(Code::ProtocolMismatch).hint(RESTART)
            }
            ApiError::Versions { client_min, client_max } => {
                failure(Code::ProtocolMismatch).hint(RESTART).details(json!({
                    "client": { "min": client_min, "max": client_max },
                    "runtime": { "min": PROTOCOL_MIN, "max": PROTOCOL_MAX },
                }))
            }
            ApiError::EpochChanged { offset, before, now } => failure(Code::Io)
                .hint("take a new snapshot and follow from its offset")
                .details(json!({ "offset": offset, "epoch_before": before, "epoch": now })),
            ApiError::Bridge { attempt: _, source: _ } => failure(Code::Io),
        }
    }
}

/// What to do when the versions differ.
const RESTART: &str = "client and runtime are of different versions; `lanes daemon restart` starts the \
                       installed one, lanes and their tasks go on";
