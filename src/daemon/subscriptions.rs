//! Subscriptions of one connection: the journal first, then what is published, without hole or double.

use serde::Serialize;

use crate::api::{Notification, Span, codec};
use crate::bus::{Bus, Delivery, Event, Page, Query, Subscription};
use crate::failure::Failure;

use super::outbox::Outbox;

/// How many events wait for one subscriber: a few seconds of a busy runtime.
pub(super) const CAPACITY: usize = 1024;
/// How many events are read from the journal at once.
const PAGE: usize = 256;

/// Feeds one subscriber.
pub(super) struct Forwarder {
    pub(super) subscription: u64,
    pub(super) bus: Bus,
    pub(super) live: Subscription,
    /// What it wants; `since` is the offset up to which it has been served.
    pub(super) query: Query,
    /// True: it wants the past first.
    pub(super) replays: bool,
    pub(super) out: Outbox,
}

/// A [`Notification`] with an event, without a copy of it.
#[derive(Serialize)]
struct EventNotification<'a> {
    subscription: u64,
    event: &'a Event,
}

/// The client is gone, or the journal cannot be read.
enum Stop {
    Gone,
    Failed(Failure),
}

impl Forwarder {
    /// Runs until the client or the bus is gone.
    ///
    /// # Errors
    /// The journal cannot be read, so that nothing can be promised any more.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        match self.forward().await {
            Ok(()) | Err(Stop::Gone) => Ok(()),
            Err(Stop::Failed(failure)) => Err(failure),
        }
    }

    async fn forward(&mut self) -> Result<(), Stop> {
        // Offsets up to this one were read from the journal while live events were piling up.
        let mut read_to = 0;
        if self.replays {
            read_to = self.catch_up().await?;
        }
        while let Some(delivery) = self.live.next().await {
            match delivery {
                Delivery::Event(event) => self.tell_event(&event).await?,
                Delivery::Lagged { from: _, to } if to <= self.query.since => {}
                // We were slow ourselves, reading; the reader need not know.
                Delivery::Lagged { from, to: _ } if from <= read_to => read_to = self.catch_up().await?,
                Delivery::Lagged { from, to } => {
                    let from = from.max(self.query.since + 1);
                    self.query.since = to;
                    self.tell(Notification { lagged: Some(Span { from, to }), ..self.nothing() }).await?;
                }
            }
        }
        Ok(())
    }

    /// Reads the journal to its end; returns where that was.
    async fn catch_up(&mut self) -> Result<u64, Stop> {
        loop {
            let query = Query { limit: PAGE, ..self.query.clone() };
            let Page { events, gap, next, head } = self.bus.read(query).await.map_err(Stop::Failed)?;
            if let Some((from, to)) = gap {
                self.tell(Notification { gap: Some(Span { from, to }), ..self.nothing() }).await?;
            }
            for event in &events {
                self.tell_event(event).await?;
            }
            self.query.since = self.query.since.max(next);
            if next >= head {
                return Ok(head);
            }
        }
    }

    async fn tell_event(&mut self, event: &Event) -> Result<(), Stop> {
        if event.offset <= self.query.since {
            return Ok(());
        }
        self.query.since = event.offset;
        self.tell(EventNotification { subscription: self.subscription, event }).await
    }

    async fn tell(&self, notification: impl Serialize) -> Result<(), Stop> {
        let line = codec::notification_line("event", &notification);
        if self.out.notify(line).await { Ok(()) } else { Err(Stop::Gone) }
    }

    fn nothing(&self) -> Notification {
        Notification { subscription: self.subscription, event: None, lagged: None, gap: None }
    }
}
