//! The shape of the tree, as far as it is cheap to check: edges between folders, one place for each outside thing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a folder (or file) under `src/` may use of the others, from the top down. Anything may use [`GROUND`].
const EDGES: [(&str, &[&str]); 17] = [
    ("main", &["cli", "keeper"]),
    ("keeper_main", &["keeper"]),
    ("cli", &["runtime", "daemon", "doctor", "api", "task", "keeper", "pty", "worktree", "config", "bus"]),
    (
        "runtime",
        &["daemon", "recovery", "lanes", "task", "keeper", "worktree", "store", "api", "config", "bus"],
    ),
    ("daemon", &["api", "bus"]),
    ("doctor", &["lanes", "api", "task", "keeper", "worktree", "store", "config", "bus", "cgroup"]),
    ("recovery", &["lanes", "task", "worktree", "bus"]),
    // `api`: a lane makes its own view, and a second copy of every field would be one too many.
    ("lanes", &["api", "task", "keeper", "worktree", "config", "bus", "cgroup"]),
    // What a message carries as it is (events, exits, changes) is not written down a second time.
    ("api", &["bus", "keeper", "worktree"]),
    ("task", &["keeper", "pty"]),
    ("keeper", &["pty"]),
    ("worktree", &[]),
    ("cgroup", &[]),
    ("config", &[]),
    ("pty", &[]),
    ("store", &["bus"]),
    ("bus", &[]),
];

