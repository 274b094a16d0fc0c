//! Values in, values out: no process, disk, socket or real clock.

mod bus_follow;
mod bus_hub;
mod bus_live;
mod bus_memory;
mod bus_redact;
mod bus_size;
mod bus_topic;
mod config;
mod ids;
mod keeper_index;
mod keeper_protocol;
mod pty_attach;

