//! A tree of files of a realistic shape, the same each time.
//!
//! Folders, sizes and depth are in proportion as in cargo and babel: about one folder to two files, most files
//! small and few large ones (log-normal, median 1.4 KB, mean about 5 KB), a few binaries, links, programs.

use std::f64::consts::TAU;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// Folders to a hundred files.
const FOLDERS_TO_HUNDRED: u64 = 48;
/// No folder is deeper.
const DEEPEST: usize = 9;
/// The middle size, and how far sizes are spread around it.
const MEDIAN_BYTES: f64 = 1_400.0;
const SPREAD: f64 = 1.6;
/// No file is larger.
const LARGEST_BYTES: u64 = 1 << 19;

/// One file of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Where, relative.
    pub path: PathBuf,
    /// What.
    pub kind: Kind,
}

/// What kind of file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Lines of words, of so many bytes.
    Text(u64),
    /// The same, executable.
    Program(u64),
    /// So many bytes that do not compress.
    Binary(u64),
    /// A link to this.
    Link(PathBuf),
}

/// Plans a tree of so many files.
pub fn plan(files: u64) -> Vec<Planned> {
    let mut dice = Dice(0x1a9e5);
    let mut folders = vec![PathBuf::new()];
    while (folders.len() as u64) < (files * FOLDERS_TO_HUNDRED / 100).max(1) {
        let above = &folders[dice.below(folders.len() as u64) as usize];
        let above = if above.components().count() < DEEPEST { above.clone() } else { PathBuf::new() };
        folders.push(above.join(format!("part_{}", folders.len())));
    }
    let mut planned: Vec<Planned> = Vec::new();
    for number in 0..files {
        // Each folder has one, as git knows no empty ones; the rest fall where they fall.
        let folder = match usize::try_from(number).ok().and_then(|at| folders.get(at)) {
            Some(folder) => folder,
            None => &folders[dice.below(folders.len() as u64) as usize],
        };
        let bytes = size(&mut dice);
        let (name, kind) = match dice.below(200) {
            0 => (format!("link_{number}"), Kind::Link(PathBuf::from(format!("file_{number}.rs")))),
            1 | 2 => (format!("run_{number}.sh"), Kind::Program(bytes)),
            3..=6 => (format!("image_{number}.bin"), Kind::Binary(bytes)),
            _ => (format!("file_{number}.rs"), Kind::Text(bytes)),
        };
        planned.push(Planned { path: folder.join(name), kind });
    }
    planned
}

/// Writes a planned tree.
pub fn write(root: &Path, planned: &[Planned]) -> io::Result<()> {
    let mut dice = Dice(0xf11e5);
    for Planned { path, kind } in planned {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        match kind {
            Kind::Text(bytes) => fs::write(&path, text(&mut dice, *bytes))?,
            Kind::Program(bytes) => {
                fs::write(&path, text(&mut dice, *bytes))?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            }
            Kind::Binary(bytes) => {
                let words = (0..bytes.div_ceil(8)).flat_map(|_| dice.next().to_le_bytes());
                fs::write(&path, words.take(*bytes as usize).collect::<Vec<_>>())?;
            }
            Kind::Link(target) => symlink(target, &path)?,
        }
    }
    Ok(())
}

/// A size, by the method of Box and Muller.
fn size(dice: &mut Dice) -> u64 {
    let even = |dice: &mut Dice| (dice.below(1 << 52) as f64 + 1.0) / (1_u64 << 52) as f64;
    let normal = (-2.0 * even(dice).ln()).sqrt() * (TAU * even(dice)).cos();
    ((MEDIAN_BYTES * (SPREAD * normal).exp()) as u64).clamp(1, LARGEST_BYTES)
}

/// Lines of words.
fn text(dice: &mut Dice, bytes: u64) -> String {
    const WORDS: [&str; 12] =
        ["let", "fn", "match", "value", "self", "lane", "result", "=>", "{", "}", "return", "// why"];
    let mut text = String::new();
    while (text.len() as u64) < bytes {
        text.push_str(WORDS[dice.below(WORDS.len() as u64) as usize]);
        match dice.below(9) {
            0 => text.push('\n'),
            1 => text.push_str(&format!(" {:x} ", dice.next())),
            _ => text.push(' '),
        }
    }
    text
}

/// Numbers that look random and are the same each time (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}
