//! The store: events and records in SQLite.
//!
//! ```text
//!   append --> bounded queue --> writer thread: number, insert, commit --> hub --> answers
//!   read, snapshot, get --> reader threads, one read transaction each
//! ```
//!
//! What never happens here: an event told before it is committed, an offset or seq used twice, a reader
//! that delays the writer, a damaged file that is replaced without being kept and reported.

mod error;
mod inspect;
mod live;
mod lock;
mod open;
mod put_back;
mod readers;
mod reserve;
mod rows;
mod schema;
mod writer;

pub use error::StoreError;
pub use inspect::{Inspection, inspect, moved_aside};
pub use live::{Retention, Store};
pub use lock::{CRASH_WINDOW, Holder, LOCK_FILE, LockError, OwnerLock, Vacancy, last_holder, living_owner};
pub use open::Opened;
pub use schema::VERSION;
pub use writer::Owned;
