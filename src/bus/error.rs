//! Why the bus refuses: one variant per check, and the code each is told with.

use std::time::Duration;

use serde_json::json;

use crate::failure::{Code, Failure};

/// Why the bus refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The topic of a draft is not one.
    #[error("{topic:?} is not a topic")]
    Topic {
        /// What was given, shortened.
        topic: String,
    },
    /// The pattern of a subscription is none.
    #[error("{pattern:?} is not a topic pattern")]
    Pattern {
        /// What was given, shortened.
        pattern: String,
    },
    /// A subscription has more patterns than [`super::topic::MAX_PATTERNS`].
    #[error("{found} patterns are more than {}", super::topic::MAX_PATTERNS)]
    Patterns {
        /// How many.
        found: usize,
    },
    /// The name of a method is not one.
    #[error("{method:?} is not a method name")]
    Method {
        /// What was given, shortened.
        method: String,
    },
    /// The payload of an event is not an object.
    #[error("the payload of {topic} is not an object")]
    PayloadShape {
        /// Of which event.
        topic: String,
    },
    /// A payload is larger than [`super::MAX_PAYLOAD`].
    #[error("the payload of {of} is larger than {} bytes of JSON", super::MAX_PAYLOAD)]
    PayloadSize {
        /// The topic or method.
        of: String,
    },
    /// A chain of requests is deeper than [`super::MAX_DEPTH`].
    #[error("the request {method} is more than {} deep in its chain", super::MAX_DEPTH)]
    Depth {
        /// Which request.
        method: String,
    },
    /// Nobody registered this method.
    #[error("there is no method {method}")]
    UnknownMethod {
        /// Which.
        method: String,
    },
    /// A method was registered a second time.
    #[error("the method {method} has a handler already")]
    Register {
        /// Which.
        method: &'static str,
    },
    /// A handler panicked; the reason is in the log, not here.
    #[error("the handler of {method} failed inside")]
    HandlerPanicked {
        /// Which.
        method: String,
    },
    /// A request took longer than its caller wants to wait.
    #[error("{method} did not answer within {}", humantime::format_duration(*after))]
    TimedOut {
        /// Which.
        method: String,
        /// How long the caller waited.
        after: Duration,
    },
    /// As many requests are being handled as may be at once.
    #[error("{} requests are being handled already", super::MAX_IN_FLIGHT)]
    InFlight,
    /// The bus was closed.
    #[error("the bus is closed")]
    Closed,
}

/// The first characters of something that came from outside, for a message.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

impl From<BusError> for Failure {
    fn from(error: BusError) -> Self {
        let message = error.to_string();
        let failure = |code| Self::new(code, message);
        match error {
            BusError::Topic { topic: _ } => failure(Code::ValidationError)
                .hint("a topic is lower-case words of letters, digits and `_`, joined by dots"),
            BusError::Pattern { pattern: _ } => {
                failure(Code::ValidationError).hint("give a topic, a prefix such as `lane.*`, or `*`")
            }
            BusError::Patterns { found: _ } => failure(Code::ValidationError).hint("give a prefix instead"),
            BusError::Method { method: _ } => failure(Code::ValidationError)
                .hint("a method is lower-case words of letters, digits and `_`, joined by dots"),
            BusError::PayloadShape { topic: _ } => failure(Code::ValidationError),
            BusError::PayloadSize { of: _ } => {
                failure(Code::ValidationError).hint("put what is large into a file and send its path")
            }
            BusError::Depth { method: _ } => failure(Code::ValidationError)
                .hint("a handler calls itself through other handlers; look for the circle"),
            BusError::UnknownMethod { method } => failure(Code::MethodNotFound)
                .hint("`lanes api schema` lists the methods")
                .details(json!({ "method": method })),
            BusError::Register { method: _ } => failure(Code::ValidationError),
            BusError::HandlerPanicked { method: _ } => failure(Code::HandlerError)
                .hint("this is a fault of ours; the log of the runtime has the reason"),
            BusError::TimedOut { method, after } => failure(Code::Timeout)
                .hint("ask for the state before you try again: the request may still have an effect")
                .details(json!({ "method": method, "timeout_ms": after.as_millis() as u64 })),
            BusError::InFlight => failure(Code::Backpressure).hint("try again in a moment"),
            BusError::Closed => {
                failure(Code::DaemonDown).hint("the runtime is shutting down; try again when it is back")
            }
        }
    }
}
