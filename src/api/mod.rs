//! The protocol: JSON-RPC 2.0, one object a line, over the runtime's socket or standard streams.
//!
//! ```text
//!   client --{"jsonrpc":"2.0","id":1,"method":"lane.create","params":{…}}--> server
//!   client <--{"jsonrpc":"2.0","id":1,"result":{…}} | {"error":{"code":-32000,"message":…,"data":Failure}}-- server
//!   client <--{"jsonrpc":"2.0","method":"event","params":{…}}-- server      (after event.subscribe)
//! ```
//!
//! `daemon.hello` comes first. A request may carry `"idempotency_key"` in its params: the same key never
//! runs twice, the first reply is given again. Terminals and runs are reached at their keeper directly.

mod client;
mod cloudevents;
pub mod codec;
mod error;
pub mod lines;
mod messages;
mod resilient;
pub mod schema;
mod slot;
pub mod socket;
pub mod stdio;
mod wire;

pub use client::{Client, Events, Options};
pub use cloudevents::cloud_event;
pub use error::ApiError;
pub use messages::*;
pub use resilient::{Resilience, Resilient, ResilientEvents, Revive};
