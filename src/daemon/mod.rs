//! The runtime's socket: who may connect, what is asked, how it starts and how it stops.
//!
//! ```text
//!   Socket::bind --> serve: accept (our user only) --> one task per connection
//!     reader --request--> bus (side by side) --reply----> writer --> client
//!            --event.subscribe--> one forwarder each --event-/
//!   ensure_running --starts--> `lanes daemon run` --> detach --> Readiness
//! ```
//!
//! What never happens here: a connection that delays another one, a request that is dropped without an
//! answer while its client is there, a queue without a bound, a second user at the socket.

mod asked;
mod connection;
mod detach;
mod environment;
mod error;
mod idempotency;
mod launch;
mod limits;
mod outbox;
mod replay;
mod serve;
pub mod shutdown;
mod socket;
mod subscriptions;

pub use detach::{DETACH_MARK, Readiness, asked_to_detach, detach};
pub use environment::{kept, starts_from};
pub use error::DaemonError;
pub use launch::{Launch, ensure_running};
pub use limits::raise_open_files;
pub use serve::{PeerLane, ResolveLane, ServeOptions, Served, serve};
pub use socket::Socket;
