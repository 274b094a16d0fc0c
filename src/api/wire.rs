//! One connection of a client: its socket, and who waits for what on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize as _;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::codec::{self, FromServer, Id};
use super::lines::{Line, LineReader};
use super::slot::Slot;
use super::{ApiError, MAX_LINE, MAX_REPLY, Notification, SubscribeReply};
use crate::failure::Failure;

/// How many lines wait to be written: the runtime takes them as fast as they come.
const WRITE_QUEUE: usize = 64;
/// How many calls wait on one connection; above that the runtime would refuse them.
const MAX_WAITING: usize = 1024;

type CallReply = Result<Value, Failure>;
type SubscriptionReply = Result<(SubscribeReply, Arc<Slot>), Failure>;

/// One connection of a client.
#[derive(Debug)]
pub(super) struct Wire {
    out: mpsc::Sender<Vec<u8>>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    waiting: HashMap<u64, Waiting>,
    slots: HashMap<u64, Arc<Slot>>,
    lost: bool,
}

#[derive(Debug)]
enum Waiting {
    Call(oneshot::Sender<CallReply>),
    Subscription(oneshot::Sender<SubscriptionReply>),
}

impl Wire {
    /// Takes a connection over. The task ends with the connection; whoever holds the handle ends both.
    pub(super) fn start(stream: UnixStream) -> (Arc<Self>, AbortHandle) {
        let (out, lines) = mpsc::channel(WRITE_QUEUE);
        let state = Arc::new(Mutex::new(State::default()));
        let on_end = LoseOnDrop(state.clone());
        let task = tokio::spawn(drive(stream, on_end, lines, out.downgrade()));
        (Arc::new(Self { out, state }), task.abort_handle())
    }

    pub(super) fn is_lost(&self) -> bool {
        lock(&self.state).lost
    }

    /// Makes room for a reply.
    pub(super) fn open_call(&self) -> Result<(Guard, oneshot::Receiver<CallReply>), ApiError> {
        let (tell, told) = oneshot::channel();
        Ok((self.wait(Waiting::Call(tell))?, told))
    }

    /// Makes room for a subscription.
    pub(super) fn open_subscription(
        &self,
    ) -> Result<(Guard, oneshot::Receiver<SubscriptionReply>), ApiError> {
        let (tell, told) = oneshot::channel();
        Ok((self.wait(Waiting::Subscription(tell))?, told))
    }

    fn wait(&self, waiting: Waiting) -> Result<Guard, ApiError> {
        let mut state = lock(&self.state);
        if state.lost {
            return Err(ApiError::Lost);
        }
        if state.waiting.len() >= MAX_WAITING {
            return Err(ApiError::TooMany { limit: MAX_WAITING });
        }
        state.next_id += 1;
        let id = state.next_id;
        // A subscription stays in the list when its caller goes away, so that its reply ends it.
        let removes = matches!(waiting, Waiting::Call(_));
        state.waiting.insert(id, waiting);
        Ok(Guard { id, removes, state: self.state.clone() })
    }

    /// Sends a line, or waits until there is room for it.
    pub(super) async fn send(&self, method: &str, line: Vec<u8>) -> Result<(), ApiError> {
        if line.len() > MAX_LINE {
            return Err(ApiError::RequestSize { method: method.to_owned(), len: line.len() });
        }
        self.out.send(line).await.map_err(|_ended| ApiError::Lost)
    }

    /// Sends a line when there is room for it.
    pub(super) fn send_now(&self, line: Vec<u8>) {
        let _ends_with_the_connection_else = self.out.try_send(line);
    }

    /// Forgets the reader of a subscription.
    pub(super) fn close_subscription(&self, subscription: u64) {
        let _slot = lock(&self.state).slots.remove(&subscription);
    }
}

/// The place of one call in the list of those who wait.
pub(super) struct Guard {
    id: u64,
    removes: bool,
    state: Arc<Mutex<State>>,
}

impl Guard {
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// The reply was taken; there is nothing to take back.
    pub(super) fn answered(mut self) {
        self.removes = false;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.removes {
            let _waiting = lock(&self.state).waiting.remove(&self.id);
        }
    }
}

