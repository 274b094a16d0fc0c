//! Serving: accepts our own user, gives each connection a task, stops in order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::serve_connection;
use super::idempotency::Requests;
use super::{Socket, shutdown};
use crate::api::LaneRef;
use crate::api::codec::{self, Id};
use crate::bus::{BoxFuture, Bus, Context};
use crate::failure::{Code, Failure};
use crate::ids::LaneId;

/// How many clients at once: five for each of fifty lanes; below the usual limit of open files.
const MAX_CONNECTIONS: usize = 256;
/// After an accept that failed (no descriptors left) it is tried again so much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often old replies are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);

/// The lane whose keeper a process descends from, when it does. Reads `/proc`; runs where it may block.
pub type PeerLane = Arc<dyn Fn(i32) -> Option<LaneId> + Send + Sync>;
/// Finds the lane that somebody named.
pub type ResolveLane =
    Arc<dyn Fn(LaneRef, Context) -> BoxFuture<'static, Result<LaneId, Failure>> + Send + Sync>;

/// What is served, and how.
pub struct ServeOptions {
    /// Where clients come in.
    pub socket: Socket,
    /// Who answers.
    pub bus: Bus,
    /// The version of the runtime.
    pub version: String,
    /// What the runtime can do besides, for `hello`.
    pub capabilities: Vec<String>,
    /// Which lane a client speaks from.
    pub peer_lane: PeerLane,
    /// Which lane a subscription or replay is about.
    pub resolve_lane: ResolveLane,
}

impl ServeOptions {
    /// A server without lanes: nobody speaks from one, and only ids name one.
    pub fn new(socket: Socket, bus: Bus) -> Self {
        let by_id = |lane: LaneRef, _context| -> BoxFuture<'static, Result<LaneId, Failure>> {
            let found = lane.lane.lossy().parse::<LaneId>();
            let failed =
                |_error| Failure::new(Code::LaneNotFound, format!("there is no lane {:?}", lane.lane));
            Box::pin(std::future::ready(found.map_err(failed)))
        };
        Self {
            socket,
            bus,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: Vec::new(),
            peer_lane: Arc::new(|_pid| None),
            resolve_lane: Arc::new(by_id),
        }
    }
}

/// How serving ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Requests that were cut off because they did not end in time.
    pub cut_off: usize,
    /// Connections that were closed by force.
    pub aborted: usize,
}

/// What all connections share.
pub(super) struct Server {
    pub(super) bus: Bus,
    pub(super) version: String,
    pub(super) capabilities: Vec<String>,
    pub(super) requests: Requests,
    /// Requests that change something; they outlive their connection.
    pub(super) work: TaskTracker,
    /// Refuse and cancel.
    pub(super) stop: CancellationToken,
    /// Drop what still runs.
    pub(super) cut: CancellationToken,
    peer_lane: PeerLane,
    resolve_lane: ResolveLane,
}

impl Server {
    /// Which lane a process speaks from, found out once, while it is there.
    pub(super) async fn lane_of(&self, pid: Option<i32>) -> Option<LaneId> {
        let pid = pid.filter(|pid| *pid > 0)?;
        let peer_lane = self.peer_lane.clone();
        match tokio::task::spawn_blocking(move || peer_lane(pid)).await {
            Ok(lane) => lane,
            Err(error) => {
                tracing::error!(%error, pid, "could not find out which lane a client speaks from");
                None
            }
        }
    }

    /// Which lane somebody means.
    pub(super) async fn lane(
        &self,
        lane: Option<LaneRef>,
        context: Context,
    ) -> Result<Option<LaneId>, Failure> {
        match lane {
            Some(lane) => (self.resolve_lane)(lane, context).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Serves the socket until `stop` is cancelled; returns within [`shutdown::TOTAL`] after that.
///
/// The bus stays open: whoever owns it closes it afterwards.
pub async fn serve(options: ServeOptions, stop: CancellationToken) -> Served {
    let ServeOptions { socket, bus, version, capabilities, peer_lane, resolve_lane } = options;
    let server = Arc::new(Server {
        requests: Requests::new(bus.clone()),
        bus,
        version,
        capabilities,
        work: TaskTracker::new(),
        stop,
        cut: CancellationToken::new(),
        peer_lane,
        resolve_lane,
    });
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept_all(&socket, &server, &mut connections) => {}
        () = forget_old_replies(&server) => {}
        () = server.stop.cancelled() => {}
    }
    drop(socket);
    stop_in_order(&server, connections).await
}

async fn stop_in_order(server: &Server, mut connections: JoinSet<()>) -> Served {
    server.work.close();
    let all_ended = async {
        server.work.wait().await;
        while connections.join_next().await.is_some() {}
    };
    let mut served = Served::default();
    if tokio::time::timeout(shutdown::DRAIN, all_ended).await.is_ok() {
        return served;
    }
    served.cut_off = server.work.len();
    server.cut.cancel();
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(shutdown::CUT, all_ended).await.is_err() {
        served.aborted = connections.len();
        connections.abort_all();
    }
    if served != Served::default() {
        tracing::warn!(served.cut_off, served.aborted, "the socket did not stop in time");
    }
    served
}

async fn accept_all(socket: &Socket, server: &Arc<Server>, connections: &mut JoinSet<()>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        tokio::select! {
            accepted = socket.listener().accept() => match accepted {
                Ok((stream, _unnamed)) => take_in(stream, server, &room, connections),
                Err(error) => {
                    tracing::error!(%error, "could not accept a client");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the task of a connection failed");
                }
            }
        }
    }
}

fn take_in(stream: UnixStream, server: &Arc<Server>, room: &Arc<Semaphore>, connections: &mut JoinSet<()>) {
    let peer = match stream.peer_cred() {
        Ok(peer) if peer.uid() == rustix::process::geteuid().as_raw() => peer,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), pid = peer.pid(), "another user was cut off");
            return;
        }
        Err(error) => {
            tracing::warn!(%error, "a client that cannot be identified was cut off");
            return;
        }
    };
    let Ok(place) = room.clone().try_acquire_owned() else {
        let _client_sees_the_end = refuse(&stream);
        return;
    };
    connections.spawn(keep_place(place, serve_connection(server.clone(), stream, peer)));
}

async fn keep_place(place: OwnedSemaphorePermit, serving: impl Future<Output = ()>) {
    serving.await;
    drop(place);
}

/// A fresh socket has room for one line.
fn refuse(stream: &UnixStream) -> io::Result<usize> {
    let failure =
        Failure::new(Code::Backpressure, format!("{MAX_CONNECTIONS} clients are connected already"))
            .hint("close some, then try again");
    stream.try_write(&codec::reply_line(&Id::Null, &Err(failure)))
}

async fn forget_old_replies(server: &Server) {
    let mut hours = tokio::time::interval(FORGET_EVERY);
    loop {
        hours.tick().await;
        if let Err(failure) = server.requests.forget_old().await {
            tracing::warn!(%failure, "old replies could not be forgotten");
        }
    }
}
