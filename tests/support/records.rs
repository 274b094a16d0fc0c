//! Records of lanes, tasks and trash; a test changes what it is about.
#![allow(dead_code, reason = "each suite uses a part")]

use lanes::clock::Timestamp;
use lanes::ids::{LaneId, TaskId, TaskKind, WorkspaceId};
use lanes::keeper::Shape;
use lanes::lanes::lane::{Stage, Task};
use lanes::worktree::{Base, Branch, Order, Saved, TrashEntry, Tree};

/// What a new lane is to be.
pub fn order(id: LaneId, name: &str, workspace: WorkspaceId) -> Order {
    Order {
        lane_id: id,
        name: name.into(),
        workspace_id: workspace,
        token: "token".into(),
        home: "/home".into(),
        root: "/r.lanes".into(),
        path: format!("/r.lanes/{name}").into(),
        base: Base { rev: "main".into(), sha: "0".repeat(40), target: None },
        branch: Branch { name: format!("lanes/{name}"), created: true },
        lock_reason: "lanes".into(),
        submodules: true,
        copy: Vec::new(),
        link: Vec::new(),
    }
}

/// The tree that was made by an order.
pub fn tree(order: &Order) -> Tree {
    Tree {
        path: order.path.clone(),
        admin_id: order.name.clone(),
        dev: 1,
        ino: 1,
        branch: order.branch.clone(),
        backend: "git".into(),
        ms: 0,
        notes: Vec::new(),
    }
}

/// A tree that was retired and waits to be saved.
pub fn entry(order: &Order, tree: &Tree) -> TrashEntry {
    TrashEntry {
        order: order.clone(),
        tree: tree.clone(),
        head: None,
        on_branch: None,
        branch_deleted: false,
        branch_tip: None,
        branch_config: Vec::new(),
        pins: Vec::new(),
        vault_commit: None,
        saved: Saved::Pending,
        stays: None,
        at: Timestamp(1),
        complete: true,
        notes: Vec::new(),
    }
}

/// A task that was asked for.
pub fn task(id: TaskId, lane: LaneId, workspace: WorkspaceId) -> Task {
    Task {
        id,
        lane_id: lane,
        workspace_id: workspace,
        shape: match id.kind() {
            TaskKind::Terminal => Shape::Terminal { cols: 80, rows: 24 },
            TaskKind::Run => Shape::Run { stdin: false },
        },
        command: vec!["true".into()],
        agent: None,
        stage: Stage::Starting,
        identity: None,
        secret: "secret".into(),
        run_dir: "/run".into(),
        log_dir: "/log".into(),
        asked_at: Timestamp(1),
        exit: None,
        heartbeat_ms: None,
        phase: Default::default(),
        lost: None,
        revived_as: None,
        signals: Default::default(),
    }
}
