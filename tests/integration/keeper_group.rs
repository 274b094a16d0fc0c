//! Tests of `src/keeper/group.rs`: limits and groups of a command, joined or done without.

use lanes::keeper::{ExitStatus, Groups, Rlimits};
use lanes::raw::Raw;

use crate::support::task::{Bench, read_all};

#[tokio::test]
async fn limits_hold_for_the_command_and_what_cannot_be_joined_is_left_out() {
    let bench = Bench::new();
    let mut spec = bench.run("ulimit -n; ulimit -d; ulimit -Sn 33 && ulimit -n");
    let nowhere: Raw = bench.dir.path().join("no-such-group").into();
    spec.groups =
        Groups { command: vec![nowhere.clone()], keeper: vec![nowhere.clone()], kill: Some(nowhere) };
    let memory = Some(1 << 30);
    spec.rlimits = Rlimits { open_files: Some(64), memory, ..Rlimits::default() };
    let identity = bench.start(&spec).await.identity;
    assert_eq!(identity.groups, Groups::default());
    assert_eq!(identity.rlimits, spec.rlimits);
    let out = read_all(&spec).await;
    assert_eq!(String::from_utf8_lossy(&out.stdout), "64\n1048576\n33\n");
    assert_eq!(out.exit.expect("an exit").status, ExitStatus::Code(0));
}

#[tokio::test]
async fn the_soft_limit_alone_leaves_the_hard_one() {
    let bench = Bench::new();
    let mut spec = bench.run("ulimit -Sn; ulimit -Hn");
    spec.rlimits.open_files_soft = Some(77);
    bench.start(&spec).await;
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let hard = hard.map_or_else(|| "unlimited".to_owned(), |hard| hard.to_string());
    assert_eq!(String::from_utf8_lossy(&read_all(&spec).await.stdout), format!("77\n{hard}\n"));
}
