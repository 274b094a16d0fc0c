//! `event.replay`: one page of the journal that fits into a message.

use std::sync::Arc;

use crate::api::{MAX_LINE, Replay, ReplayReply, Span};
use crate::bus::{Bus, Event, Page, Query};
use crate::failure::Failure;
use crate::ids::LaneId;

/// The most events in one page.
const MAX_PAGE: usize = 1_000;
/// The most bytes of events in one page; one event alone may have more.
const MAX_BYTES: usize = MAX_LINE;

/// Reads a page.
pub(super) async fn replay(bus: &Bus, params: Replay, lane: Option<LaneId>) -> Result<ReplayReply, Failure> {
    let wanted = usize::try_from(params.limit).unwrap_or(MAX_PAGE);
    let limit = if wanted == 0 { MAX_PAGE } else { wanted.min(MAX_PAGE) };
    let query = Query { since: params.since, limit, patterns: params.topics, lane };
    let page = bus.read(query).await?;
    let (_head, epoch) = bus.head();
    Ok(cut(page, epoch))
}

fn cut(page: Page, epoch: String) -> ReplayReply {
    let mut bytes = 0;
    let mut next = page.next;
    let mut events: Vec<Event> = Vec::new();
    for event in page.events {
        bytes += serde_json::to_vec(&*event).map_or(0, |json| json.len());
        if bytes > MAX_BYTES
            && let Some(last) = events.last()
        {
            next = last.offset;
            break;
        }
        events.push(Arc::unwrap_or_clone(event));
    }
    let gap = page.gap.map(|(from, to)| Span { from, to });
    ReplayReply { events, gap, next, head: page.head, epoch }
}
