//! One connection: reads requests, has them answered side by side, and ends with its client.

use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::{Map, Value};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, UCred};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};

use super::asked::{Asked, read_params, send_reply, stopping, write_reply};
use super::outbox::{self, Outbox};
use super::serve::Server;
use super::shutdown;
use super::subscriptions::{self, Forwarder};
use crate::api::codec::{self, Id, Request};
use crate::api::lines::{Line, LineReader};
use crate::api::{
    self, ApiError, DaemonHello, EventSubscribe, EventUnsubscribe, Hello, HelloReply, MAX_LINE, Method,
    Nothing, PROTOCOL_MAX, PROTOCOL_MIN, Subscribe, SubscribeReply, Unsubscribe,
};
use crate::bus::{Actor, Context, Query};
use crate::failure::{Code, Failure};
use crate::ids::{CorrelationId, LaneId};

/// How many requests of one connection are handled at once: one for each of fifty lanes, five times.
pub(super) const MAX_IN_FLIGHT: usize = 256;
/// How many subscriptions one connection has: one for each of fifty lanes, and some.
const MAX_SUBSCRIPTIONS: usize = 64;
/// How long a client may take to greet: it does so before anything else.
const HELLO_WAIT: Duration = Duration::from_secs(10);
/// How often a client that has said its last word is looked at while its requests are answered.
const LOOK: Duration = Duration::from_millis(100);
/// The longest name of a client that is kept.
const MAX_CLIENT: usize = 64;

/// Serves a connection until its client has gone or the runtime stops.
pub(super) async fn serve_connection(server: Arc<Server>, stream: UnixStream, peer: UCred) {
    let (read, write) = stream.into_split();
    let (out, inbox) = outbox::channel();
    let from_lane = server.lane_of(peer.pid()).await;
    let connection = Connection {
        server,
        out,
        from_lane,
        client: None,
        in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
        tasks: JoinSet::new(),
        subscriptions: HashMap::new(),
        next_subscription: 1,
    };
    let writing = inbox.write_to(write);
    tokio::pin!(writing);
    tokio::select! {
        ended = &mut writing => {
            tracing::debug!(?ended, "a client went away");
            return;
        }
        () = connection.run(read) => {}
    }
    // Nobody sends any more: what is queued goes out, if the client still reads.
    let _client_does_not_read = tokio::time::timeout(shutdown::CUT, writing).await;
}

struct Connection {
    server: Arc<Server>,
    out: Outbox,
    from_lane: Option<LaneId>,
    /// Who is there, once it has said hello.
    client: Option<Actor>,
    in_flight: Arc<Semaphore>,
    /// What ends with the connection: subscriptions, and requests that change nothing.
    tasks: JoinSet<Result<(), Failure>>,
    subscriptions: HashMap<u64, AbortHandle>,
    next_subscription: u64,
}

/// Whether the connection goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Read,
    Close,
}

impl Connection {
    async fn run(mut self, read: OwnedReadHalf) {
        let mut lines = LineReader::new(read, MAX_LINE);
        let stop = self.server.stop.clone();
        let greeted_by = tokio::time::Instant::now() + HELLO_WAIT;
        loop {
            tokio::select! {
                line = lines.next() => {
                    let Ok(Some(line)) = line else { break };
                    if self.take(line).await == Next::Close {
                        return;
                    }
                }
                Some(ended) = self.tasks.join_next() => {
                    if let Ok(Err(failure)) = ended {
                        tracing::warn!(%failure, "a subscription cannot go on");
                        return;
                    }
                }
                () = tokio::time::sleep_until(greeted_by), if self.client.is_none() => return,
                () = stop.cancelled() => break,
            }
        }
        for (_number, forwarder) in self.subscriptions.drain() {
            forwarder.abort();
        }
        self.drain(lines).await;
    }

