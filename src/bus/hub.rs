//! The hub: gives events to bounded subscriptions and waits for none of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use super::subscription::{Filter, Slot, Subscription};
use super::{BusError, Event, Pattern};
use crate::ids::LaneId;

/// What a subscription holds when nobody says otherwise: a few seconds of a busy runtime.
pub const DEFAULT_CAPACITY: usize = 1024;
/// No subscription holds more: a reader that is further behind replays from the journal.
pub const MAX_CAPACITY: usize = 65_536;

/// Gives events to subscriptions. Clones are the same hub.
#[derive(Clone, Debug, Default)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    list: Vec<Arc<Slot>>,
    closed: bool,
}

impl Hub {
    /// A hub without subscriptions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives events to every subscription that wants them, in this order, and returns.
    ///
    /// The caller (a journal) gives events in the order of their offsets, one call at a time.
    pub fn publish(&self, events: &[Arc<Event>]) {
        self.offer(events).wake();
    }

    /// As [`Hub::publish`], but whoever waits is woken later: outside the locks of the caller.
    pub(super) fn offer(&self, events: &[Arc<Event>]) -> Wakers {
        let mut wakers = Vec::new();
        let slots = self.shared.lock();
        for slot in &slots.list {
            wakers.extend(slot.offer(events));
        }
        Wakers(wakers)
    }

    /// Opens a subscription: events published from now on whose topic matches one of `patterns` (none
    /// means all) and which are about `lane`, when one is given.
    ///
    /// At most `capacity` events wait for their reader (at least 1, at most [`MAX_CAPACITY`]).
    ///
    /// # Errors
    /// [`BusError::Pattern`], and [`BusError::Closed`] after [`Hub::close`].
    pub fn subscribe<S: AsRef<str>>(
        &self,
        patterns: &[S],
        lane: Option<LaneId>,
        capacity: usize,
    ) -> Result<Subscription, BusError> {
        let filter = Filter { patterns: Pattern::parse_all(patterns)?, lane };
        let slot = Arc::new(Slot::new(filter, capacity.clamp(1, MAX_CAPACITY)));
        let mut slots = self.shared.lock();
        if slots.closed {
            return Err(BusError::Closed);
        }
        slots.list.push(slot.clone());
        Ok(Subscription::new(slot, Arc::downgrade(&self.shared)))
    }

    /// How many subscriptions are open.
    pub fn subscribers(&self) -> usize {
        self.shared.lock().list.len()
    }

    /// Ends every subscription after what it has waiting, and refuses new ones.
    pub fn close(&self) {
        let ended = {
            let mut slots = self.shared.lock();
            slots.closed = true;
            std::mem::take(&mut slots.list)
        };
        end(&ended);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, slot: &Arc<Slot>) {
        self.lock().list.retain(|other| !Arc::ptr_eq(other, slot));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        end(&std::mem::take(&mut self.lock().list));
    }
}

pub(super) fn remove(shared: &Weak<Shared>, slot: &Arc<Slot>) {
    if let Some(shared) = shared.upgrade() {
        shared.remove(slot);
    }
}

fn end(slots: &[Arc<Slot>]) {
    Wakers(slots.iter().filter_map(|slot| slot.close()).collect()).wake();
}

/// Whom to wake once no lock is held.
#[must_use]
pub(super) struct Wakers(Vec<Waker>);

impl Wakers {
    /// Wakes them. A waker is code of somebody else's executor: its panic is its own affair.
    pub(super) fn wake(self) {
        for waker in self.0 {
            if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                tracing::warn!("the waker of a subscriber panicked");
            }
        }
    }
}
