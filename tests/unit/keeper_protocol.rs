//! Tests of `src/keeper/protocol.rs`.

use lanes::clock::Timestamp;
use lanes::ids::{TaskId, TaskKind};
use lanes::keeper::protocol::{
    Attach, Decoder, FRESH, FrameError, Greeting, MAX_FRAME, MAX_INPUT, MAX_OUTPUT, Mark, Member, Refusal,
    Reply, Report, Request, Said, State,
};
use lanes::keeper::{Exit, ExitStatus, Stream};
use proptest::prelude::*;

fn check_request(request: &Request) {
    let mut bytes = Vec::new();
    request.encode(77, &mut bytes);
    let mut decoder = Decoder::default();
    decoder.feed(&bytes);
    let frame = decoder.frame().expect("a frame").expect("whole");
    assert_eq!(frame.id, 77);
    assert_eq!(Request::decode(frame).as_ref(), Ok(&Some(request.clone())));
    assert_eq!(decoder.frame(), Ok(None));
}

fn check_reply(reply: &Reply) {
    let mut bytes = Vec::new();
    reply.encode(3, &mut bytes);
    let mut decoder = Decoder::default();
    // However it is cut.
    for byte in &bytes[..bytes.len() - 1] {
        decoder.feed(&[*byte]);
        assert_eq!(decoder.frame(), Ok(None));
    }
    decoder.feed(&bytes[bytes.len() - 1..]);
    let frame = decoder.frame().expect("a frame").expect("whole");
    assert_eq!(Reply::decode(&frame).as_ref(), Ok(&Some(reply.clone())));
}

fn exit() -> Exit {
    Exit {
        status: ExitStatus::Signal(9),
        timed_out: true,
        at: Timestamp(1_700_000_000_123),
        ms: 12,
        max_rss_kb: 4_000,
        cpu_ms: 3,
        end: u64::MAX,
    }
}

#[test]
fn every_request_is_read_back_as_it_was_written() {
    for request in [
        Request::Hello { min: 1, max: 500 },
        Request::Status,
        Request::Input(vec![0; MAX_INPUT]),
        Request::Input(Vec::new()),
        Request::CloseInput,
        Request::Resize { cols: 80, rows: 24 },
        Request::Signal(-1),
        Request::KillTree { grace_ms: u64::MAX },
        Request::Subscribe { from: 1 << 40 },
        Request::DetachClients,
        Request::Attach(Attach { cols: 80, rows: 24, read_only: true, from: FRESH, window: 1 << 20 }),
        Request::Attach(Attach { cols: 0, rows: 0, read_only: false, from: 7, window: 0 }),
        Request::Acknowledge(1 << 40),
        Request::Refresh,
        Request::Claim,
        Request::Answer { offset: 9, bytes: b"\x1b[1;1R".to_vec() },
        Request::Watch { marks_after: 3, output_at: u64::MAX },
    ] {
        check_request(&request);
    }
}

#[test]
fn every_reply_is_read_back_as_it_was_written() {
    let task = TaskId::generate(TaskKind::Terminal);
    let report = Report {
        state: State::Lingering,
        pid: 5,
        pid_start: 6,
        started_at: Timestamp(1_700_000_000_000),
        end: 7,
        exit: Some(exit()),
        cols: Some(80),
        rows: None,
        title: Some("t".into()),
        cwd: None,
        throttled: true,
        attached: 2,
        input_open: true,
        input_queued: 8,
        descendants: vec![Member { pid: 9, start: 10, name: "ü \"x".into() }],
        descendant_count: 11,
        version: "0.1.0".into(),
    };
    for reply in [
        Reply::Hello(Greeting { min: 1, max: 2, pid: 3, start: 4, task }),
        Reply::Status(Box::new(report)),
        Reply::Accepted(5),
        Reply::Done,
        Reply::Refused(Refusal::NoInput, "nobody reads".into()),
        Reply::Refused(Refusal::Other, String::new()),
        Reply::Offset(u64::MAX),
        Reply::Exited(exit()),
        Reply::Room,
        Reply::Leave,
        Reply::Screen { offset: 1, cols: 2, rows: 3 },
        Reply::Draw(vec![0; MAX_OUTPUT]),
        Reply::Output { offset: 5, stream: Stream::Stderr, bytes: vec![1; MAX_OUTPUT] },
        Reply::Gap { from: 1, to: 2 },
        Reply::Live(6),
        Reply::Size { cols: 80, rows: 24, owner: true },
        Reply::Query { offset: 4, private: true },
        Reply::Mark(Mark { offset: 1, said: Said::Title { title: "ü".into() } }),
        Reply::Mark(Mark { offset: 2, said: Said::Prompt { mark: 'D', exit: Some(-1) } }),
        Reply::Mark(Mark { offset: 3, said: Said::Dropped { from: 1, to: 2 } }),
        Reply::Throttled { offset: 7, on: true },
    ] {
        check_reply(&reply);
    }
}

