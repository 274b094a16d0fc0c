//! Tests of `src/keeper/index.rs` and `src/keeper/proc.rs`.

use lanes::clock::Timestamp;
use lanes::keeper::{Record, RecordKind, Stream, index_name, parse_segment_name, segment_name};
use lanes::proc::parse_stat;

#[test]
fn a_record_is_read_back_as_it_was_written() {
    let kinds = [
        RecordKind::Bytes(Stream::Terminal),
        RecordKind::Bytes(Stream::Stdout),
        RecordKind::Bytes(Stream::Stderr),
        RecordKind::Lost,
        RecordKind::Resized,
    ];
    for kind in kinds {
        let record = Record { offset: 1 << 40, at: Timestamp(7), len: 16_384, cols: 80, rows: 24, kind };
        assert_eq!(Record::decode(&record.encode()), Some(record));
    }
    let mut later = Record { offset: 0, at: Timestamp(0), len: 0, cols: 0, rows: 0, kind: kinds[3] }.encode();
    later[28] = 99;
    assert_eq!(Record::decode(&later), None);
}

#[test]
fn only_our_own_names_are_segments() {
    assert_eq!(parse_segment_name(&segment_name(u64::MAX)), Some(u64::MAX));
    assert_eq!(segment_name(8), "00000000000000000008.log");
    for name in ["8.log", "0000000000000000000x.log", "+0000000000000000008.log", "99999999999999999999.log"]
    {
        assert_eq!(parse_segment_name(name), None, "{name}");
    }
    assert_eq!(parse_segment_name(&index_name(8)), None);
}

#[test]
fn a_name_of_its_own_choosing_does_not_confuse_the_reading_of_a_process() {
    let line = b"42 (a) Z (b 1 2) S 7 40 41 0 -1 4194304 1 2 3 4 50 60 9 9 20 0 1 0 987654 1 2";
    let process = parse_stat(line).expect("a process");
    assert_eq!((process.pid, process.ppid, process.group, process.session), (42, 7, 40, 41));
    assert_eq!((process.start, process.ticks, process.state), (987_654, 110, b'S'));
    assert_eq!(process.name, b"a) Z (b 1 2");
    for bad in [&b""[..], b"42", b"42 (x", b"42 (x) S", b")(", b"x (y) S 1 2 3"] {
        assert_eq!(parse_stat(bad), None);
    }
}
