//! The runtime: what programs embed, and what the daemon and the command line are made of.
//!
//! ```text
//!   Runtime --owner--> Owner: bus, store, registry, live, recovery (and the socket, when it serves)
//!           --client-> api::Client --socket--> the owner of that home
//! ```
//!
//! Both ways take the same messages: [`Runtime::call`] with a [`Method`](crate::api::Method) of [`crate::api`].

mod blocking;
mod calls;
mod facade;
mod gc_requests;
mod lane_requests;
mod orphan_actions;
mod orphan_look;
mod orphan_requests;
mod orphans;
mod other_requests;
mod overlays;
mod owner;
mod recover;
mod resolve;
mod revive;
mod safe_mode;
mod task_requests;
mod trash_requests;

pub use facade::{Events, Options, Runtime};