    /// Lets what was asked come to its end. Who has only closed its own direction still gets replies.
    async fn drain(&mut self, mut lines: LineReader<OwnedReadHalf>) {
        let in_flight = self.in_flight.clone();
        let all_answered = in_flight.acquire_many(MAX_IN_FLIGHT as u32);
        tokio::pin!(all_answered);
        let mut looks = tokio::time::interval(LOOK);
        let mut open = self.server.stop.is_cancelled();
        loop {
            tokio::select! {
                _permits = &mut all_answered => return,
                line = lines.next(), if open => match line {
                    // The runtime stops; whoever still asks is told so.
                    Ok(Some(line)) => { let _closes_anyway = self.take(line).await; }
                    Ok(None) | Err(_) => open = false,
                },
                _tick = looks.tick() => if hung_up(lines.stream()) { return },
            }
        }
    }

    async fn take(&mut self, line: Line) -> Next {
        let parsed = match &line {
            Line::Text(text) if text.iter().all(u8::is_ascii_whitespace) => return Next::Read,
            Line::Text(text) => codec::parse_request(text),
            Line::TooLong => Err(codec::too_long()),
        };
        let request = match parsed {
            Ok(request) => request,
            Err(malformed) => {
                self.out.reply(codec::malformed_line(&malformed)).await;
                return Next::Read;
            }
        };
        if request.method == DaemonHello::NAME {
            return self.greet(request).await;
        }
        let Some(actor) = self.client.clone() else {
            let failure = Failure::new(Code::ValidationError, "the first request is daemon.hello")
                .hint("send {\"client\", \"protocol_min\", \"protocol_max\"} to daemon.hello first");
            self.reply(request.id, &Err(failure)).await;
            return Next::Read;
        };
        self.begin(request, actor).await;
        Next::Read
    }

    async fn greet(&mut self, request: Request) -> Next {
        let reply = self.hello(request.params);
        let next = match &reply {
            Err(failure) if failure.code == Code::ProtocolMismatch => Next::Close,
            Ok(_) | Err(_) => Next::Read,
        };
        self.reply(request.id, &reply).await;
        next
    }

    fn hello(&mut self, params: Map<String, Value>) -> Result<Value, Failure> {
        let hello: Hello = read_params(DaemonHello::NAME, params)?;
        if self.client.is_some() {
            return Err(Failure::new(Code::ValidationError, "daemon.hello was said already"));
        }
        if hello.protocol_max < PROTOCOL_MIN || hello.protocol_min > PROTOCOL_MAX {
            let versions =
                ApiError::Versions { client_min: hello.protocol_min, client_max: hello.protocol_max };
            return Err(versions.into());
        }
        self.client = Some(actor(&hello.client));
        let (_head, epoch) = self.server.bus.head();
        write_reply(&HelloReply {
            protocol: hello.protocol_max.min(PROTOCOL_MAX),
            version: self.server.version.clone(),
            epoch,
            capabilities: self.server.capabilities.clone(),
        })
    }

    async fn begin(&mut self, mut request: Request, actor: Actor) {
        if self.server.stop.is_cancelled() {
            self.reply(request.id, &Err(stopping())).await;
            return;
        }
        let Ok(permit) = self.in_flight.clone().try_acquire_owned() else {
            let failure = Failure::new(
                Code::Backpressure,
                format!("{MAX_IN_FLIGHT} requests of this connection are being handled already"),
            )
            .hint("wait for a reply before you send the next request");
            self.reply(request.id, &Err(failure)).await;
            return;
        };
        let context = match self.context(&mut request.params, actor) {
            Ok(context) => context,
            Err(failure) => return self.reply(request.id, &Err(failure)).await,
        };
        match request.method.as_str() {
            EventSubscribe::NAME => self.subscribe(request, context).await,
            EventUnsubscribe::NAME => {
                let reply = self.unsubscribe(request.params);
                self.reply(request.id, &reply).await;
            }
            _of_the_bus => self.dispatch(request, context, permit),
        }
    }

