//! What waits for the reader of one subscription: bounded, and told what did not fit.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Notification, Span};
use crate::failure::Failure;

/// How many notifications wait for their reader: as many as the runtime holds for one subscription.
pub(super) const CAPACITY: usize = 1024;

/// The queue between the connection and one reader.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Notification>,
    /// What did not fit after the last one in the queue.
    missed: Option<Span>,
    /// Said once, after everything else.
    end: Option<Failure>,
    ended: bool,
}

impl Slot {
    /// Takes a notification in, or notes what is missed.
    pub(super) fn push(&self, notification: Notification) {
        let mut state = self.lock();
        if state.missed.is_none() && state.queue.len() < CAPACITY {
            state.queue.push_back(notification);
        } else if let Some(span) = span(&notification) {
            let from = state.missed.map_or(span.from, |missed| missed.from);
            state.missed = Some(Span { from, to: span.to });
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Nothing comes after this.
    pub(super) fn end(&self, why: Failure) {
        let mut state = self.lock();
        if !state.ended {
            state.ended = true;
            state.end = Some(why);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for what is next; `None` after the end.
    pub(super) async fn next(&self, subscription: u64) -> Option<Result<Notification, Failure>> {
        loop {
            {
                let mut state = self.lock();
                if let Some(notification) = state.queue.pop_front() {
                    return Some(Ok(notification));
                }
                if let Some(missed) = state.missed.take() {
                    let lagged = Some(missed);
                    return Some(Ok(Notification { subscription, event: None, lagged, gap: None }));
                }
                if let Some(why) = state.end.take() {
                    return Some(Err(why));
                }
                if state.ended {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The offsets that a notification is about.
pub(super) fn span(notification: &Notification) -> Option<Span> {
    let of_event = notification.event.as_ref().map(|event| Span { from: event.offset, to: event.offset });
    of_event.or(notification.lagged).or(notification.gap)
}
