//! `lanes events`.

use serde_json::json;

use super::args::EventsArgs;
use super::connect::{self, Daemon};
use super::output::SCHEMA;
use super::render;
use super::session::Session;
use crate::api::{EventReplay, LaneRef, Replay, Span, Subscribe};
use crate::bus::Event;
use crate::failure::{Code, Failure};

/// Prints past events, then with `--follow` the coming ones.
pub async fn events(session: &Session, args: EventsArgs) -> Result<u8, Failure> {
    let daemon = session.daemon().await?;
    let lane = args.lane.as_deref().map(|lane| session.lane(lane));
    let printer = Printer { session, cloudevents: args.format.is_some() };
    if !args.follow {
        replay(&printer, &daemon, args.since.unwrap_or(0), &args.topic, lane).await?;
        return Ok(0);
    }
    follow(&printer, daemon, args.since, args.topic, lane).await
}

async fn replay(
    printer: &Printer<'_>,
    daemon: &Daemon,
    mut since: u64,
    topics: &[String],
    lane: Option<LaneRef>,
) -> Result<(), Failure> {
    loop {
        let params = Replay { since, limit: 0, topics: topics.to_vec(), lane: lane.clone() };
        let page = daemon.call::<EventReplay>(params).await?;
        if let Some(gap) = page.gap {
            printer.hole("gap", gap)?;
        }
        for event in &page.events {
            printer.event(event)?;
        }
        // `next` does not move when there is no more.
        if page.next >= page.head || page.next <= since {
            return Ok(());
        }
        since = page.next;
    }
}

/// Goes on at the last offset when the runtime went away and somebody starts it again.
async fn follow(
    printer: &Printer<'_>,
    mut daemon: Daemon,
    mut since: Option<u64>,
    topics: Vec<String>,
    lane: Option<LaneRef>,
) -> Result<u8, Failure> {
    let mut epoch: Option<String> = None;
    loop {
        let params = Subscribe { since, topics: topics.clone(), lane: lane.clone() };
        let mut notices = daemon.subscribe(params).await?;
        if epoch.get_or_insert_with(|| notices.epoch().to_owned()) != notices.epoch() {
            let message =
                format!("the journal was rebuilt: offset {} means nothing any more", since.unwrap_or(0));
            return Err(Failure::new(Code::Io, message).hint("read again from the start with --since 0"));
        }
        since = since.or(Some(notices.head()));
        while let Some(notice) = interruptible(notices.next()).await?? {
            if let Some(gap) = notice.gap {
                printer.hole("gap", gap)?;
                since = since.max(Some(gap.to));
            }
            if let Some(lagged) = notice.lagged {
                printer.hole("lagged", lagged)?;
                since = since.max(Some(lagged.to));
            }
            if let Some(event) = notice.event {
                printer.event(&event)?;
                since = since.max(Some(event.offset));
            }
        }
        daemon = interruptible(printer.session.back()).await??;
    }
}

/// Ctrl-C is the usual end of following, with the usual exit code.
async fn interruptible<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::select! {
        done = work => Ok(done),
        _interrupted = tokio::signal::ctrl_c() => std::process::exit(130),
    }
}

struct Printer<'a> {
    session: &'a Session,
    cloudevents: bool,
}

impl Printer<'_> {
    fn event(&self, event: &Event) -> Result<(), Failure> {
        let output = self.session.output;
        if self.cloudevents {
            return output.line(&connect::cloudevent(event).to_string());
        }
        if output.json {
            return output.line(&serde_json::to_value(event).map_err(|_| odd())?.to_string());
        }
        output.line(&render::event(event))
    }

    fn hole(&self, what: &str, span: Span) -> Result<(), Failure> {
        let output = self.session.output;
        if self.cloudevents || output.json {
            return output.line(&json!({ "schema": SCHEMA, what: span }).to_string());
        }
        let why = if what == "gap" { "no longer kept" } else { "missed, read them with --since" };
        output.line(&format!("{what}: events {} to {}: {why}", span.from, span.to))
    }
}

fn odd() -> Failure {
    Failure::new(Code::HandlerError, "an event cannot be written as JSON")
}
