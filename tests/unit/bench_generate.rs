//! The repository that benches generate has the shape of real ones, the same each time.

#[allow(dead_code, reason = "only planning is pure; the bench writes what is planned")]
#[path = "../../benches/compare/generate.rs"]
mod generate;

use std::collections::BTreeSet;
use std::path::Path;

use generate::{Kind, Planned, plan};

fn check(files: u64) {
    let planned = plan(files);
    assert_eq!(planned, plan(files), "the same each time");
    assert_eq!(planned.len() as u64, files);
    let paths: BTreeSet<&Path> = planned.iter().map(|file| file.path.as_path()).collect();
    assert_eq!(paths.len() as u64, files, "no two have one name");
    let folders: BTreeSet<&Path> = paths
        .iter()
        .flat_map(|path| path.ancestors().skip(1))
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    let to_a_folder = files as f64 / folders.len() as f64;
    assert!((1.8..2.4).contains(&to_a_folder), "{to_a_folder} files to a folder");
    assert!(paths.iter().all(|path| path.components().count() <= 10), "deep, but not absurdly");
    let mut sizes: Vec<u64> = planned.iter().filter_map(size).collect();
    sizes.sort_unstable();
    let (middle, mean) = (sizes[sizes.len() / 2], sizes.iter().sum::<u64>() / sizes.len() as u64);
    assert!((1_200..1_600).contains(&middle), "median {middle}");
    assert!((3_500..7_000).contains(&mean), "mean {mean}");
    let some = |kind: fn(&Kind) -> bool| planned.iter().any(|file| kind(&file.kind));
    assert!(some(|kind| matches!(kind, Kind::Link(_))) && some(|kind| matches!(kind, Kind::Program(_))));
    assert!(some(|kind| matches!(kind, Kind::Binary(_))));
}

fn size(file: &Planned) -> Option<u64> {
    match file.kind {
        Kind::Text(bytes) | Kind::Program(bytes) | Kind::Binary(bytes) => Some(bytes),
        Kind::Link(_) => None,
    }
}

#[test]
fn a_generated_repository_has_the_shape_of_real_ones() {
    check(3_000);
    check(30_000);
}
