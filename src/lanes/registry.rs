//! The registry of open lanes: who owns which, names and places counted, no lock held across work.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::actor::Actor;
use super::handle::Handle;
use super::lane::Lane;
use super::machine::Effect;
use super::table::State;
use super::world::World;
use crate::bus::Bus;
use crate::failure::{Code, Failure};
use crate::ids::{LaneId, WorkspaceId};

struct Shared {
    lanes: DashMap<LaneId, Handle>,
    /// Names are unique without regard to case, because some file systems know no case.
    names: DashMap<(WorkspaceId, String), LaneId>,
    places: DashMap<WorkspaceId, usize>,
    bus: Bus,
    world: Arc<dyn World>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// The open lanes of a runtime. Clones are the same registry.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

/// A name and a place that are taken until this is dropped or the lane's owner has ended.
pub struct Reservation {
    shared: Arc<Shared>,
    workspace: WorkspaceId,
    name: String,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.names.remove(&(self.workspace, self.name.clone()));
        if let Some(mut taken) = self.shared.places.get_mut(&self.workspace) {
            *taken = taken.saturating_sub(1);
        }
    }
}

impl Registry {
    /// A registry without lanes.
    pub fn new(bus: Bus, world: Arc<dyn World>) -> Self {
        let shared = Shared {
            lanes: DashMap::new(),
            names: DashMap::new(),
            places: DashMap::new(),
            bus,
            world,
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a name and a place in a workspace.
    ///
    /// # Errors
    /// `NAME_TAKEN`, `AT_CAPACITY`, `DAEMON_DOWN` while stopping.
    pub fn reserve(
        &self,
        workspace: WorkspaceId,
        name: &str,
        id: LaneId,
        capacity: usize,
    ) -> Result<Reservation, Failure> {
        if self.shared.stop.is_cancelled() {
            return Err(Failure::new(Code::DaemonDown, "the runtime is stopping").hint("try again"));
        }
        let asked = name;
        let name = name.to_lowercase();
        match self.shared.names.entry((workspace, name.clone())) {
            Entry::Occupied(_) => {
                return Err(Failure::new(
                    Code::NameTaken,
                    format!("there is an open lane called {asked} (upper and lower case are the same)"),
                )
                .hint("take another name, clean that lane up, or add --ensure to have that one"));
            }
            Entry::Vacant(free) => {
                free.insert(id);
            }
        }
        let mut taken = self.shared.places.entry(workspace).or_insert(0);
        *taken += 1;
        let count = *taken;
        drop(taken);
        let reservation = Reservation { shared: Arc::clone(&self.shared), workspace, name };
        if count > capacity {
            return Err(Failure::new(
                Code::AtCapacity,
                format!("{capacity} lanes are open, the most this workspace takes"),
            )
            .hint("clean up a lane that is done (lanes ls, lanes cleanup NAME), or raise lanes.capacity"));
        }
        Ok(reservation)
    }

    /// Gives a lane its owner. `first` are the effects that a restart takes up again.
    pub fn own(&self, lane: Lane, reservation: Reservation, first: Vec<Effect>) -> Handle {
        let id = lane.id;
        let (actor, handle) = Actor::new(
            lane,
            self.shared.bus.clone(),
            Arc::clone(&self.shared.world),
            self.shared.stop.clone(),
        );
        self.shared.lanes.insert(id, handle.clone());
        let shared = Arc::clone(&self.shared);
        self.shared.tracker.spawn(async move {
            let view = actor.run(first).await;
            shared.lanes.remove(&id);
            drop(reservation);
            // Only now may somebody who waits for the end of this lane take its name again.
            drop(view);
        });
        handle
    }

    /// The owner of an open lane.
    pub fn get(&self, id: LaneId) -> Option<Handle> {
        self.shared.lanes.get(&id).map(|handle| handle.clone())
    }

    /// The open lane of that name in a workspace.
    pub fn by_name(&self, workspace: WorkspaceId, name: &str) -> Option<Handle> {
        let id = *self.shared.names.get(&(workspace, name.to_lowercase()))?;
        self.get(id)
    }

    /// Every owner, in order of creation.
    pub fn all(&self) -> Vec<Handle> {
        let mut handles: Vec<Handle> = self.shared.lanes.iter().map(|entry| entry.value().clone()).collect();
        handles.sort_by_key(Handle::id);
        handles
    }

    /// How many lanes are open.
    pub fn open(&self) -> usize {
        self.all().iter().filter(|handle| handle.lane().state() != State::Closed).count()
    }

    /// Refuses new lanes and tells every owner to end.
    pub fn cancel(&self) {
        self.shared.stop.cancel();
    }

    /// Refuses new lanes, ends every owner, waits for them.
    pub async fn stop(&self) {
        self.cancel();
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
    }
}
