//! A client that outlives its connection: it connects again, asks again, reads on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{ApiError, Client, DaemonStop, Events, Method, Notification, Options, Subscribe, slot};
use crate::bus::BoxFuture;
use crate::failure::{Code, Failure};

/// Between the first two tries to connect; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// Never longer between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long is tried when nobody says otherwise: a runtime with many lanes is back in a few seconds.
const GIVE_UP: Duration = Duration::from_secs(60);
/// How often one call is asked: a runtime that falls over it so often will not answer it.
const MAX_TRIES: u32 = 16;

/// Makes sure that a runtime is there, such as `daemon::ensure_running`.
pub type Revive = Arc<dyn Fn() -> BoxFuture<'static, Result<(), Failure>> + Send + Sync>;

/// How a client deals with a runtime that goes away.
#[derive(Clone)]
pub struct Resilience {
    /// For how long a lost runtime is looked for.
    pub give_up: Duration,
    /// Called before each try to connect after the first.
    pub revive: Option<Revive>,
}

impl Default for Resilience {
    fn default() -> Self {
        Self { give_up: GIVE_UP, revive: None }
    }
}

/// A client that outlives its connection. Clones share it.
#[derive(Clone)]
pub struct Resilient {
    shared: Arc<Shared>,
}

struct Shared {
    home: PathBuf,
    who: String,
    resilience: Resilience,
    /// Held while one caller connects for all.
    current: tokio::sync::Mutex<Option<Client>>,
}

impl Resilient {
    pub(super) async fn connect(home: &Path, who: &str, resilience: Resilience) -> Result<Self, Failure> {
        let shared = Shared {
            home: home.to_path_buf(),
            who: who.to_owned(),
            resilience,
            current: tokio::sync::Mutex::new(None),
        };
        let resilient = Self { shared: Arc::new(shared) };
        resilient.client(resilient.deadline()).await?;
        Ok(resilient)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.shared.resilience.give_up
    }

    /// The connection, made again when it was lost.
    async fn client(&self, deadline: Instant) -> Result<Client, Failure> {
        let mut current = self.shared.current.lock().await;
        if let Some(client) = current.as_ref().filter(|client| !client.is_lost()) {
            return Ok(client.clone());
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let failure = match Client::connect(&self.shared.home, &self.shared.who).await {
                Ok(client) => {
                    *current = Some(client.clone());
                    return Ok(client);
                }
                Err(failure) if may_come_back(&failure) && Instant::now() + pause < deadline => failure,
                Err(failure) => return Err(failure),
            };
            tracing::debug!(%failure, "the runtime is not there");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if let Some(revive) = &self.shared.resilience.revive {
                revive().await?;
            }
        }
    }

    /// Calls a method. One that changes something gets a key of its own, so that it can be asked again
    /// after a lost connection and still runs once.
    ///
    /// # Errors
    /// What the runtime answers, and `DAEMON_DOWN` once [`Resilience::give_up`] is over.
    pub async fn call<M: Method>(&self, params: M::Params) -> Result<M::Reply, Failure>
    where
        M::Params: Clone,
    {
        let own_key = M::CHANGES && M::NAME != DaemonStop::NAME;
        let idempotency_key = own_key.then(|| uuid::Uuid::new_v4().simple().to_string());
        self.call_with::<M>(params, Options { timeout: None, idempotency_key }).await
    }

    /// Calls a method with options; asked again after a lost connection when it changes nothing or has
    /// an idempotency key. The time-out is that of each try.
    ///
    /// # Errors
    /// As [`Resilient::call`], and `TIMEOUT`.
    pub async fn call_with<M: Method>(&self, params: M::Params, options: Options) -> Result<M::Reply, Failure>
    where
        M::Params: Clone,
    {
        let again = !M::CHANGES || options.idempotency_key.is_some();
        let mut tries = 0;
        loop {
            let client = self.client(self.deadline()).await?;
            tries += 1;
            match client.call_with::<M>(params.clone(), options.clone()).await {
                Err(failure) if again && may_come_back(&failure) && tries < MAX_TRIES => {
                    self.leave(&client).await;
                }
                answer => return answer,
            }
        }
    }

    /// Calls a method by its name, once.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn request(&self, method: &str, params: Value) -> Result<Value, Failure> {
        self.client(self.deadline()).await?.request(method, params).await
    }

    /// A connection on which the runtime says that it is going away is of no more use.
    async fn leave(&self, client: &Client) {
        if !client.is_lost() {
            let mut current = self.shared.current.lock().await;
            if current.as_ref().is_some_and(|other| other.is_same(client)) {
                *current = None;
            }
        }
        // So that a runtime which is going away is not asked in a circle.
        tokio::time::sleep(FIRST_PAUSE).await;
    }

    /// Starts a subscription that goes on after a lost connection where it was.
    ///
    /// # Errors
    /// As [`Resilient::call`].
    pub async fn subscribe(&self, subscribe: Subscribe) -> Result<ResilientEvents, Failure> {
        let events = self.open(&subscribe).await?;
        let position = subscribe.since.unwrap_or(events.head());
        let epoch = events.epoch().to_owned();
        Ok(ResilientEvents { resilient: self.clone(), subscribe, events: Some(events), position, epoch })
    }

    async fn open(&self, subscribe: &Subscribe) -> Result<Events, Failure> {
        let mut tries = 0;
        loop {
            let client = self.client(self.deadline()).await?;
            tries += 1;
            match client.subscribe(subscribe.clone()).await {
                Err(failure) if may_come_back(&failure) && tries < MAX_TRIES => {
                    self.leave(&client).await;
                }
                answer => return answer,
            }
        }
    }
}

/// A subscription that outlives its connection.
pub struct ResilientEvents {
    resilient: Resilient,
    subscribe: Subscribe,
    /// None: the connection was lost, or the subscription has ended.
    events: Option<Events>,
    position: u64,
    epoch: String,
}

impl ResilientEvents {
    /// Waits for the next notification.
    ///
    /// # Errors
    /// `IO` when the journal was rebuilt meanwhile, so that the offset means nothing any more: start again
    /// from a snapshot. `DAEMON_DOWN` when the runtime did not come back in time; asking again tries again.
    pub async fn next(&mut self) -> Result<Notification, Failure> {
        loop {
            if self.events.is_none() {
                self.reopen().await?;
            }
            let Some(events) = &mut self.events else {
                continue;
            };
            match events.next().await {
                Some(Ok(notification)) => {
                    let span = slot::span(&notification);
                    self.position = span.map_or(self.position, |span| span.to.max(self.position));
                    return Ok(notification);
                }
                Some(Err(failure)) if may_come_back(&failure) => self.events = None,
                Some(Err(failure)) => {
                    self.events = None;
                    return Err(failure);
                }
                None => self.events = None,
            }
        }
    }

    /// The newest offset that was delivered or skipped.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The epoch of the offsets.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    async fn reopen(&mut self) -> Result<(), Failure> {
        let subscribe = Subscribe { since: Some(self.position), ..self.subscribe.clone() };
        let events = self.resilient.open(&subscribe).await?;
        if events.epoch() != self.epoch {
            return Err(ApiError::EpochChanged {
                offset: self.position,
                before: self.epoch.clone(),
                now: events.epoch().to_owned(),
            }
            .into());
        }
        self.events = Some(events);
        Ok(())
    }
}

fn may_come_back(failure: &Failure) -> bool {
    failure.code == Code::DaemonDown && failure.retryable
}
