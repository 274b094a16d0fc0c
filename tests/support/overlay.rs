//! Overlays of real repositories, where this process may mount; nothing stays mounted when a test fails.

use std::path::{Path, PathBuf};
use std::process::Command;

use lanes::worktree::{Kept, Order, Tree, Way, probe};

use super::git::Yard;
use super::spare::Stocked;

/// A stocked repository that overlays can be made in.
pub struct Ground {
    _mounts: Unmounted,
    pub stocked: Stocked,
}

/// Unmounts everything below a folder when dropped.
pub struct Unmounted(pub PathBuf);

impl Drop for Unmounted {
    fn drop(&mut self) {
        unmount_below(&self.0);
    }
}

impl Ground {
    /// None, and a word of it, where this process may not mount.
    pub async fn of(yard: Yard) -> Option<Self> {
        let mounts = Unmounted(yard.path());
        let stocked = Stocked::of(yard).await;
        match probe(&stocked.root.path) {
            Ok(()) => Some(Self { _mounts: mounts, stocked }),
            Err(error) => {
                eprintln!("not shown: {error}");
                None
            }
        }
    }

    pub async fn lane(&self, name: &str, template: &Kept) -> (Order, Tree) {
        let order = self.stocked.order(name, None).await;
        let made = self.stocked.make(&order, Way::Overlay(template.clone())).await;
        let tree = made.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((tree.backend.as_str(), tree.notes.as_slice()), ("overlay", [].as_slice()));
        (order, tree)
    }

    /// What is mounted below the yard.
    pub fn mounts(&self) -> Vec<PathBuf> {
        mounts_below(&self.stocked.yard.path())
    }
}

/// The mount points below a folder, the one mounted last first.
pub fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("a table");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    let mut found: Vec<_> = points.filter(|at| at.starts_with(folder)).collect();
    found.reverse();
    found
}

fn unescaped(text: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(text.to_owned(), |text, (code, is)| text.replace(code, is)).into()
}

/// Unmounts as a machine does that stops.
pub fn unmount_below(folder: &Path) {
    for at in mounts_below(folder) {
        let _gone = Command::new("umount").arg("-l").arg(at).output();
    }
}

/// Runs a script in a folder, which must succeed, and gives what it printed.
#[track_caller]
pub fn sh(yard: &Yard, folder: &Path, script: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(folder).env_clear().envs(yard.env());
    let output = command.output().expect("starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script}: {said}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
