//! Worktrees: made, described, retired into the trash, brought back.
//!
//! ```text
//!   discover -> layout -> resolve -> provision (transaction: intent, git, token, files) -> Tree
//!   Tree -> retire (pin, rename, admin entry out, branch) -> save (archive, free) -> bring_back | empty
//! ```
//!
//! What never happens here: a commit that becomes unreachable, an uncommitted or untracked file without
//! a restorable copy, a followed symlink, a removed tree that is not provably the one of the record, a
//! git call without a timeout or with the repository's own commands switched on.

pub mod archive;
mod archive_save;
mod archive_walk;
mod begun;
mod blob;
mod blocking;
mod branch_take;
pub mod budget;
mod call;
pub mod changes;
mod claim;
mod copy;
mod copytree;
mod crew;
pub mod discover;
mod entry;
pub mod error;
mod extras;
pub mod files;
mod folders;
mod found;
pub mod git;
mod hooks;
mod in_use;
pub mod index_file;
mod index_pairs;
mod index_stat;
pub mod layout;
mod left_lock;
pub mod links;
mod lock;
mod model;
pub mod names;
pub mod overlay;
mod overlay_make;
mod overlay_mount;
mod overlay_standing;
pub mod pace;
pub mod pins;
mod pins_audit;
mod pins_copy;
mod pins_vault;
mod pool;
mod prepared;
pub mod pressure;
pub mod provision;
mod refs_files;
pub mod remove;
mod reserve;
pub mod resolve;
mod restore;
mod restore_admin;
mod restore_branch;
mod restore_index;
mod restore_modules;
mod restore_unpack;
pub mod retarget;
mod set_aside;
pub mod settings;
pub mod settings_list;
mod size;
pub mod spare;
mod spare_look;
mod spare_remove;
mod template;
mod token;
pub mod trash;
mod trash_branch;
mod trash_empty;
mod trash_locate;
mod trash_lock;
mod trash_move;
mod trash_retire;
mod undo;
mod verify;
mod whereabouts;

pub use archive_save::{SaveStep, save, save_until};
pub use budget::{DiskFacts, Room, Short, Usage, Verdict, judge};
pub use changes::{changes, diff, is_merged};
pub use claim::claim;
pub use copytree::{Copied, CopyJob, copy_tree};
pub use discover::discover;
pub use error::WorktreeError;
pub use extras::{EXTRAS_FILE, Listing};
pub use found::{FOUND, Found, take_hold};
pub use git::{Git, GitCommand, GitConfig, GitOutput, Mode, Place};
pub use layout::{Choice, Root};
pub use lock::WorkspaceLock;
pub use model::{Base, Branch, Changes, Order, Repository, Saved, TrashEntry, Tree};
pub use names::lane_name;
pub use overlay_make::probe;
pub use overlay_standing::{Standing, Stands, overlays, renew};
pub use pace::{Hurry, Pace, Stint};
pub use pins_audit::{Audit, audit};
pub use pool::make_pooled;
pub use prepared::{note_prepared, verify_spare};
pub use provision::{BoxFuture, Direct, Floors, Runner, Step, Way, admin_dir_of, check_free, provision};
pub use refs_files::ref_of_checkout;
pub use remove::{Removed, remove_tree};
pub use resolve::{check_branch, resolve_base};
pub use restore::{RestoreStep, bring_back, bring_back_until, restoring_as, roll_back};
pub use retarget::{can_retarget, retarget};
pub use set_aside::set_aside;
pub use settings::{Settings, SettingsCache};
pub use size::{measure, room};
pub use spare::{Kept, SPARE_REASON, Spare, SpareKind, Want, half_claimed, spares, write_spare};
pub use spare_look::{Condition, SpareSeen, homeless, is_lain_on, look_at_spares, usage_of_spares};
pub use spare_remove::{Swept, left_behind, remove_spare, sweep_spares};
pub use template::make_template;
pub use token::{begun_trees, found_tree, is_of, lock_reason, owned_trees, read_token, write_token};
pub use trash_empty::{Emptied, empty, is_half_emptied, is_unswept, sweep};
pub use trash_retire::{RetireStep, foretell, retire, retire_until};
pub use undo::{half_undone, undo};
pub use verify::{listing, verify};
pub use whereabouts::{Whereabouts, has_moved_on, is_worked_in, whereabouts};
