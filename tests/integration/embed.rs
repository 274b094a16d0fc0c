//! `examples/embed.rs` as it is, with keeper programs and with keepers in the process; nothing is left.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The example beside this test's own executable: `cargo test` builds it.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("this program");
    let profile = own.parent().and_then(Path::parent).expect("target/<profile>/deps");
    let program = profile.join("examples/embed");
    assert!(program.is_file(), "{} is built by `cargo test`, or `cargo build --examples`", program.display());
    program
}

fn check(arguments: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let temporary = folder.path().join("tmp");
    std::fs::create_dir(&temporary).expect("a folder");
    let mark = format!("embed-{}", uuid::Uuid::new_v4().simple());
    let output = Command::new(program())
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("a PATH"))
        .env("HOME", folder.path())
        .env("TMPDIR", &temporary)
        .env("EMBED_MARK", &mark)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for expected in ["demo is ready at", "ran side by side", "closed: ", "of them transitions"] {
        assert!(said.contains(expected), "no {expected:?} in {said}");
    }
    let left: Vec<_> = std::fs::read_dir(&temporary).expect("reads").collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(
        !std::fs::exists(folder.path().join(".config")).expect("looks"),
        "it wrote to the home of the user"
    );
    let alive: Vec<u32> = lanes::proc::all()
        .iter()
        .filter(|one| !one.is_dead())
        .map(|one| one.pid)
        .filter(|pid| lanes::proc::variable(*pid, "EMBED_MARK").is_some_and(|value| value == mark.as_bytes()))
        .collect();
    assert!(alive.is_empty(), "processes are left: {alive:?}");
}

#[test]
fn the_embedding_example_runs_with_keeper_programs() {
    check(&[]);
}

#[test]
fn the_embedding_example_runs_with_keepers_in_the_process() {
    check(&["in-process"]);
}
