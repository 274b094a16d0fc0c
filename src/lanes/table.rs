//! The transition table of a lane: the only place that says which state follows which.

use serde::{Deserialize, Serialize};

/// What may happen next to a lane. Everything else about it is a fact beside the state.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Asked for, nothing made.
    New,
    /// Its worktree is being made.
    Provisioning,
    /// Nothing runs in it.
    Ready,
    /// A task is live.
    Running,
    /// A live task waits for somebody.
    Blocked,
    /// Several agents may be in it.
    Shared,
    /// It is being ended.
    Cleaning,
    /// Nothing of it is left but its record and its trash.
    Closed,
}

impl State {
    /// Every state, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::New,
        Self::Provisioning,
        Self::Ready,
        Self::Running,
        Self::Blocked,
        Self::Shared,
        Self::Cleaning,
        Self::Closed,
    ];

    /// Its name in records, events and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Provisioning => "provisioning",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Blocked => "blocked",
            Self::Shared => "shared",
            Self::Cleaning => "cleaning",
            Self::Closed => "closed",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// True while tasks may be started.
    pub const fn takes_tasks(self) -> bool {
        match self {
            Self::Ready | Self::Running | Self::Blocked | Self::Shared => true,
            Self::New | Self::Provisioning | Self::Cleaning | Self::Closed => false,
        }
    }
}

/// What happens to a lane.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the table")]
pub enum Event {
    Create,
    ProvisionComplete,
    ProvisionFailed,
    StartRunning,
    CommandComplete,
    Block,
    Unblock,
    Share,
    Unshare,
    RequestCleanup,
    CleanupComplete,
}

impl Event {
    /// Every event, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::Create,
        Self::ProvisionComplete,
        Self::ProvisionFailed,
        Self::StartRunning,
        Self::CommandComplete,
        Self::Block,
        Self::Unblock,
        Self::Share,
        Self::Unshare,
        Self::RequestCleanup,
        Self::CleanupComplete,
    ];

    /// Its name in records, events and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::ProvisionComplete => "provision_complete",
            Self::ProvisionFailed => "provision_failed",
            Self::StartRunning => "start_running",
            Self::CommandComplete => "command_complete",
            Self::Block => "block",
            Self::Unblock => "unblock",
            Self::Share => "share",
            Self::Unshare => "unshare",
            Self::RequestCleanup => "request_cleanup",
            Self::CleanupComplete => "cleanup_complete",
        }
    }
}

/// The answer of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// The next state, which may be the same one.
    To(State),
    /// Blocked when that fact is set, else running when a task is live, else ready.
    ByFacts,
    /// Cleanup waits until provisioning has ended.
    Pending,
    /// Success without a transition: the lane is closed already.
    Nothing,
    /// Not in the table.
    Refused,
}

/// Looks a pair up.
#[rustfmt::skip]
pub const fn lookup(state: State, event: Event) -> Move {
    use Event as E;
    use Move::{ByFacts, Nothing, Pending, Refused, To};
    use State as S;
    match state {
        S::New => match event {
            E::Create           => To(S::Provisioning),
            E::RequestCleanup   => To(S::Closed),
            E::ProvisionComplete | E::ProvisionFailed | E::StartRunning | E::CommandComplete | E::Block
            | E::Unblock | E::Share | E::Unshare | E::CleanupComplete => Refused,
        },
        S::Provisioning => match event {
            E::ProvisionComplete => To(S::Ready),
            E::ProvisionFailed   => To(S::Closed),
            E::RequestCleanup    => Pending,
            E::Create | E::StartRunning | E::CommandComplete | E::Block | E::Unblock | E::Share | E::Unshare
            | E::CleanupComplete => Refused,
        },
        S::Ready => match event {
            E::StartRunning     => To(S::Running),
            E::Share            => To(S::Shared),
            E::RequestCleanup   => To(S::Cleaning),
            E::Create | E::ProvisionComplete | E::ProvisionFailed | E::CommandComplete | E::Block | E::Unblock
            | E::Unshare | E::CleanupComplete => Refused,
        },
        S::Running => match event {
            E::CommandComplete  => To(S::Ready),
            E::Block            => To(S::Blocked),
            E::Share            => To(S::Shared),
            E::RequestCleanup   => To(S::Cleaning),
            E::Create | E::ProvisionComplete | E::ProvisionFailed | E::StartRunning | E::Unblock | E::Unshare
            | E::CleanupComplete => Refused,
        },
        S::Blocked => match event {
            E::CommandComplete  => To(S::Ready),
            E::Unblock          => To(S::Running),
            E::Share            => To(S::Shared),
            E::RequestCleanup   => To(S::Cleaning),
            E::Create | E::ProvisionComplete | E::ProvisionFailed | E::StartRunning | E::Block | E::Unshare
            | E::CleanupComplete => Refused,
        },
        S::Shared => match event {
            E::StartRunning     => To(S::Shared),
            E::CommandComplete  => To(S::Shared),
            E::Block            => To(S::Shared),
            E::Unblock          => To(S::Shared),
            E::Unshare          => ByFacts,
            E::RequestCleanup   => To(S::Cleaning),
            E::Create | E::ProvisionComplete | E::ProvisionFailed | E::Share | E::CleanupComplete => Refused,
        },
        S::Cleaning => match event {
            E::RequestCleanup   => To(S::Cleaning),
            E::CleanupComplete  => To(S::Closed),
            E::Create | E::ProvisionComplete | E::ProvisionFailed | E::StartRunning | E::CommandComplete | E::Block
            | E::Unblock | E::Share | E::Unshare => Refused,
        },
        S::Closed => match event {
            E::RequestCleanup   => Nothing,
            E::Create | E::ProvisionComplete | E::ProvisionFailed | E::StartRunning | E::CommandComplete | E::Block
            | E::Unblock | E::Share | E::Unshare | E::CleanupComplete => Refused,
        },
    }
}

/// The whole table as text: one accepted pair a line, for the documentation and the test that compares them.
pub fn print() -> String {
    let mut lines = Vec::new();
    for state in State::ALL {
        for event in Event::ALL {
            let to = match lookup(state, event) {
                Move::To(next) => next.name(),
                Move::ByFacts => "blocked | running | ready, by the facts",
                Move::Pending => "provisioning, cleanup pending",
                Move::Nothing => "closed, nothing happens",
                Move::Refused => continue,
            };
            lines.push(format!("{:<13} {:<19} {to}", state.name(), event.name()));
        }
    }
    lines.join("\n")
}
