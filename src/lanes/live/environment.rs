//! The environment of a task.

use std::path::{Path, PathBuf};

use super::Shared;
use crate::ids::TaskKind;
use crate::lanes::lane::{Lane, Task};
use crate::raw::Raw;
use crate::task::KeeperChoice;

impl Shared {
    pub(super) fn environment(
        &self,
        lane: &Lane,
        task: &Task,
        given: Vec<(Raw, Raw)>,
        cwd: &Path,
    ) -> Vec<(Raw, Raw)> {
        let mut env: Vec<(Raw, Raw)> = given.into_iter().filter(|(key, _value)| passes(key)).collect();
        if let Some(link) = self.agent(lane.id, &env) {
            env.retain(|(key, _value)| key.as_bytes() != b"SSH_AUTH_SOCK");
            env.push(("SSH_AUTH_SOCK".into(), link));
        }
        let mut set = |key: &str, value: Raw| env.push((key.into(), value));
        set("PWD", cwd.into());
        set("LANES_LANE_ID", lane.id.to_string().into());
        set("LANES_LANE_NAME", lane.name().into());
        set("LANES_TASK_ID", task.id.to_string().into());
        set("LANES_HOME", self.home.path().into());
        set("LANES_SOCKET", self.home.socket().into());
        if let Some(program) = program_of(self.launcher.choice()) {
            set("LANES_BIN", program.into());
        }
        set("LANES_TASK_SECRET", task.secret.clone().into());
        let term = env.iter().any(|(key, value)| key.as_bytes() == b"TERM" && value.as_bytes() != b"dumb");
        if task.kind() == TaskKind::Terminal && !term {
            env.retain(|(key, _value)| key.as_bytes() != b"TERM");
            env.push(("TERM".into(), "xterm-256color".into()));
        }
        env
    }
}

/// The program that tasks may call us by.
fn program_of(choice: &KeeperChoice) -> Option<PathBuf> {
    match choice {
        KeeperChoice::Program(path) => Some(path.clone()),
        KeeperChoice::SelfExec => std::env::current_exe().ok(),
        KeeperChoice::InProcess => None,
    }
}

/// Variables that would send a command's git to another repository, or that are ours to set.
fn passes(key: &Raw) -> bool {
    const REPOSITORY: [&[u8]; 12] = [
        b"GIT_DIR",
        b"GIT_WORK_TREE",
        b"GIT_INDEX_FILE",
        b"GIT_COMMON_DIR",
        b"GIT_PREFIX",
        b"GIT_OBJECT_DIRECTORY",
        b"GIT_ALTERNATE_OBJECT_DIRECTORIES",
        b"GIT_NAMESPACE",
        b"GIT_INTERNAL_SUPER_PREFIX",
        b"GIT_IMPLICIT_WORK_TREE",
        b"GIT_GRAFT_FILE",
        b"GIT_CEILING_DIRECTORIES",
    ];
    const OURS: [&[u8]; 8] = [
        b"LANES_LANE_ID",
        b"LANES_LANE_NAME",
        b"LANES_TASK_ID",
        b"LANES_HOME",
        b"LANES_SOCKET",
        b"LANES_BIN",
        b"LANES_TASK_SECRET",
        b"PWD",
    ];
    !REPOSITORY.contains(&key.as_bytes()) && !OURS.contains(&key.as_bytes())
}
