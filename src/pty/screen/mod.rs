//! What a terminal shows, kept while its output goes by and drawn again for another terminal.
//!
//! ```text
//!   output -> Scanner -> Model (vt100: cells, cursor, pen; Extra: what that leaves out) -> draw -> a terminal
//!                                                                                       -> view -> a window
//! ```
//!
//! What never happens here: a sequence of a program, however odd, that ends the caller.

mod charset;
mod draw;
mod extra;
mod model;
mod sequence;
mod view;

pub use model::{Model, is_caught};
pub use view::View;
