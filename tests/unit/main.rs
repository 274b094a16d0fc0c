//! Values in, values out: no process, disk, socket or real clock.

mod api_codec;
mod api_schema;
mod bench_generate;
mod bus_follow;
mod bus_hub;
mod bus_live;
mod bus_memory;
mod bus_redact;
mod bus_size;
mod bus_topic;
mod cgroup_find;
mod cli_args;
mod cli_environment;
mod cli_render;
mod cli_sanitise;
mod config;
mod daemon_environment;
mod doctor;
mod fault;
mod ids;
mod keeper_index;
mod keeper_protocol;
mod lanes_actor;
mod lanes_machine;
mod lanes_phase;
mod lanes_table;
mod proc;
mod pty_attach;
mod pty_filter;
mod pty_scan;
mod pty_screen;
mod recovery_judge;
mod recovery_memory;
mod recovery_orphan;
mod recovery_plan;
mod simulation;
mod task_room;
mod task_stale;
mod tidy;
mod worktree_archive;
mod worktree_budget;
mod worktree_changes;
mod worktree_git;
mod worktree_index_file;
mod worktree_layout;
mod worktree_pins;
mod worktree_pressure;
mod worktree_provision;
mod worktree_resolve;
mod worktree_settings;
mod worktree_trash;

#[path = "../support/quiet.rs"]
mod quiet;
#[path = "../support/records.rs"]
mod records;
