//! Following: the journal first, then what is published, without a hole and without doubles.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Delivery, Event, Journal, Query, Subscription};
use crate::failure::Failure;

/// What a follower is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Followed {
    /// The next event.
    Event(Arc<Event>),
    /// Retention has trimmed these offsets, both inclusive.
    Gap {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
}

/// Reads the journal and then follows it. Opened by [`super::Bus::follow`].
pub struct Follower {
    journal: Arc<dyn Journal>,
    live: Subscription,
    /// What to ask the journal for next.
    query: Query,
    /// Read and not yet given.
    ready: VecDeque<Followed>,
    /// How far the journal must be read before live events count again.
    read_to: Option<u64>,
}

impl Follower {
    pub(super) fn new(journal: Arc<dyn Journal>, live: Subscription, query: Query) -> Self {
        // The subscription is older than this head, so everything after it comes live.
        let (head, _epoch) = journal.head();
        Self { journal, live, query, ready: VecDeque::new(), read_to: Some(head) }
    }

    /// Waits for the next event or gap; `None` when the bus was closed. Dropping the future loses nothing.
    ///
    /// # Errors
    /// What the journal says; asking again tries again.
    pub async fn next(&mut self) -> Result<Option<Followed>, Failure> {
        loop {
            if let Some(followed) = self.ready.pop_front() {
                return Ok(Some(followed));
            }
            if let Some(to) = self.read_to {
                self.read_on(to).await?;
                continue;
            }
            match self.live.next().await {
                None => return Ok(None),
                Some(Delivery::Event(event)) if event.offset > self.query.since => {
                    self.query.since = event.offset;
                    return Ok(Some(Followed::Event(event)));
                }
                Some(Delivery::Event(_read_already)) => {}
                Some(Delivery::Lagged { from, to }) if to > self.query.since => {
                    self.query.since = self.query.since.max(from.saturating_sub(1));
                    self.read_to = Some(to);
                }
                Some(Delivery::Lagged { .. }) => {}
            }
        }
    }

    async fn read_on(&mut self, to: u64) -> Result<(), Failure> {
        let page = self.journal.read(self.query.clone()).await?;
        if let Some((from, to)) = page.gap {
            self.ready.push_back(Followed::Gap { from, to });
        }
        self.ready.extend(page.events.into_iter().map(Followed::Event));
        self.query.since = page.next.max(self.query.since);
        if self.query.since >= to {
            self.read_to = None;
        }
        Ok(())
    }
}
