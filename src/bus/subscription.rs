//! A subscription: a bounded queue with one reader, and the range of what it could not hold.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};

use super::hub::{self, Shared};
use super::{Event, Pattern};
use crate::ids::LaneId;

/// What a subscriber is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Delivery {
    /// The next event.
    Event(Arc<Event>),
    /// Events of this subscription were dropped: the first and the last of them, by offset. What lies
    /// between and matches was dropped too; reading the journal with the same patterns gives exactly it.
    Lagged {
        /// The offset of the first dropped event.
        from: u64,
        /// The offset of the last one.
        to: u64,
    },
}

/// Which events a subscription is about.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) patterns: Vec<Pattern>,
    pub(super) lane: Option<LaneId>,
}

impl Filter {
    pub(super) fn matches(&self, event: &Event) -> bool {
        (self.lane.is_none() || event.lane_id == self.lane)
            && self.patterns.iter().any(|pattern| pattern.matches(&event.topic))
    }
}

/// The side of the hub.
#[derive(Debug)]
pub(super) struct Slot {
    filter: Filter,
    capacity: usize,
    /// Events that wait for the reader, those it has already taken over included.
    held: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Delivery>,
    lagging: bool,
    closed: bool,
    waker: Option<Waker>,
}

impl Slot {
    pub(super) fn new(filter: Filter, capacity: usize) -> Self {
        Self { filter, capacity, held: AtomicUsize::new(0), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the subscription wants; returns whom to wake.
    pub(super) fn offer(&self, events: &[Arc<Event>]) -> Option<Waker> {
        let mut wanted = events.iter().filter(|event| self.filter.matches(event)).peekable();
        wanted.peek()?;
        let mut state = self.lock();
        for event in wanted {
            self.take_in(&mut state, event);
        }
        state.waker.take()
    }

    fn take_in(&self, state: &mut State, event: &Arc<Event>) {
        let held = self.held.load(Ordering::Acquire);
        // One that has fallen behind is let catch up to half: few long gaps instead of many short ones.
        let room = if state.lagging { held <= self.capacity / 2 } else { held < self.capacity };
        state.lagging = !room;
        if room {
            self.held.fetch_add(1, Ordering::AcqRel);
            state.queue.push_back(Delivery::Event(event.clone()));
            return;
        }
        match state.queue.back_mut() {
            Some(Delivery::Lagged { from: _, to }) => *to = event.offset,
            Some(Delivery::Event(_)) | None => {
                state.queue.push_back(Delivery::Lagged { from: event.offset, to: event.offset });
            }
        }
    }

    pub(super) fn close(&self) -> Option<Waker> {
        let mut state = self.lock();
        state.closed = true;
        state.waker.take()
    }
}

/// The side of the reader. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    slot: Arc<Slot>,
    hub: Weak<Shared>,
    /// Taken over from the slot in one go, so that reader and publisher seldom meet.
    ready: VecDeque<Delivery>,
}

impl Subscription {
    pub(super) fn new(slot: Arc<Slot>, hub: Weak<Shared>) -> Self {
        Self { slot, hub, ready: VecDeque::new() }
    }

    /// Waits for the next delivery; `None` when the hub was closed or is gone and nothing waits.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Delivery> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Subscription::next`], for a `Stream` of the embedder's.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let coop = ready!(tokio::task::coop::poll_proceed(cx));
        let next = match self.take() {
            Some(delivery) => Some(delivery),
            None => {
                let mut state = self.slot.lock();
                if state.queue.is_empty() && !state.closed {
                    state.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                drop(state);
                self.take()
            }
        };
        coop.made_progress();
        Poll::Ready(next)
    }

    /// The next delivery when one waits.
    pub fn try_next(&mut self) -> Option<Delivery> {
        self.take()
    }

    fn take(&mut self) -> Option<Delivery> {
        if self.ready.is_empty() {
            let mut state = self.slot.lock();
            std::mem::swap(&mut self.ready, &mut state.queue);
            // A range at the end may still grow; it is taken once it is next.
            if self.ready.len() > 1 && matches!(self.ready.back(), Some(Delivery::Lagged { .. })) {
                state.queue.extend(self.ready.pop_back());
            }
        }
        let delivery = self.ready.pop_front()?;
        if matches!(delivery, Delivery::Event(_)) {
            self.slot.held.fetch_sub(1, Ordering::AcqRel);
        }
        Some(delivery)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        hub::remove(&self.hub, &self.slot);
    }
}
