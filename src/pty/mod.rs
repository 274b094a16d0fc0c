//! Terminals: the pseudo-terminal a keeper opens, and what a client does with its own.
//!
//! ```text
//!   keeper: Terminal (portable-pty opens and resizes, descriptors are ours)
//!   client: RawMode, window_size, DetachMatcher, RESET        output -> Model -> one drawing
//! ```
//!
//! What never happens here: a terminal left in raw mode, in mouse mode or on its other screen.

mod attach;
mod detach;
mod filter;
pub mod scan;
pub mod screen;
mod size;
mod system;

pub use attach::{AttachError, RESET, RawMode, window_size};
pub use detach::{DetachKey, DetachKeyError, DetachMatcher, Typed};
pub use filter::{Filter, Questions};
pub use size::Size;
pub(crate) use system::Terminal;
