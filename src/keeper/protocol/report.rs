//! What a keeper says about itself and its task.

use serde::{Deserialize, Serialize};

use super::super::spec::Exit;
use crate::clock::Timestamp;
use crate::ids::TaskId;

/// A keeper lists at most so many descendants; [`Report::descendant_count`] has the true number.
pub const MAX_LISTED: usize = 64;

/// Who a keeper is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The oldest version it speaks.
    pub min: u16,
    /// The newest.
    pub max: u16,
    /// Its process.
    pub pid: u32,
    /// When that started, in clock ticks since boot.
    pub start: u64,
    /// Its task.
    pub task: TaskId,
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No common version.
    Version,
    /// The keeper does not know this kind.
    Unknown,
    /// There is no input, or it is closed.
    NoInput,
    /// Not a size.
    Size,
    /// Only a terminal can do that, or only a run.
    Shape,
    /// Not a signal that can be sent.
    Signal,
    /// Nobody is there any more.
    Ended,
    /// The system said no.
    System,
    /// The client is attached read-only.
    ReadOnly,
    /// The query was answered by somebody else, or was none.
    Answered,
    /// A reason of a later version.
    Other,
}

const REFUSALS: [(Refusal, u8); 10] = [
    (Refusal::Version, 1),
    (Refusal::Unknown, 2),
    (Refusal::NoInput, 3),
    (Refusal::Size, 4),
    (Refusal::Shape, 5),
    (Refusal::Signal, 6),
    (Refusal::Ended, 7),
    (Refusal::System, 8),
    (Refusal::ReadOnly, 9),
    (Refusal::Answered, 10),
];

impl Refusal {
    pub(super) fn number(self) -> u8 {
        REFUSALS.iter().find(|(refusal, _)| *refusal == self).map_or(u8::MAX, |(_, number)| *number)
    }

    pub(super) fn from_number(number: u8) -> Self {
        REFUSALS.iter().find(|(_, n)| *n == number).map_or(Self::Other, |(refusal, _)| *refusal)
    }
}

/// Something the program told on its terminal. Untrusted text: control characters are taken out, and what
/// is longer than 1 KiB is cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The offset after it.
    pub offset: u64,
    /// What.
    #[serde(flatten)]
    pub said: Said,
}

/// What a program can tell on its terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "lowercase")]
pub enum Said {
    /// The title of its window (OSC 0 and 2).
    Title {
        /// The title.
        title: String,
    },
    /// Its folder (OSC 7), as it wrote it: a `file:` URL.
    Cwd {
        /// The URL.
        cwd: String,
    },
    /// A prompt mark (OSC 133).
    Prompt {
        /// `A` a prompt begins, `B` it ends, `C` the command's output begins, `D` it ended.
        mark: char,
        /// The status that goes with `D`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<i32>,
    },
    /// A notification (OSC 9 and OSC 777).
    Notification {
        /// Its title.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// Its text.
        body: String,
    },
    /// Not the program but its keeper: output that could not be recorded.
    Dropped {
        /// The first offset that is missing.
        from: u64,
        /// The first that is there again.
        to: u64,
    },
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The command runs.
    Running,
    /// The command ended, descendants live.
    Lingering,
    /// The tree is being ended.
    Ending,
}

/// One process of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// Its short name.
    pub name: String,
}

/// How a task is going.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Where it is.
    pub state: State,
    /// The command.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub pid_start: u64,
    /// When it started, by the clock.
    pub started_at: Timestamp,
    /// Output is recorded up to here.
    pub end: u64,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Columns of the terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cols: Option<u16>,
    /// Rows of the terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u16>,
    /// The last title the program set, untrusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The last folder the program told, untrusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// True while output is above the rate that is called throttled.
    #[serde(default)]
    pub throttled: bool,
    /// How many clients are attached.
    #[serde(default)]
    pub attached: u64,
    /// True while input is taken.
    pub input_open: bool,
    /// Bytes of input the command has not read yet.
    pub input_queued: u64,
    /// Living processes but the command, at most [`MAX_LISTED`] of them.
    pub descendants: Vec<Member>,
    /// How many there are.
    pub descendant_count: u64,
    /// The keeper's version of the crate.
    pub version: String,
}
