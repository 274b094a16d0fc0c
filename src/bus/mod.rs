//! The bus: facts in order, and requests with one handler each.
//!
//! ```text
//!   Draft --commit--> Journal (memory, or the store) --after the commit--> Hub --> bounded subscriptions
//!   Call  --dispatch--> the one handler of its method --> reply, and drafts with the same correlation
//! ```
//!
//! What never happens here: a subscriber that delays a publisher, a gap that is not told, an event
//! without the correlation of the request that caused it. The bus carries payloads; it does not know
//! what a lane is.

mod envelope;
mod error;
mod follow;
mod hub;
mod journal;
mod live;
mod memory;
mod methods;
pub mod redact;
mod size;
mod subscription;
pub mod topic;

pub use envelope::{Actor, Context, Draft, Event, SCHEMA};
pub use error::BusError;
pub use follow::{Followed, Follower};
pub use hub::{DEFAULT_CAPACITY, Hub, MAX_CAPACITY};
pub use journal::{Batch, BoxFuture, DEFAULT_PAGE, Journal, Page, Query, Snapshot, Table, Write};
pub use live::Bus;
pub use memory::{DEFAULT_EVENTS, MemoryJournal};
pub use methods::{Call, Handler, MAX_DEPTH, MAX_IN_FLIGHT};
pub use size::{MAX_PAYLOAD, fits, upper_bound};
pub use subscription::{Delivery, Subscription};
pub use topic::Pattern;
