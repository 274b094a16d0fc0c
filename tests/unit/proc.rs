//! Tests of `src/proc.rs`: lines of `/proc/<pid>/stat`.

use lanes::proc::parse_stat;

#[track_caller]
fn check(stat: &[u8], expected: Option<u64>) {
    assert_eq!(parse_stat(stat).map(|process| process.start), expected, "{}", String::from_utf8_lossy(stat));
}

const REST: &str = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 0 4242 99 100";

#[test]
fn the_start_time_is_field_22_whatever_the_program_is_called() {
    for name in ["cat", "a b", "a) S 1 (b", ")", "("] {
        check(format!("17 ({name}){REST}").as_bytes(), Some(4242));
    }
    check([b"17 (\xff\xfe)", REST.as_bytes()].concat().as_slice(), Some(4242));
}

#[test]
fn what_is_no_stat_has_no_start_time() {
    check(b"", None);
    check(b"17 (cat", None);
    check(b"17 (cat) S 1 2", None);
}
