//! What a caller is told when a request cannot be done: a stable code, a message, what to do.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fault::Injected;

/// The stable codes. Their names are on the wire and in scripts; they do not change.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the names are the documentation, and DESIGN says when each is given")]
pub enum Code {
    NotARepository,
    NoCommits,
    BaseNotFound,
    LaneNotFound,
    TaskNotFound,
    OrphanNotFound,
    NameTaken,
    NameInvalid,
    BranchExists,
    BranchCheckedOut,
    AtCapacity,
    InvalidTransition,
    LaneBusy,
    LaneNotShared,
    SharedInUse,
    NotYourLane,
    NotTrusted,
    DiskLow,
    Busy,
    SafeMode,
    DaemonDown,
    ProtocolMismatch,
    StoreNewer,
    GitMissing,
    GitTooOld,
    GitFailed,
    GitTimeout,
    CommandNotFound,
    TerminalContextMismatch,
    ConfigInvalid,
    Io,
    ValidationError,
    MethodNotFound,
    HandlerError,
    Timeout,
    Backpressure,
}

impl Code {
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 36] = [
        Self::NotARepository,
        Self::NoCommits,
        Self::BaseNotFound,
        Self::LaneNotFound,
        Self::TaskNotFound,
        Self::OrphanNotFound,
        Self::NameTaken,
        Self::NameInvalid,
        Self::BranchExists,
        Self::BranchCheckedOut,
        Self::AtCapacity,
        Self::InvalidTransition,
        Self::LaneBusy,
        Self::LaneNotShared,
        Self::SharedInUse,
        Self::NotYourLane,
        Self::NotTrusted,
        Self::DiskLow,
        Self::Busy,
        Self::SafeMode,
        Self::DaemonDown,
        Self::ProtocolMismatch,
        Self::StoreNewer,
        Self::GitMissing,
        Self::GitTooOld,
        Self::GitFailed,
        Self::GitTimeout,
        Self::CommandNotFound,
        Self::TerminalContextMismatch,
        Self::ConfigInvalid,
        Self::Io,
        Self::ValidationError,
        Self::MethodNotFound,
        Self::HandlerError,
        Self::Timeout,
        Self::Backpressure,
    ];

    /// True when the same request may succeed later without anybody changing anything else.
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::LaneBusy
                | Self::Busy
                | Self::DaemonDown
                | Self::GitTimeout
                | Self::DiskLow
                | Self::Timeout
                | Self::Backpressure
        )
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match serde_json::to_value(self) {
            Ok(Value::String(name)) => f.pad(&name),
            Ok(_) | Err(_) => unreachable!("invariant: a code is written as a string"),
        }
    }
}

/// What helps against a full disk.
pub const DISK_HINT: &str = "free some space on that disk, then try again (lanes gc, lanes trash empty and lanes cleanup --merged may help)";

/// The code of an error of the system, and what helps against it.
pub fn about(source: &std::io::Error) -> (Code, &'static str) {
    match source.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => (Code::DiskLow, DISK_HINT),
        Some(libc::EMFILE | libc::ENFILE) => {
            (Code::Io, "too many files are open: raise the limit (ulimit -n), then: lanes daemon restart")
        }
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => {
            (Code::Io, "look who it belongs to and whether it may be written to, then try again")
        }
        Some(libc::EIO) => (Code::Io, "the disk has a fault: the log of the system says more (dmesg)"),
        Some(_) | None => (Code::Io, "correct that, then try again"),
    }
}

/// A refusal or an error as a caller sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The stable code.
    pub code: Code,
    /// What went wrong, for people; lower case, no final stop.
    pub message: String,
    /// What to do about it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// True when trying the same again later may work.
    pub retryable: bool,
    /// Facts for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

impl From<Injected> for Failure {
    fn from(injected: Injected) -> Self {
        Self::io(format_args!("pass {}", injected.name), &injected.source)
    }
}

impl Failure {
    /// A failure without hint and details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, retryable: code.retryable(), details: None }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with facts for programs.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// An I/O failure with what was attempted.
    pub fn io(attempt: impl std::fmt::Display, source: &std::io::Error) -> Self {
        Self::system(format!("could not {attempt}: {source}"), source)
    }

    /// What happened and what helps, in one line.
    pub fn with_hint(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}; {hint}", self.message),
            None => self.message.clone(),
        }
    }

    /// An I/O failure in a place for which `hint` says what helps, but against a full disk.
    pub fn in_place(message: impl Into<String>, source: &std::io::Error, hint: &str) -> Self {
        match about(source) {
            (Code::DiskLow, helps) => Self::new(Code::DiskLow, message).hint(helps),
            _of_the_place => Self::new(Code::Io, message).hint(hint),
        }
    }

    /// A failure whose message names what the system said: the code and the hint are those of that.
    pub fn system(message: impl Into<String>, source: &std::io::Error) -> Self {
        let (code, hint) = about(source);
        Self::new(code, message).hint(hint)
    }
}
