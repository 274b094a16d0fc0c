//! Tests of `src/cgroup/find.rs`.

use std::path::PathBuf;

use lanes::cgroup::{Bases, Controller, Limit, Way, bases, limit_files};

const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
";
const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

#[track_caller]
fn check(mounts: &str, own: &str, v2: Option<&str>, v1: &[(Controller, &str)]) {
    let v1 = v1.iter().map(|(one, path)| (*one, PathBuf::from(path))).collect();
    assert_eq!(bases(mounts, own), Bases { v2: v2.map(PathBuf::from), v1 });
}

#[test]
fn our_own_group_is_the_base_and_one_of_somebody_else_in_version_1_is_not() {
    check(UNIFIED, "0::/\n", Some("/sys/fs/cgroup/"), &[]);
    check(
        UNIFIED,
        "0::/user.slice/user-1000.slice/app.service\n",
        Some("/sys/fs/cgroup/user.slice/user-1000.slice/app.service"),
        &[],
    );
    check(
        HYBRID,
        "8:pids:/\n4:memory:/jobs/17\n1:cpu,cpuacct:/\n9:name=systemd:/\n0::/\n",
        Some("/sys/fs/cgroup/unified/"),
        &[(Controller::Cpu, "/sys/fs/cgroup/cpu,cpuacct"), (Controller::Pids, "/sys/fs/cgroup/pids")],
    );
    check("", "", None, &[]);
    check("garbage\n\n - \n1 2 3 4 - cgroup2\n", "0:\n::\n", None, &[]);
}

#[test]
fn a_mount_that_does_not_show_our_group_is_of_no_use() {
    let mounted = "30 23 0:26 /jobs /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    check(mounted, "0::/jobs/7\n", Some("/sys/fs/cgroup/7"), &[]);
    check(mounted, "0::/other\n", None, &[]);
    check(mounted, "0::/jobs/../other\n", None, &[]);
    let odd = "30 23 0:26 / /my\\040groups rw - cgroup2 cgroup2 rw\n";
    check(odd, "0::/a\n", Some("/my groups/a"), &[]);
}

#[test]
fn a_limit_is_written_as_each_version_takes_it() {
    let check = |way, controller, value, file: &str, text: &str| {
        assert_eq!(limit_files(way, Limit { controller, value }), (file, text.to_owned()));
    };
    check(Way::V2, Controller::Memory, 5, "memory.max", "5");
    check(Way::V1, Controller::Memory, 5, "memory.limit_in_bytes", "5");
    check(Way::V2, Controller::Pids, 5, "pids.max", "5");
    check(Way::V1, Controller::Pids, 5, "pids.max", "5");
    check(Way::V2, Controller::Cpu, 100, "cpu.weight", "100");
    check(Way::V1, Controller::Cpu, 100, "cpu.shares", "1024");
    check(Way::V1, Controller::Cpu, 1, "cpu.shares", "10");
    check(Way::V1, Controller::Cpu, 10_000, "cpu.shares", "102400");
}
