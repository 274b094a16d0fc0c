//! Decides what the room on a disk is still good for.

use super::provision::Floors;

/// What is known of the disk of a workspace's trees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFacts {
    /// What may still be used.
    pub free: Room,
    /// What must stay free (`disk.min_free`, `disk.min_inodes`).
    pub floors: Floors,
    /// Bytes that spares and trash may take together (`disk.budget`), when limited.
    pub budget: Option<u64>,
    /// What the spares take.
    pub spares: Usage,
    /// What the trash takes.
    pub trash: Usage,
    /// What one more spare would take, as far as that is known.
    pub next: Usage,
}

/// What is free on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes.
    pub bytes: u64,
    /// Inodes; none where there is no fixed number.
    pub inodes: Option<u64>,
}

/// What something takes on a disk.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct Usage {
    /// Bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

impl Usage {
    /// The sum.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
        }
    }
}

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// Bytes on the disk.
    Bytes,
    /// Inodes on the disk.
    Inodes,
    /// The budget of the workspace.
    Budget,
}

/// What the room is still good for; each allows what the ones after it do, and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything.
    Fine,
    /// Lanes, by any way, but no more spares: with one more there would be less than twice the floors, or
    /// more than the budget.
    NoRefills(Short),
    /// Spares are given up until it is better. A lane that takes one needs no room; another is refused
    /// while the disk is below a floor.
    GiveUpSpares(Short),
    /// There is no spare left to give up: no new lanes.
    RefuseLanes(Short),
}

/// Decides by the floors first, then by the budget. A budget never refuses a lane: it is about what we keep
/// for ourselves.
pub fn judge(facts: &DiskFacts) -> Verdict {
    let has_spares = facts.spares != Usage::default();
    if let Some(short) = below(facts, 1, Usage::default()) {
        return if has_spares { Verdict::GiveUpSpares(short) } else { Verdict::RefuseLanes(short) };
    }
    if has_spares && is_over_budget(facts, Usage::default()) {
        return Verdict::GiveUpSpares(Short::Budget);
    }
    if let Some(short) = below(facts, 2, facts.next) {
        return Verdict::NoRefills(short);
    }
    if is_over_budget(facts, facts.next) {
        return Verdict::NoRefills(Short::Budget);
    }
    Verdict::Fine
}

/// What there would be less of than so many times its floor, if `more` was taken.
fn below(facts: &DiskFacts, times: u64, more: Usage) -> Option<Short> {
    let under = |free: u64, floor: u64, more: u64| free.saturating_sub(more) < floor.saturating_mul(times);
    if under(facts.free.bytes, facts.floors.bytes, more.bytes) {
        return Some(Short::Bytes);
    }
    let inodes = facts.free.inodes?;
    under(inodes, facts.floors.inodes, more.inodes).then_some(Short::Inodes)
}

fn is_over_budget(facts: &DiskFacts, more: Usage) -> bool {
    let taken = facts.spares.and(facts.trash).and(more).bytes;
    facts.budget.is_some_and(|budget| taken > budget)
}