/// Tells everybody that the connection ended, whatever ended it.
struct LoseOnDrop(Arc<Mutex<State>>);

impl Drop for LoseOnDrop {
    fn drop(&mut self) {
        let (waiting, slots) = {
            let mut state = lock(&self.0);
            state.lost = true;
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.slots))
        };
        // Dropped senders tell their callers.
        drop(waiting);
        for slot in slots.into_values() {
            slot.end(ApiError::Lost.into());
        }
    }
}

async fn drive(
    stream: UnixStream,
    on_end: LoseOnDrop,
    lines: mpsc::Receiver<Vec<u8>>,
    out: mpsc::WeakSender<Vec<u8>>,
) {
    let (read, write) = stream.into_split();
    let ended = tokio::select! {
        ended = read_all(read, &on_end.0, &out) => ended,
        ended = write_all(write, lines) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "the connection to the runtime ended");
    }
}

async fn write_all(mut write: OwnedWriteHalf, mut lines: mpsc::Receiver<Vec<u8>>) -> std::io::Result<()> {
    while let Some(line) = lines.recv().await {
        write.write_all(&line).await?;
    }
    Ok(())
}

async fn read_all(
    read: OwnedReadHalf,
    state: &Mutex<State>,
    out: &mpsc::WeakSender<Vec<u8>>,
) -> std::io::Result<()> {
    let mut lines = LineReader::new(read, MAX_REPLY);
    while let Some(line) = lines.next().await? {
        let message = match &line {
            Line::Text(text) => codec::parse_from_server(text),
            Line::TooLong => Err("a line that is too long"),
        };
        match message {
            Ok(FromServer::Reply { id: Id::Number(id), result }) => {
                if let Some(id) = id.as_u64() {
                    answer(state, id, result, out);
                }
            }
            Ok(FromServer::Reply { id: Id::Null | Id::Text(_), result }) => {
                tracing::debug!(?result, "a reply to nobody");
            }
            Ok(FromServer::Notification { method, params }) if method == "event" => notify(state, params),
            Ok(FromServer::Notification { method, params: _ }) => {
                tracing::debug!(method, "a notification of another kind");
            }
            Err(what) => {
                let source = ApiError::NotOurProtocol { what };
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, source));
            }
        }
    }
    Ok(())
}

fn answer(state: &Mutex<State>, id: u64, result: CallReply, out: &mpsc::WeakSender<Vec<u8>>) {
    let Some(waiting) = lock(state).waiting.remove(&id) else {
        return;
    };
    match waiting {
        Waiting::Call(tell) => {
            let _caller_may_be_gone = tell.send(result);
        }
        Waiting::Subscription(tell) => {
            let reply = result.and_then(|value| open_slot(state, &value));
            let Err(Ok((reply, _slot))) = tell.send(reply) else {
                return;
            };
            // Whoever asked has gone away: nobody will read, and nobody will end it.
            lock(state).slots.remove(&reply.subscription);
            let mut params = serde_json::Map::new();
            params.insert("subscription".into(), reply.subscription.into());
            if let Some(out) = out.upgrade() {
                let _full = out.try_send(codec::request_line(None, "event.unsubscribe", &params));
            }
        }
    }
}

/// Before the next line is read: it may be the first notification already.
fn open_slot(state: &Mutex<State>, value: &Value) -> SubscriptionReply {
    let reply = SubscribeReply::deserialize(value)
        .map_err(|source| ApiError::ReadReply { method: "event.subscribe", source })?;
    let slot = Arc::new(Slot::default());
    lock(state).slots.insert(reply.subscription, slot.clone());
    Ok((reply, slot))
}

fn notify(state: &Mutex<State>, params: Value) {
    let notification: Notification = match serde_json::from_value(params) {
        Ok(notification) => notification,
        Err(error) => {
            tracing::warn!(%error, "a notification was not understood");
            return;
        }
    };
    let slot = lock(state).slots.get(&notification.subscription).cloned();
    if let Some(slot) = slot {
        slot.push(notification);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
