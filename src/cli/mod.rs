//! The command line: arguments to requests, replies to text or JSON, failures to exit codes.
//!
//! ```text
//!   args (clap) -> one file per command -> api client (daemon) | task link (keeper)
//!   reply -> --json: one object, schema 1 | render (pure) -> table -> sanitise -> standard output
//! ```
//!
//! What never happens here: text from outside that reaches a terminal without the sanitiser, a decision
//! about lanes, a terminal that is left in raw mode.

pub mod args;
mod attach;
mod cleanup;
mod connect;
mod create;
mod daemon;
mod diff;
mod doctor;
pub mod environment;
mod events;
mod exec;
mod gc;
mod list;
mod logging;
mod logs;
mod main;
mod open;
mod orphans;
pub mod output;
mod quickstart;
pub mod render;
pub mod sanitise;
mod send;
mod session;
mod share;
pub mod shell;
pub mod table;
mod trash;
mod trust;
mod wait;
mod writer;

pub use exec::exit_of;
pub use main::{default_hint, exit_code, main};
