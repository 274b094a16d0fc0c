//! What git prints about changes is read from recorded output.

use std::path::Path;

use lanes::worktree::changes::{Remembered, parse_debug, parse_numstat};

#[test]
fn lines_are_counted_by_file_and_binary_files_have_none() {
    let lines = parse_numstat(b"1\t2\ta b\0-\t-\tbinary\x0010\t0\tnew\nline\0");
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[Path::new("a b")], (1, 2));
    assert_eq!(lines[Path::new("binary")], (0, 0));
    assert_eq!(lines[Path::new("new\nline")], (10, 0));
    assert!(parse_numstat(b"").is_empty());
}

#[test]
fn stat_data_of_the_index_is_read() {
    let record = |path: &str| {
        format!(
            "{path}\0  ctime: 5:6\n  mtime: 7:8\n  dev: 2049\tino: 99\n  uid: 0\tgid: 0\n  size: 12\tflags: 0\n"
        )
    };
    let known = parse_debug(format!("{}{}", record("a"), record("b c")).as_bytes());
    assert_eq!(known.len(), 2);
    assert_eq!(known[Path::new("b c")], Remembered { mtime: (7, 8), ino: 99, size: 12 });
    assert!(parse_debug(b"broken\0  ctime").is_empty());
}
