//! The tasks of a lane, by id. A copy shares them: a lane is copied with each thing that happens to it, and
//! may have hundreds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lane::Task;
use crate::ids::TaskId;

/// The tasks of a lane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tasks(BTreeMap<TaskId, Arc<Task>>);

impl Tasks {
    /// The task with this id.
    pub fn get(&self, id: &TaskId) -> Option<&Task> {
        self.0.get(id).map(Arc::as_ref)
    }

    /// The same, to be changed; copies of the lane keep what they have.
    pub fn get_mut(&mut self, id: &TaskId) -> Option<&mut Task> {
        self.0.get_mut(id).map(Arc::make_mut)
    }

    /// True when there is one with this id.
    pub fn contains_key(&self, id: &TaskId) -> bool {
        self.0.contains_key(id)
    }

    /// Puts one in.
    pub fn insert(&mut self, id: TaskId, task: Task) {
        self.0.insert(id, Arc::new(task));
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &TaskId) {
        self.0.remove(id);
    }

    /// All of them, the oldest first.
    pub fn values(&self) -> impl Iterator<Item = &Task> {
        self.0.values().map(Arc::as_ref)
    }

    /// The ids of all.
    pub fn keys(&self) -> impl Iterator<Item = &TaskId> {
        self.0.keys()
    }
}

impl std::ops::Index<&TaskId> for Tasks {
    type Output = Task;

    /// # Panics
    /// Without a task of this id, as a map does.
    fn index(&self, id: &TaskId) -> &Task {
        &self.0[id]
    }
}