#[test]
fn the_bytes_of_version_1_do_not_change() {
    let mut bytes = Vec::new();
    Request::Hello { min: 1, max: 1 }.encode(1, &mut bytes);
    Request::Resize { cols: 80, rows: 24 }.encode(2, &mut bytes);
    Request::KillTree { grace_ms: 500 }.encode(3, &mut bytes);
    Request::Subscribe { from: 258 }.encode(4, &mut bytes);
    Request::DetachClients.encode(5, &mut bytes);
    Request::Attach(Attach { cols: 1, rows: 2, read_only: true, from: 3, window: 4 }).encode(6, &mut bytes);
    Request::Watch { marks_after: 1, output_at: 2 }.encode(7, &mut bytes);
    Reply::Output { offset: 1, stream: Stream::Terminal, bytes: b"x".to_vec() }.encode(0, &mut bytes);
    Reply::Offset(3).encode(0, &mut bytes);
    Reply::Leave.encode(0, &mut bytes);
    let expected = [
        &[9, 0, 0, 0, 0x01, 1, 0, 0, 0, 1, 0, 1, 0][..],
        &[9, 0, 0, 0, 0x05, 2, 0, 0, 0, 80, 0, 24, 0],
        &[13, 0, 0, 0, 0x07, 3, 0, 0, 0, 0xf4, 1, 0, 0, 0, 0, 0, 0],
        &[13, 0, 0, 0, 0x08, 4, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0],
        &[5, 0, 0, 0, 0x09, 5, 0, 0, 0],
        &[22, 0, 0, 0, 0x0a, 6, 0, 0, 0, 1, 0, 2, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0],
        &[21, 0, 0, 0, 0x0f, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0],
        &[15, 0, 0, 0, 0x96, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, b'x'],
        &[13, 0, 0, 0, 0x90, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
        &[5, 0, 0, 0, 0x93, 0, 0, 0, 0],
    ];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn a_length_outside_the_bounds_is_refused_before_its_bytes_arrive() {
    for length in [0, 4, u32::try_from(MAX_FRAME).expect("small") + 1, u32::MAX] {
        let mut decoder = Decoder::default();
        decoder.feed(&length.to_le_bytes());
        assert_eq!(decoder.frame(), Err(FrameError::Length(length)));
    }
}

#[test]
fn fields_that_a_later_version_appends_are_ignored() {
    let mut decoder = Decoder::default();
    decoder.feed(&[12, 0, 0, 0, 0x05, 2, 0, 0, 0, 80, 0, 24, 0, 1, 2, 3]);
    let frame = decoder.frame().expect("a frame").expect("whole");
    assert_eq!(Request::decode(frame), Ok(Some(Request::Resize { cols: 80, rows: 24 })));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind: u8) {
        let mut decoder = Decoder::default();
        decoder.feed(&bytes);
        while let Ok(Some(frame)) = decoder.frame() {
            let _any = (Reply::decode(&frame), Request::decode(frame));
        }
        let mut framed = u32::try_from(bytes.len() + 5).expect("small").to_le_bytes().to_vec();
        framed.extend_from_slice(&[kind, 1, 0, 0, 0]);
        framed.extend_from_slice(&bytes);
        let mut decoder = Decoder::default();
        decoder.feed(&framed);
        let frame = decoder.frame().expect("a frame").expect("whole");
        let _any = (Reply::decode(&frame), Request::decode(frame));
    }
}
