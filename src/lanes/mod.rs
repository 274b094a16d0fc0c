//! Lanes: the state machine, one owner for each lane, the registry of the open ones.
//!
//! ```text
//!   request -> Handle -> mailbox -> Actor -> machine::apply -> journal -> bus -> effects (World)
//!                                     ^------------- ends of effects, as inputs ------------'
//! ```
//!
//! What never happens here: a state that another place than the table has chosen, an effect before its
//! fact is written down, a lane that waits for another lane or for its own command.

mod actor;
mod handle;
pub mod lane;
mod live;
pub mod machine;
pub mod phase;
mod registry;
pub mod stock;
pub mod table;
mod tasks;
mod terminal;
pub mod workspace;
mod world;

pub use actor::STOP_WAIT;
pub use handle::{Handle, MAILBOX};
pub use live::Live;
pub use registry::{Registry, Reservation};
pub use world::{Launch, Retired, Tell, World};
