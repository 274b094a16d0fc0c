//! Values in, values out: no process, disk, socket or real clock.

mod config;
mod ids;
mod keeper_index;
mod keeper_protocol;
mod pty_attach;

