//! Makes and removes the folders of groups. Acts: the file system of control groups is the state.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::find::{Bases, Controller, Limit, Way, bases, limit_files};
use crate::ids::{LaneId, TaskId};

/// The folder of every runtime's groups, below our own group.
const OURS: &str = "lanes";
/// The folder of the keepers' group.
const KEEPERS: &str = "keepers";
/// A home whose groups nobody is in, and that have not changed for so long, is probably deleted.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);
/// Deeper groups than this a task does not make in good faith.
const DEEPEST: usize = 64;

/// The groups of one home.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// `<own group>/lanes/<home>` of version 2, where it can be made.
    v2: Option<PathBuf>,
    /// The same for version 1, one a controller.
    v1: Vec<(Controller, PathBuf)>,
    /// What version 2 can limit.
    v2_controllers: Vec<Controller>,
}

/// The groups of one task that is about to start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// The command joins these.
    pub command: Vec<PathBuf>,
    /// The keeper joins these.
    pub keeper: Vec<PathBuf>,
    /// The one of `command` that holds this task alone, and can be ended as a whole.
    pub kill: Option<PathBuf>,
    /// Limits that no group holds.
    pub unlimited: Vec<Limit>,
}

impl Control {
    /// Looks where groups of this home can be made. Makes nothing that stays.
    pub fn look(home: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self::of(bases(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup")), home)
    }

    /// The groups of a home below these bases, as far as they can be written.
    pub fn of(bases: Bases, home: &Path) -> Self {
        let digest = Sha256::digest(home.as_os_str().as_encoded_bytes());
        let name: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let place = |base: PathBuf| base.join(OURS).join(&name);
        let usable = |base: &PathBuf| rustix::fs::access(base, rustix::fs::Access::WRITE_OK).is_ok();
        let v2 = bases.v2.filter(usable);
        let v2_controllers = v2.as_ref().map(|base| controllers(base)).unwrap_or_default();
        let mut v1 = bases.v1;
        v1.retain(|(controller, base)| usable(base) && !v2_controllers.contains(controller));
        let v1 = v1.into_iter().map(|(controller, base)| (controller, place(base))).collect();
        Self { v2: v2.map(place), v1, v2_controllers }
    }

    /// True when the tree of a task can be ended by its group.
    pub fn kills(&self) -> bool {
        self.v2.is_some()
    }

    /// What can hold a limit.
    pub fn way(&self, controller: Controller) -> Option<Way> {
        if self.v2_controllers.contains(&controller) {
            return Some(Way::V2);
        }
        self.v1.iter().any(|(one, _)| *one == controller).then_some(Way::V1)
    }

    /// Makes the groups of a task and sets the limits of its lane. What cannot be made is left out.
    pub fn prepare(&self, lane: LaneId, task: TaskId, limits: &[Limit]) -> Prepared {
        let mut prepared = Prepared::default();
        let mut held: Vec<Controller> = Vec::new();
        if let Some(place) = &self.v2 {
            let folder = place.join(lane.text().as_str());
            let group = folder.join(task.text().as_str());
            if make(&group) {
                if limits.iter().any(|limit| self.way(limit.controller) == Some(Way::V2)) {
                    self.enable(place);
                }
                held.extend(self.limit(&folder, Way::V2, limits));
                if group.join("cgroup.kill").exists() {
                    prepared.kill = Some(group.clone());
                }
                prepared.command.push(group);
            }
            let keepers = place.join(KEEPERS);
            if make(&keepers) {
                prepared.keeper.push(keepers);
            }
        }
        for (controller, place) in &self.v1 {
            let limits: Vec<Limit> =
                limits.iter().copied().filter(|limit| limit.controller == *controller).collect();
            let folder = place.join(lane.text().as_str());
            if limits.is_empty() || !make(&folder) {
                continue;
            }
            held.extend(self.limit(&folder, Way::V1, &limits));
            prepared.command.push(folder);
        }
        prepared.unlimited =
            limits.iter().copied().filter(|limit| !held.contains(&limit.controller)).collect();
        prepared
    }

    /// Gives the controllers to our folders, from our own group down to that of the home.
    fn enable(&self, place: &Path) {
        let words: Vec<String> = self.v2_controllers.iter().map(|one| format!("+{}", one.name())).collect();
        let above: Vec<&Path> = place.ancestors().take(3).collect();
        for folder in above.into_iter().rev() {
            for word in &words {
                // Refused where processes are in the group: then there is no limit, and that is told.
                let _refused = fs::write(folder.join("cgroup.subtree_control"), word);
            }
        }
    }

    /// Sets limits; says which hold.
    fn limit(&self, folder: &Path, way: Way, limits: &[Limit]) -> Vec<Controller> {
        let mine = limits.iter().filter(|limit| self.way(limit.controller) == Some(way));
        mine.filter(|limit| {
            let (file, value) = limit_files(way, **limit);
            fs::write(folder.join(file), value).is_ok()
        })
        .map(|limit| limit.controller)
        .collect()
    }

    /// The limits that a group of a task is under, as the kernel has them.
    pub fn in_force(&self, lane: LaneId, command: &[PathBuf]) -> Vec<(Limit, Way)> {
        let text = lane.text();
        let places = Controller::ALL.into_iter().filter_map(|controller| {
            let way = self.way(controller)?;
            let place = match way {
                Way::V2 => self.v2.as_ref()?,
                Way::V1 => self.v1.iter().find(|(one, _)| *one == controller).map(|(_, place)| place)?,
            };
            let folder = place.join(text.as_str());
            command.iter().any(|group| group.starts_with(&folder)).then_some((controller, way, folder))
        });
        places
            .filter_map(|(controller, way, folder)| {
                let (file, _value) = limit_files(way, Limit { controller, value: 0 });
                let value: u64 = fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()?;
                let value = match (controller, way) {
                    (Controller::Cpu, Way::V1) => value.saturating_mul(100).div_ceil(1024),
                    (Controller::Memory | Controller::Pids | Controller::Cpu, Way::V1 | Way::V2) => value,
                };
                // Version 1 says no limit with the largest number of pages.
                (value < 1 << 62).then_some((Limit { controller, value }, way))
            })
            .collect()
    }

    /// Removes the groups of a lane, as far as nobody is in them, and with the last one ours.
    pub fn remove_lane(&self, lane: LaneId) {
        for place in self.places() {
            remove_below(&place.join(lane.text().as_str()), DEEPEST);
            remove_if_unused(place);
        }
    }

    /// Removes the groups that nobody is in; afterwards only those of living tasks are there. To be
    /// called while no task is being started.
    ///
    /// Those of other homes go too once they have not changed for an hour: a home that was deleted has
    /// nobody else to do it, and one that is alive makes what it needs again.
    pub fn tidy(&self) {
        for other in self.places().filter_map(Path::parent).filter_map(|all| fs::read_dir(all).ok()) {
            let changed = |entry: &fs::DirEntry| entry.metadata().and_then(|about| about.modified());
            let old = |entry: &fs::DirEntry| {
                changed(entry).is_ok_and(|at| at.elapsed().is_ok_and(|age| age > FORGOTTEN))
            };
            for home in other.flatten().filter(old) {
                remove_below(&home.path(), DEEPEST);
            }
        }
        for place in self.places() {
            let Ok(lanes) = fs::read_dir(place) else { continue };
            for lane in lanes.flatten() {
                remove_below(&lane.path(), DEEPEST);
            }
            remove_if_unused(place);
        }
    }

    fn places(&self) -> impl Iterator<Item = &Path> {
        self.v2.iter().chain(self.v1.iter().map(|(_, place)| place)).map(PathBuf::as_path)
    }
}

/// What the groups below a group of version 2 can be limited in.
fn controllers(base: &Path) -> Vec<Controller> {
    let listed = fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
    let given = fs::read_to_string(base.join("cgroup.subtree_control")).unwrap_or_default();
    let has = |text: &str, one: Controller| text.split_ascii_whitespace().any(|name| name == one.name());
    // Only the root gives controllers on while processes are in it; we are in ours.
    let is_root = !base.join("cgroup.type").exists();
    let able = |one: &Controller| has(&given, *one) || (is_root && has(&listed, *one));
    Controller::ALL.into_iter().filter(able).collect()
}

/// Makes a folder with those above it. Another runtime may remove an empty one above just now.
fn make(folder: &Path) -> bool {
    const TRIES: usize = 5;
    for _again in 0..TRIES {
        match fs::create_dir_all(folder) {
            Ok(()) => return true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::debug!(%error, folder = %folder.display(), "a control group could not be made");
                return false;
            }
        }
    }
    false
}

/// Removes a group and those below it; one that somebody is in stays.
fn remove_below(folder: &Path, depth: usize) {
    if let (Ok(entries), Some(depth)) = (fs::read_dir(folder), depth.checked_sub(1)) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_below(&entry.path(), depth);
            }
        }
    }
    let _somebody_is_in_it = fs::remove_dir(folder);
}

/// Removes the folders of a home and of all homes when nothing is in them but an unused group for keepers.
fn remove_if_unused(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    if folders.into_iter().any(|entry| entry.file_name() != KEEPERS) {
        return;
    }
    let _keepers_live = fs::remove_dir(place.join(KEEPERS));
    if fs::remove_dir(place).is_ok()
        && let Some(all) = place.parent()
    {
        let _another_home_is_there = fs::remove_dir(all);
    }
}
