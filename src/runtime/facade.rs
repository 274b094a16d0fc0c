//! The facade: a runtime in this process, or a client of the one that owns the home.

use std::path::PathBuf;
use std::sync::Arc;

use super::owner::Owner;
use crate::api::{self, Client, Method, Notification, Span, Subscribe};
use crate::bus::{Actor, Call, Context, Followed, Follower, Query};
use crate::failure::{Code, Failure};
use crate::fault;
use crate::home::Home;
use crate::store::{LockError, OwnerLock};
use crate::task::KeeperChoice;

/// How a runtime is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The state folder, absolute. One process owns it; every other is its client.
    pub home: PathBuf,
    /// What holds the tasks.
    pub keeper: KeeperChoice,
    /// True: an owner serves the socket of the home, so that others can be clients (feature `serve`).
    pub serve: bool,
    /// The user's configuration file; none to read none.
    pub user_config: Option<PathBuf>,
    /// git, when it is not the one on the `PATH`.
    pub git: Option<PathBuf>,
    /// Who this is, in events and to the owner.
    pub who: Actor,
    /// The soft limit of open files that commands get, when this process has raised its own.
    pub open_files_soft: Option<u64>,
}

impl Options {
    /// An owner of `home` that serves its socket and keeps tasks with `keeper`.
    pub fn new(home: impl Into<PathBuf>, keeper: KeeperChoice) -> Self {
        Self {
            home: home.into(),
            keeper,
            serve: cfg!(feature = "serve"),
            user_config: None,
            git: None,
            who: Actor { kind: "embedder".into(), id: format!("pid-{}", std::process::id()) },
            open_files_soft: None,
        }
    }
}

/// The socket being served.
#[cfg(feature = "serve")]
pub(super) struct Server {
    /// Serving stops when this is dropped, also when the runtime is dropped without being shut down.
    pub(super) until: tokio_util::sync::DropGuard,
    pub(super) serving: tokio::task::JoinHandle<crate::daemon::Served>,
}

#[cfg(feature = "serve")]
impl Server {
    /// Refuses, drains, cuts off; see `daemon::shutdown` for how long that takes at most.
    async fn stop(self) {
        drop(self.until);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the server of the socket did not end well");
        }
    }
}

enum Inner {
    Owner {
        owner: Arc<Owner>,
        #[cfg(feature = "serve")]
        server: Option<Server>,
    },
    Client(Client),
}

/// A runtime: lanes, their tasks, their events.
///
/// Dropped without [`Runtime::shut_down`] an owner stops as well, without waiting: what was on its way is
/// taken up by the next owner.
pub struct Runtime {
    inner: Inner,
    who: Actor,
}

impl Runtime {
    /// Opens the home: as its owner when nobody else is, else as a client of the owner.
    ///
    /// An owner first takes up what an earlier one left: running tasks with the same pids, cleanups and
    /// provisionings that were cut off.
    ///
    /// # Errors
    /// `IO` when the home cannot be used, `STORE_NEWER`, `DAEMON_DOWN` when the owner serves no socket,
    /// `PROTOCOL_MISMATCH`.
    pub async fn open(options: Options) -> Result<Self, Failure> {
        let home = Home::prepare(&options.home)?;
        match OwnerLock::acquire(home.path()) {
            Ok(lock) => Self::own(options, home, lock).await,
            Err(held @ LockError::Held { .. }) => match Self::join(&options).await {
                Ok(runtime) => Ok(runtime),
                Err(failure) if failure.code == Code::DaemonDown => {
                    Err(Failure::new(Code::DaemonDown, format!("{held}, and it serves no socket"))
                        .hint("open that runtime with `serve`, or use another home"))
                }
                Err(failure) => Err(failure),
            },
            Err(other) => Err(other.into()),
        }
    }

    /// Opens the home as its owner only.
    ///
    /// # Errors
    /// As [`Runtime::open`]; `BUSY` when another process owns the home.
    pub async fn open_owner(options: Options) -> Result<Self, Failure> {
        let home = Home::prepare(&options.home)?;
        let lock = OwnerLock::acquire(home.path())?;
        Self::own(options, home, lock).await
    }

