//! The doctor as a user calls it, and a picture of everything on the disk to compare with later.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::Value;

use super::e2e::Scene;

/// What the doctor said, and its exit code.
pub struct Said {
    pub code: i32,
    pub checks: Vec<Value>,
}

/// Calls the doctor in a folder.
pub fn doctor_in(scene: &Scene, folder: &Path, args: &[&str]) -> Said {
    let mut all = vec!["--json", "doctor"];
    all.extend(args);
    let ran = scene.lanes_in(folder, &all);
    let object: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("no object: {ran:?}"));
    assert_eq!(object["schema"], 1);
    let checks = object["checks"].as_array().expect("a list").clone();
    for check in &checks {
        assert!(
            check["id"].is_string() && check["message"].is_string() && check["fixable"].is_boolean(),
            "{check}"
        );
    }
    Said { code: ran.code.expect("it ended by itself"), checks }
}

/// Calls the doctor in the main checkout.
pub fn doctor(scene: &Scene, args: &[&str]) -> Said {
    doctor_in(scene, &scene.repo(), args)
}

impl Said {
    /// The first check of that id, with a status.
    #[track_caller]
    pub fn has(&self, id: &str, status: &str) -> Value {
        let found = self.checks.iter().find(|check| check["id"] == id && check["status"] == status);
        found.cloned().unwrap_or_else(|| panic!("no {status} {id} in {:#?}", self.checks))
    }

    /// The ids of what is not well, without notes.
    pub fn ill(&self) -> Vec<String> {
        let ill = self.checks.iter().filter(|check| check["status"] == "warn" || check["status"] == "fail");
        ill.map(|check| format!("{}: {}", check["id"], check["message"])).collect()
    }

    /// Makes sure that nothing is ill.
    #[track_caller]
    pub fn is_well(&self) {
        assert_eq!(self.ill(), Vec::<String>::new());
        assert_eq!(self.code, 0);
    }
}

/// Kind, mode, size, times and contents of everything below a folder, by path.
pub fn picture(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    look(folder, &mut found);
    found
}

fn look(path: &Path, found: &mut BTreeMap<String, String>) {
    let Ok(meta) = path.symlink_metadata() else { return };
    let inside = match () {
        () if meta.is_file() => {
            format!("{:?}", std::fs::read(path).map(|bytes| bytes.len() as u64 + sum(&bytes)))
        }
        () if meta.is_symlink() => format!("{:?}", std::fs::read_link(path)),
        () => String::new(),
    };
    let about = format!("{:o} {} {}.{} {inside}", meta.mode(), meta.len(), meta.mtime(), meta.mtime_nsec());
    let _new = found.insert(path.display().to_string(), about);
    if meta.is_dir() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            look(&entry.path(), found);
        }
    }
}

fn sum(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish() >> 1
}

/// Compares two pictures.
#[track_caller]
pub fn same(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    let all: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed: Vec<_> = all
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| (path, before.get(path), after.get(path)))
        .collect();
    assert!(changed.is_empty(), "changed: {changed:#?}");
}
