//! The phases of a terminal, and the one table that says how they follow each other.
//!
//! Spec 007 with its holes closed: what ends while spawning or throttled has a row too.

use serde::{Deserialize, Serialize};

/// Where a terminal is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Asked for.
    #[default]
    Idle,
    /// Its keeper is being started.
    Spawning,
    /// Its command is alive.
    Active,
    /// Its command is alive and held back: it writes faster than is recorded.
    Throttled,
    /// It could not be started, or ended as nobody asked it to.
    Errored,
    /// It has ended.
    Stopped,
}

impl Phase {
    /// Every phase, in the order of the table.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Spawning, Self::Active, Self::Throttled, Self::Errored, Self::Stopped];

    /// Its name for users.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Spawning => "spawning",
            Self::Active => "active",
            Self::Throttled => "throttled",
            Self::Errored => "errored",
            Self::Stopped => "stopped",
        }
    }
}

/// What happens to a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// Its keeper is to be started.
    SpawnRequested,
    /// Its command is alive.
    SpawnSucceeded,
    /// It could not be started.
    SpawnFailed,
    /// It is held back.
    Throttled,
    /// It is held back no more.
    OutputResumed,
    /// Its command ended by itself, or because it was told to.
    Terminated,
    /// Its command was ended by a signal that nobody sent through us, or nobody knows how.
    UnexpectedExit,
    /// Its lane is cleaned up.
    Cleanup,
}

impl Happening {
    /// All, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::SpawnRequested,
        Self::SpawnSucceeded,
        Self::SpawnFailed,
        Self::Throttled,
        Self::OutputResumed,
        Self::Terminated,
        Self::UnexpectedExit,
        Self::Cleanup,
    ];

    /// Its name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SpawnRequested => "spawn_requested",
            Self::SpawnSucceeded => "spawn_succeeded",
            Self::SpawnFailed => "spawn_failed",
            Self::Throttled => "throttled",
            Self::OutputResumed => "output_resumed",
            Self::Terminated => "terminated",
            Self::UnexpectedExit => "unexpected_exit",
            Self::Cleanup => "cleanup",
        }
    }
}

/// The next phase; `None` when nothing changes.
#[rustfmt::skip]
pub const fn next(phase: Phase, happening: Happening) -> Option<Phase> {
    use Happening as H;
    use Phase as P;
    match phase {
        P::Idle => match happening {
            H::SpawnRequested => Some(P::Spawning),
            H::Terminated     => Some(P::Stopped),
            H::SpawnSucceeded | H::SpawnFailed | H::Throttled | H::OutputResumed | H::UnexpectedExit | H::Cleanup => None,
        },
        P::Spawning => match happening {
            H::SpawnSucceeded => Some(P::Active),
            H::SpawnFailed    => Some(P::Errored),
            H::Terminated     => Some(P::Stopped),
            H::UnexpectedExit => Some(P::Errored),
            H::SpawnRequested | H::Throttled | H::OutputResumed | H::Cleanup => None,
        },
        P::Active => match happening {
            H::Throttled      => Some(P::Throttled),
            H::Terminated     => Some(P::Stopped),
            H::UnexpectedExit => Some(P::Errored),
            H::SpawnRequested | H::SpawnSucceeded | H::SpawnFailed | H::OutputResumed | H::Cleanup => None,
        },
        P::Throttled => match happening {
            H::OutputResumed  => Some(P::Active),
            H::Terminated     => Some(P::Stopped),
            H::UnexpectedExit => Some(P::Errored),
            H::SpawnRequested | H::SpawnSucceeded | H::SpawnFailed | H::Throttled | H::Cleanup => None,
        },
        P::Errored => match happening {
            H::Cleanup        => Some(P::Stopped),
            H::SpawnRequested | H::SpawnSucceeded | H::SpawnFailed | H::Throttled | H::OutputResumed
            | H::Terminated | H::UnexpectedExit => None,
        },
        P::Stopped => match happening {
            H::SpawnRequested | H::SpawnSucceeded | H::SpawnFailed | H::Throttled | H::OutputResumed
            | H::Terminated | H::UnexpectedExit | H::Cleanup => None,
        },
    }
}

/// The whole table as text: one change a line.
pub fn print() -> String {
    let pairs = Phase::ALL.into_iter().flat_map(|phase| Happening::ALL.map(|happening| (phase, happening)));
    let line = |(phase, happening): (Phase, Happening)| {
        next(phase, happening)
            .map(|to| format!("{:<10} {:<16} {}", phase.name(), happening.name(), to.name()))
    };
    pairs.filter_map(line).collect::<Vec<_>>().join("\n")
}
