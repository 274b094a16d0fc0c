//! Reading a log: from anywhere, across segments, while it is written and trimmed.

use lanes::task::{LogReader, Piece};

use crate::support::task::{Bench, in_time, read_all};

fn rest(spec: &lanes::keeper::Spec, from: u64) -> (Vec<u8>, Vec<(u64, u64)>) {
    let mut reader = LogReader::open(spec.log_dir.as_path(), from);
    let (mut bytes, mut gaps) = (Vec::new(), Vec::new());
    while let Some(piece) = reader.read_chunk().expect("reads") {
        match piece {
            Piece::Chunk(chunk) => bytes.extend(chunk.bytes),
            Piece::Gap { from, to } => gaps.push((from, to)),
        }
    }
    (bytes, gaps)
}

#[tokio::test]
async fn every_offset_gives_the_same_bytes_from_there_on() {
    let bench = Bench::new();
    let mut spec = bench.run("i=0; while [ $i -lt 20000 ]; do echo line-$i; i=$((i+1)); done");
    // Segments of 64 KiB.
    spec.log_limit = 512 << 10;
    let started = bench.start(&spec).await;
    in_time("the end", started.keeper_gone.wait()).await;
    let (all, gaps) = rest(&spec, 0);
    let expected: String = (0..20_000).map(|i| format!("line-{i}\n")).collect();
    assert!(all == expected.as_bytes() && gaps.is_empty());
    assert_eq!(LogReader::open(spec.log_dir.as_path(), 0).bounds().expect("bounds"), (0, all.len() as u64));
    for at in (0..all.len()).step_by(997).chain([65_535, 65_536, 65_537, all.len() - 1, all.len()]) {
        let (bytes, gaps) = rest(&spec, at as u64);
        assert!(bytes == all[at..] && gaps.is_empty(), "from {at}");
    }
    assert_eq!(rest(&spec, all.len() as u64 + 10), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_exactly_what_it_missed() {
    let bench = Bench::new();
    let mut spec = bench.run("head -c 100000 /dev/zero; read x; head -c 900000 /dev/zero; exit 0");
    spec.shape = lanes::keeper::Shape::Run { stdin: true };
    spec.log_limit = 256 << 10;
    bench.start(&spec).await;
    let link = bench.link(&spec).await;
    let mut reader = LogReader::open(spec.log_dir.as_path(), 0);
    let mut read = 0;
    let first = in_time("the first bytes", async {
        loop {
            if let Some(Piece::Chunk(chunk)) = reader.read_chunk().expect("reads") {
                break chunk;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    read += first.bytes.len() as u64;
    link.input_all(b"\n").await.expect("typed");
    let out = read_all(&spec).await;
    assert_eq!(out.exit.expect("an exit").end, 1_000_000);
    let mut missed = 0;
    while let Some(piece) = reader.read_chunk().expect("reads") {
        match piece {
            Piece::Chunk(chunk) => {
                assert_eq!(chunk.offset, read + missed);
                read += chunk.bytes.len() as u64;
            }
            Piece::Gap { from, to } => {
                assert_eq!(from, read + missed);
                missed += to - from;
            }
        }
    }
    assert_eq!(read + missed, 1_000_000);
    assert!(missed > 500_000);
}

#[tokio::test]
async fn a_log_that_is_not_there_has_nothing_to_read() {
    let mut reader = LogReader::open(std::path::Path::new("/nonexistent/log"), 5);
    assert_eq!(reader.read_chunk().expect("reads"), None);
    assert_eq!(reader.end().expect("bounds"), 0);
}
