//! The client: many calls and subscriptions over one connection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::task::AbortHandle;

use super::wire::{Guard, Wire};
use super::{
    ApiError, DaemonHello, EventSubscribe, EventUnsubscribe, Hello, HelloReply, Method, Notification,
    PROTOCOL_MAX, PROTOCOL_MIN, Resilience, Resilient, Subscribe, SubscribeReply, Unsubscribe, codec, socket,
};
use crate::failure::Failure;

/// How long the runtime may take to greet; it does so before it does anything else.
const HELLO_WAIT: Duration = Duration::from_secs(10);

/// How a call is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How long the answer is waited for; `None` for as long as the connection lasts.
    pub timeout: Option<Duration>,
    /// The same key never runs twice: the first reply is given again, for 24 hours.
    pub idempotency_key: Option<String>,
}

/// A connection to the runtime. Clones share it; it ends with the last clone and the last [`Events`].
///
/// ```no_run
/// # async fn example() -> Result<(), lanes::failure::Failure> {
/// use lanes::api::{Client, DaemonStatus, Nothing};
///
/// let client = Client::connect(std::path::Path::new("/home/me/.local/state/lanes"), "example 1.0").await?;
/// let status = client.call::<DaemonStatus>(Nothing {}).await?;
/// println!("{} lanes", status.daemon.lanes);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    wire: Arc<Wire>,
    hello: Arc<HelloReply>,
    _connection: Arc<AbortOnDrop>,
}

#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// Connects to the runtime of `home` and greets it as `who` (such as `lanes-cli 0.1.0`).
    ///
    /// # Errors
    /// `DAEMON_DOWN` when nobody answers there, `PROTOCOL_MISMATCH` when the versions have none in common.
    pub async fn connect(home: &Path, who: &str) -> Result<Self, Failure> {
        let hello = Hello { client: who.to_owned(), protocol_min: PROTOCOL_MIN, protocol_max: PROTOCOL_MAX };
        Self::connect_as(home, hello).await
    }

    /// Connects with a greeting of the caller's own.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_as(home: &Path, hello: Hello) -> Result<Self, Failure> {
        let stream = socket::connect(home).await?;
        let (wire, task) = Wire::start(stream);
        let connection = Arc::new(AbortOnDrop(task));
        let options = Options { timeout: Some(HELLO_WAIT), idempotency_key: None };
        let reply = call_on::<DaemonHello>(&wire, hello, options).await?;
        Ok(Self { wire, hello: Arc::new(reply), _connection: connection })
    }

    /// A client that connects again when the runtime goes away and comes back.
    ///
    /// # Errors
    /// As [`Client::connect`], once [`Resilience::give_up`] is over.
    pub async fn resilient(home: &Path, who: &str, resilience: Resilience) -> Result<Resilient, Failure> {
        Resilient::connect(home, who, resilience).await
    }

    /// What the runtime said when it was greeted.
    pub fn hello(&self) -> &HelloReply {
        &self.hello
    }

    /// True once the connection has ended; every call fails from then on.
    pub fn is_lost(&self) -> bool {
        self.wire.is_lost()
    }

    /// True when both are the same connection.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.wire, &other.wire)
    }

    /// Calls a method and waits for its reply.
    ///
    /// # Errors
    /// What the runtime answers, and `DAEMON_DOWN` when the connection ends first.
    pub async fn call<M: Method>(&self, params: M::Params) -> Result<M::Reply, Failure> {
        self.call_with::<M>(params, Options::default()).await
    }

    /// Calls a method with options.
    ///
    /// # Errors
    /// As [`Client::call`], and `TIMEOUT`.
    pub async fn call_with<M: Method>(
        &self,
        params: M::Params,
        options: Options,
    ) -> Result<M::Reply, Failure> {
        call_on::<M>(&self.wire, params, options).await
    }

    /// Calls a method by its name. `params` is an object or null.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn request(&self, method: &str, params: Value) -> Result<Value, Failure> {
        let params = object(method, params)?;
        request_on(&self.wire, method, params, Options::default()).await
    }

    /// Starts a subscription.
    ///
    /// # Errors
    /// What the runtime answers, and `DAEMON_DOWN` when the connection ends first.
    pub async fn subscribe(&self, subscribe: Subscribe) -> Result<Events, Failure> {
        let params = write_params::<EventSubscribe>(&subscribe)?;
        let (guard, reply) = self.wire.open_subscription()?;
        let line = codec::request_line(Some(guard.id()), EventSubscribe::NAME, &params);
        self.wire.send(EventSubscribe::NAME, line).await?;
        let (reply, slot) = reply.await.map_err(|_gone| Failure::from(ApiError::Lost))??;
        guard.answered();
        Ok(Events { slot, reply, client: self.clone() })
    }
}

async fn call_on<M: Method>(
    wire: &Arc<Wire>,
    params: M::Params,
    options: Options,
) -> Result<M::Reply, Failure> {
    let params = write_params::<M>(&params)?;
    let reply = request_on(wire, M::NAME, params, options).await?;
    Ok(serde_json::from_value(reply).map_err(|source| ApiError::ReadReply { method: M::NAME, source })?)
}

async fn request_on(
    wire: &Arc<Wire>,
    method: &str,
    mut params: Map<String, Value>,
    options: Options,
) -> Result<Value, Failure> {
    if let Some(key) = options.idempotency_key {
        params.insert("idempotency_key".into(), Value::String(key));
    }
    let answer = async {
        let (guard, reply): (Guard, _) = wire.open_call()?;
        wire.send(method, codec::request_line(Some(guard.id()), method, &params)).await?;
        let reply = reply.await.map_err(|_gone| Failure::from(ApiError::Lost))?;
        guard.answered();
        reply
    };
    let Some(after) = options.timeout else {
        return answer.await;
    };
    match tokio::time::timeout(after, answer).await {
        Ok(reply) => reply,
        Err(_elapsed) => Err(ApiError::TimedOut { method: method.to_owned(), after }.into()),
    }
}

fn write_params<M: Method>(params: &M::Params) -> Result<Map<String, Value>, ApiError> {
    let value =
        serde_json::to_value(params).map_err(|source| ApiError::WriteParams { method: M::NAME, source })?;
    object(M::NAME, value)
}

fn object(method: &str, value: Value) -> Result<Map<String, Value>, ApiError> {
    match value {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(Map::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(ApiError::ParamsShape { method: method.to_owned() })
        }
    }
}

/// The notifications of one subscription. Dropping it ends the subscription.
///
/// At most 1,024 wait for their reader; what does not fit is told as `lagged`, like what the runtime
/// could not hold.
#[derive(Debug)]
pub struct Events {
    slot: Arc<super::slot::Slot>,
    reply: SubscribeReply,
    client: Client,
}

impl Events {
    /// Waits for the next notification; `None` after an error. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `DAEMON_DOWN` when the connection ended, or what the runtime says before it ends the subscription.
    pub async fn next(&mut self) -> Option<Result<Notification, Failure>> {
        self.slot.next(self.reply.subscription).await
    }

    /// The newest offset when the subscription began.
    pub fn head(&self) -> u64 {
        self.reply.head
    }

    /// The epoch of its offsets.
    pub fn epoch(&self) -> &str {
        &self.reply.epoch
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let subscription = self.reply.subscription;
        self.client.wire.close_subscription(subscription);
        if let Ok(params) = write_params::<EventUnsubscribe>(&Unsubscribe { subscription }) {
            // Without an id: nobody waits for the answer.
            self.client.wire.send_now(codec::request_line(None, EventUnsubscribe::NAME, &params));
        }
    }
}
