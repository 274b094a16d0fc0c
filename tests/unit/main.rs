//! Values in, values out: no process, disk, socket or real clock.

mod config;
mod ids;

