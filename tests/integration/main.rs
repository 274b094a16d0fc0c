//! The real thing: real git repositories, terminals, sockets and `kill -9`.

#[path = "../support/mod.rs"]
mod support;

mod keeper_run;
mod keeper_socket;
mod keeper_terminal;
mod keeper_tree;
mod task_end;
mod task_reader;
