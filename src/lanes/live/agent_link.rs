//! The SSH agent of whoever came last, behind one path for all of a lane's life.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{Live, Shared};
use crate::ids::LaneId;
use crate::lanes::lane::Lane;
use crate::raw::Raw;

/// The variable that names the agent's socket.
const AGENT: &[u8] = b"SSH_AUTH_SOCK";
/// The longest path of a socket that programs can connect to, in bytes.
const LONGEST: usize = 107;

impl Live {
    /// Somebody came to a lane with this environment: tasks that run there reach the agent named in it.
    pub fn came_with(&self, lane: &Lane, env: &[(Raw, Raw)]) {
        let _nothing_to_pass_on = self.shared.agent(lane.id, env);
    }
}

impl Shared {
    /// Points the lane's link at the agent of this environment; gives the link. `None` when no agent is
    /// named, or no program could use the link.
    pub(super) fn agent(&self, lane: LaneId, env: &[(Raw, Raw)]) -> Option<Raw> {
        let (_name, value) = env.iter().rev().find(|(name, _value)| name.as_bytes() == AGENT)?;
        let (target, link) = (value.as_path(), self.agent_link(lane));
        if !target.is_absolute() || link.as_os_str().as_bytes().len() > LONGEST {
            return None;
        }
        // From within a lane: a link to a link of ours would go in circles.
        if target.parent() == link.parent() {
            return Some(value.clone());
        }
        point(&link, target).then(|| link.into())
    }

    pub(super) fn forget_agent(&self, lane: LaneId) {
        let _never_made = std::fs::remove_file(self.agent_link(lane));
    }

    fn agent_link(&self, lane: LaneId) -> PathBuf {
        self.home.agents().join(lane.text().as_str())
    }
}

/// Swaps the link in, so that whoever looks finds the old one or the new one.
fn point(link: &Path, target: &Path) -> bool {
    if std::fs::read_link(link).is_ok_and(|now| now == target) {
        return true;
    }
    let sibling = link.with_extension(uuid::Uuid::new_v4().simple().to_string());
    let swapped = std::os::unix::fs::symlink(target, &sibling).and_then(|()| std::fs::rename(&sibling, link));
    if let Err(error) = &swapped {
        tracing::debug!(%error, link = %link.display(), "the agent cannot be passed on");
        let _may_not_be_there = std::fs::remove_file(&sibling);
    }
    swapped.is_ok()
}
