//! The real thing: real git repositories, terminals, sockets and `kill -9`.

#[path = "../support/mod.rs"]
mod support;

mod api_resilient;
mod cli_attach;
mod cli_exec;
mod cli_quickstart;
mod daemon_connection;
mod daemon_launch;
mod daemon_socket;
mod daemon_subscriptions;
mod e2e_agents;
mod e2e_bad_input;
mod e2e_bad_world;
mod e2e_crash;
mod e2e_detach;
mod e2e_events;
mod e2e_hostile;
mod e2e_lanes;
mod e2e_nested;
mod e2e_restore;
mod e2e_sessions;
mod embed;
mod keeper_run;
mod keeper_socket;
mod keeper_stream;
mod keeper_terminal;
mod keeper_tree;
mod store_crash;
mod store_full;
mod store_live;
mod store_lock;
mod store_open;
mod task_end;
mod task_reader;
mod worktree_changes;
mod worktree_discover;
mod worktree_files;
mod worktree_git;
mod worktree_layout;
mod worktree_pins;
mod worktree_provision;
mod worktree_remove;
mod worktree_resolve;
mod worktree_restore;
mod worktree_trash;
