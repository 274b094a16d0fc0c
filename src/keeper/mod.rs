//! The keeper: the small process that holds one task.
//!
//! ```text
//!   description on stdin -> setsid, subreaper -> PTY or pipes -> command
//!   output -> log segment (first) -> poke subscribers        exit -> exit.json by rename -> subscribers
//! ```
//!
//! It is the only reader of its task's output, records before it tells, never blocks on a client, and
//! leaves when its command has ended and no descendant lives. Single-threaded, event-driven, no tokio,
//! no periodic wake-up.

mod checkpoint;
mod client;
mod ending;
mod error;
mod files;
mod group;
mod hear;
mod index;
mod input;
mod keep;
mod log;
mod paste;
mod program;
pub mod protocol;
mod rate;
mod reader;
mod reap;
mod serve;
mod socket;
mod spawn;
mod spec;
mod stream;
mod tree;
mod watch;

pub use checkpoint::{CHECKPOINT, Checkpoint};
pub use error::KeeperError;
pub use files::{EXIT, IDENTITY};
pub use group::{kill as kill_group, members as group_members, remove as remove_group};
pub use index::{RECORD_BYTES, Record, RecordKind, Stream, index_name, parse_segment_name, segment_name};
pub use program::{ARGUMENT, StartResult, keep_in_thread, main_if_invoked};
pub use reader::{Chunk, LogReader, Piece, ReadLogError};
pub use socket::{SOCKET, SocketPath, is_ours};
pub use spec::{Exit, ExitStatus, Groups, Identity, Rlimits, Shape, Spec};
pub use tree::{SECRET, has_secret, signal};