    async fn own(options: Options, home: Home, lock: OwnerLock) -> Result<Self, Failure> {
        fault::at("daemon.lock")?;
        let owner = Owner::open(&options, home, lock).await?;
        #[cfg(feature = "serve")]
        let server = if options.serve {
            match owner.serve() {
                Ok(server) => Some(server),
                Err(failure) => {
                    owner.shut_down().await;
                    return Err(failure);
                }
            }
        } else {
            None
        };
        let inner = Inner::Owner {
            owner,
            #[cfg(feature = "serve")]
            server,
        };
        Ok(Self { inner, who: options.who })
    }

    async fn join(options: &Options) -> Result<Self, Failure> {
        let client =
            Client::connect(&options.home, &format!("{}/{}", options.who.kind, options.who.id)).await?;
        Ok(Self { inner: Inner::Client(client), who: options.who.clone() })
    }

    /// True when this process owns the home.
    pub fn is_owner(&self) -> bool {
        matches!(self.inner, Inner::Owner { .. })
    }

    /// Asks for something. Dropping the future stops waiting; what was begun goes on.
    ///
    /// # Errors
    /// The refusal or error of the method, with its stable code.
    pub async fn call<M: Method>(&self, params: M::Params) -> Result<M::Reply, Failure> {
        match &self.inner {
            Inner::Client(client) => client.call::<M>(params).await,
            Inner::Owner { owner, .. } => {
                let params = serde_json::to_value(params).map_err(|error| unreadable::<M>(&error))?;
                let context = Context::new(self.who.clone());
                let call = Call { method: M::NAME.to_owned(), params, context, timeout: None };
                let reply = owner.bus.dispatch(call).await?;
                serde_json::from_value(reply).map_err(|error| unreadable::<M>(&error))
            }
        }
    }

    /// Past and coming events, in order, without a hole.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` for a malformed topic, `LANE_NOT_FOUND`, `DAEMON_DOWN`.
    pub async fn events(&self, wanted: Subscribe) -> Result<Events, Failure> {
        match &self.inner {
            Inner::Client(client) => Ok(Events(Source::Client(client.subscribe(wanted).await?))),
            Inner::Owner { owner, .. } => {
                let lane = match &wanted.lane {
                    Some(words) => Some(owner.find(words).await?.lane().id),
                    None => None,
                };
                let (head, _epoch) = owner.bus.head();
                let query =
                    Query { since: wanted.since.unwrap_or(head), limit: 0, patterns: wanted.topics, lane };
                Ok(Events(Source::Owner(Box::new(owner.bus.follow(query, EVENTS_QUEUED)?))))
            }
        }
    }

    /// Resolves when somebody asked this runtime to stop (`daemon.stop`); for a client never.
    pub async fn asked_to_stop(&self) {
        match &self.inner {
            Inner::Owner { owner, .. } => owner.stop.cancelled().await,
            Inner::Client(_) => std::future::pending().await,
        }
    }

    /// Stops: refuses new requests, lets worktrees that are being made or retired come to an end for a
    /// while, writes down, lets go. Lanes and their tasks go on; the next owner takes them up.
    pub async fn shut_down(self) {
        match self.inner {
            Inner::Client(client) => drop(client),
            Inner::Owner {
                owner,
                #[cfg(feature = "serve")]
                server,
            } => {
                #[cfg(feature = "serve")]
                if let Some(server) = server {
                    server.stop().await;
                }
                owner.shut_down().await;
            }
        }
    }
}

/// How many events may wait for a reader in this process before it reads them from the journal again.
const EVENTS_QUEUED: usize = 4096;

enum Source {
    Owner(Box<Follower>),
    Client(api::Events),
}

/// Events in order. Ends when the runtime stops.
pub struct Events(Source);

impl Events {
    /// The next event, gap or lag. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Notification, Failure>> {
        match &mut self.0 {
            Source::Client(events) => events.next().await,
            Source::Owner(follower) => {
                let followed = follower.next().await.transpose()?;
                Some(followed.map(|followed| {
                    let mut told = Notification { subscription: 0, event: None, lagged: None, gap: None };
                    match followed {
                        Followed::Event(event) => told.event = Some(crate::bus::Event::clone(&event)),
                        Followed::Gap { from, to } => told.gap = Some(Span { from, to }),
                    }
                    told
                }))
            }
        }
    }
}

fn unreadable<M: Method>(error: &serde_json::Error) -> Failure {
    Failure::new(
        Code::ValidationError,
        format!("a message of {} cannot be written or read: {error}", M::NAME),
    )
}