/// The ground that everything stands on; a line says what each may use itself.
const GROUND: [(&str, &[&str]); 9] = [
    ("clock", &[]),
    ("failure", &["fault"]),
    ("fault", &[]),
    ("files", &["fault"]),
    ("home", &["failure", "files", "ids"]),
    ("ids", &["clock", "failure", "raw"]),
    ("memory", &[]),
    ("proc", &[]),
    ("raw", &["failure"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// Every Rust file below a folder, with its path relative to that folder.
fn sources(folder: &str) -> BTreeMap<String, String> {
    fn walk(top: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path())
        {
            if entry.is_dir() {
                walk(top, &entry, found);
            } else if entry.extension().is_some_and(|ending| ending == "rs") {
                let name = entry.strip_prefix(top).expect("below").to_str().expect("text").to_owned();
                assert!(found.insert(name, std::fs::read_to_string(&entry).expect("reads")).is_none());
            }
        }
    }
    let mut found = BTreeMap::new();
    let top = root().join(folder);
    walk(&top, &top, &mut found);
    found
}

/// Lines of code: without comments, and without what stands in a module of tests inside the file.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let until = text.find("#[cfg(test)]").unwrap_or(text.len());
    let lines = text[..until].lines().enumerate();
    lines.map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The first part of the path: the folder, or the file.
fn subject(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// The names right after every `crate::`, one by one for `crate::{a, b}`.
fn used(line: &str) -> Vec<&str> {
    let names =
        |rest: &str| rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    line.match_indices("crate::")
        .flat_map(|(at, found)| {
            let rest = &line[at + found.len()..];
            match rest.strip_prefix('{') {
                None => vec![&rest[..names(rest)]],
                Some(list) => list.split(',').map(str::trim).map(|one| &one[..names(one)]).collect(),
            }
        })
        .filter(|name| !name.is_empty())
        .collect()
}

/// Where a needle stands in the code of `src/`, but for the files that may have it.
fn outside(needles: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in sources("src") {
        if allowed.contains(&file.as_str()) {
            continue;
        }
        for (number, line) in code(&text) {
            if needles.iter().any(|needle| line.contains(needle)) {
                found.push(format!("src/{file}:{number}: {}", line.trim()));
            }
        }
    }
    found
}

#[track_caller]
fn only_in(allowed: &[&str], needles: &[&str]) {
    let found = outside(needles, allowed);
    assert!(found.is_empty(), "only {allowed:?} may do this:\n{}", found.join("\n"));
    let all = sources("src");
    for file in allowed {
        let text = all.get(*file).unwrap_or_else(|| panic!("there is no src/{file}"));
        let uses = code(text).any(|(_, line)| needles.iter().any(|needle| line.contains(needle)));
        assert!(uses, "src/{file} does not do this any more: take it off the list");
    }
}

#[test]
fn folders_use_only_what_is_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.into_iter().chain(GROUND).collect();
    let ground: BTreeSet<&str> = GROUND.iter().map(|(name, _)| *name).collect();
    let mut wrong = BTreeSet::new();
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    for (file, text) in sources("src") {
        let from = subject(&file);
        if from == "lib" {
            continue;
        }
        let Some(edges) = allowed.get(from) else {
            wrong.insert(format!("src/{file}: {from} is in no list of this test"));
            continue;
        };
        for (number, line) in code(&text) {
            for to in used(line).into_iter().filter(|to| *to != from && allowed.contains_key(to)) {
                seen.insert((from.to_owned(), to.to_owned()));
                let on_ground = ground.contains(to) && !ground.contains(from);
                if !on_ground && !edges.contains(&to) {
                    wrong.insert(format!("src/{file}:{number}: {from} may not use {to}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
    // The programs name the library `lanes`, not `crate`.
    let listed = EDGES.iter().skip(2).flat_map(|(from, edges)| edges.iter().map(move |to| (*from, *to)));
    for (from, to) in listed {
        let is_used = seen.contains(&(from.to_owned(), to.to_owned()));
        assert!(is_used, "{from} does not use {to} any more: take it off the list");
    }
}

#[test]
fn the_allowed_edges_have_no_cycle() {
    let edges: BTreeMap<&str, &[&str]> = EDGES.into_iter().chain(GROUND).collect();
    fn visit<'a>(at: &'a str, edges: &BTreeMap<&'a str, &'a [&'a str]>, path: &mut Vec<&'a str>) {
        assert!(!path.contains(&at), "a cycle: {path:?} -> {at}");
        path.push(at);
        for next in edges.get(at).copied().unwrap_or_default() {
            visit(next, edges, path);
        }
        path.pop();
    }
    for at in edges.keys() {
        visit(at, &edges, &mut Vec::new());
    }
}

#[test]
fn every_test_file_is_listed_in_its_main() {
    // What a suite without processes needs of the support folder it lists by its path.
    let unit = sources("tests/unit").remove("main.rs").expect("a list of modules");
    for suite in ["tests/unit", "tests/integration", "tests/support"] {
        let files = sources(suite);
        let list = files.get("main.rs").or_else(|| files.get("mod.rs")).expect("a list of modules");
        for file in files.keys().filter(|file| !matches!(file.as_str(), "main.rs" | "mod.rs")) {
            let name = subject(file);
            let is_listed = list.lines().any(|line| {
                let line = line.trim().trim_start_matches("pub ");
                line == format!("mod {name};")
            });
            let by_path = suite == "tests/support" && unit.contains(&format!("../support/{file}"));
            assert!(is_listed || by_path, "{suite}/{file} is in no list, so it never runs");
        }
    }
}

#[test]
fn programs_are_started_where_everybody_expects_it() {
    // git in the first; keepers, the daemon, what a task is, and the user's editor in the others.
    let starters =
        ["worktree/git.rs", "task/launch.rs", "daemon/launch.rs", "keeper/spawn.rs", "cli/open.rs"];
    only_in(&starters, &["Command::new(", "posix_spawn", "libc::fork", "libc::exec"]);
    assert!(outside(&["Command::new(\"git\")"], &[]).is_empty());
}

#[test]
fn every_fail_point_is_listed_and_used() {
    let mut used = BTreeSet::new();
    for (file, text) in sources("src") {
        for (_, line) in code(&text) {
            for call in ["fault::at(", "fault::pass("] {
                let names = line.match_indices(call).map(|(at, found)| &line[at + found.len()..]);
                for name in names {
                    let name = name.split('"').nth(1);
                    used.insert(name.unwrap_or_else(|| panic!("src/{file}: no name in {line}")).to_owned());
                }
            }
        }
    }
    // Named where a call of git is put in its place.
    used.insert("git.run".to_owned());
    let listed: Vec<String> = lanes::fault::POINTS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(listed, used.into_iter().collect::<Vec<_>>());
}

#[test]
fn the_wall_clock_is_read_in_one_file() {
    only_in(&["clock.rs"], &["SystemTime::now", "Timestamp::now_v7", "CLOCK_REALTIME"]);
}

#[test]
fn every_file_begins_with_a_sentence() {
    for folder in ["src", "tests", "benches", "examples"] {
        for (file, text) in sources(folder) {
            assert!(text.starts_with("//! "), "{folder}/{file} does not say what it is for");
        }
    }
}

#[test]
fn the_tables_name_every_state_and_event() {
    let files = sources("src");
    for file in ["lanes/table.rs", "lanes/phase.rs", "recovery/plan.rs"] {
        for (number, line) in code(&files[file]) {
            assert!(!line.trim_start().starts_with("_ =>"), "src/{file}:{number}: name what this stands for");
        }
    }
}

#[test]
fn the_architecture_names_tests_and_folders_that_exist() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("reads");
    assert!(text.lines().count() < 200, "it is to stay short");
    let tests: Vec<String> =
        ["tests/unit", "tests/integration"].into_iter().flat_map(sources).map(|(_, text)| text).collect();
    let requirements = text.split("## Requirements and their tests").nth(1).expect("its last part");
    for name in requirements.split('`').skip(1).step_by(2).filter(|name| name.contains('_')) {
        assert!(tests.iter().any(|text| text.contains(&format!("fn {name}("))), "there is no test {name}");
    }
    let map = text.split("## Map").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the map");
    for folder in EDGES.iter().map(|(name, _)| name).filter(|name| !name.ends_with("main")) {
        assert!(map.contains(&format!("| `{folder}/` |")), "{folder} is missing in the map");
    }
}