    fn context(&self, params: &mut Map<String, Value>, actor: Actor) -> Result<Context, Failure> {
        let mut context = Context { from_lane: self.from_lane, ..Context::new(actor) };
        if let Some(given) = params.remove("correlation_id") {
            let read = serde_json::from_value::<CorrelationId>(given);
            context.correlation_id = read.map_err(|error| {
                Failure::new(Code::ValidationError, format!("the correlation id is none: {error}"))
            })?;
        }
        Ok(context)
    }

    /// Has a request answered beside the others. One that changes something outlives its connection.
    fn dispatch(&mut self, request: Request, context: Context, permit: OwnedSemaphorePermit) {
        let changes = api::changes(&request.method).unwrap_or(true);
        let asked = Asked { server: self.server.clone(), out: self.out.clone(), request, context, permit };
        if changes {
            self.server.work.spawn(asked.change());
        } else {
            self.tasks.spawn(asked.look());
        }
    }

    async fn subscribe(&mut self, request: Request, context: Context) {
        match self.open_subscription(request.params, context).await {
            Ok((reply, forwarder)) => {
                let number = reply.subscription;
                self.reply(request.id, &write_reply(&reply)).await;
                self.subscriptions.insert(number, self.tasks.spawn(forwarder.run()));
            }
            Err(failure) => self.reply(request.id, &Err(failure)).await,
        }
    }

    async fn open_subscription(
        &mut self,
        params: Map<String, Value>,
        context: Context,
    ) -> Result<(SubscribeReply, Forwarder), Failure> {
        let params: Subscribe = read_params(EventSubscribe::NAME, params)?;
        self.subscriptions.retain(|_number, forwarder| !forwarder.is_finished());
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            let message = format!("this connection has {MAX_SUBSCRIPTIONS} subscriptions already");
            let failure = Failure::new(Code::Backpressure, message);
            return Err(failure.hint("end one with event.unsubscribe, or open another connection"));
        }
        let lane = self.server.lane(params.lane, context).await?;
        let bus = self.server.bus.clone();
        let live = bus.subscribe(&params.topics, lane, subscriptions::CAPACITY)?;
        // After the subscription began, so that nothing lies between this head and its first event.
        let (head, epoch) = bus.head();
        let subscription = self.next_subscription;
        self.next_subscription += 1;
        let query = Query { since: params.since.unwrap_or(0), limit: 0, patterns: params.topics, lane };
        let replays = params.since.is_some();
        let forwarder = Forwarder { subscription, bus, live, query, replays, out: self.out.clone() };
        Ok((SubscribeReply { subscription, head, epoch }, forwarder))
    }

    fn unsubscribe(&mut self, params: Map<String, Value>) -> Result<Value, Failure> {
        let Unsubscribe { subscription } = read_params(EventUnsubscribe::NAME, params)?;
        match self.subscriptions.remove(&subscription) {
            Some(forwarder) => {
                forwarder.abort();
                write_reply(&Nothing {})
            }
            None => {
                let message = format!("this connection has no subscription {subscription}");
                Err(Failure::new(Code::ValidationError, message))
            }
        }
    }

    async fn reply(&self, id: Option<Id>, result: &Result<Value, Failure>) {
        send_reply(&self.out, id, result).await;
    }
}

/// Who a client is, from what it says about itself: the name before its version.
fn actor(client: &str) -> Actor {
    let name: String = client
        .chars()
        .take_while(|char| !char.is_whitespace() && *char != '/')
        .filter(|char| char.is_ascii_graphic())
        .take(MAX_CLIENT)
        .collect();
    match name.as_str() {
        "" | "lanes" | "lanes-cli" => Actor::user(),
        _other => Actor { kind: "user".into(), id: name },
    }
}

/// True when nobody is at the other end any more, not only done with speaking.
fn hung_up(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::empty())];
    match rustix::event::poll(&mut fds, Some(&Timespec::default())) {
        Ok(_ready) => fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR),
        Err(_interrupted) => false,
    }
}
