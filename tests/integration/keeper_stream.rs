//! The stream of a terminal, as another user interface takes it.

use lanes::keeper::protocol::{Attach, FRESH, Mark, Refusal, Reply, Request, Said};
use lanes::keeper::{Checkpoint, ExitStatus};

use crate::support::attached::Attached;
use crate::support::task::{Bench, read_until};

#[tokio::test(flavor = "multi_thread")]
async fn output_comes_once_in_order_and_the_end_after_all_of_it() {
    let bench = Bench::new();
    let spec = bench.terminal("read go; seq 1 20000; exit 7");
    bench.start(&spec).await;
    let run_dir = spec.run_dir.to_path_buf();
    let mut one = Attached::fresh(&run_dir, 80, 24);
    one.until("live", |seen| seen.live);
    let mut late = Attached::connect(&run_dir);
    one.type_in(b"go\r");
    one.until("the end", |seen| seen.exit.is_some());
    assert_eq!(one.exit.as_ref().map(|exit| exit.status), Some(ExitStatus::Code(7)));
    let text = String::from_utf8_lossy(&one.output).replace('\r', "");
    let numbers: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!((numbers.len(), numbers[0], numbers[19_999]), (20_000, "1", "20000"));
    assert_eq!(one.exit.as_ref().map(|exit| exit.end), Some(one.next));
    // One that was connected and attaches now is sent the same by the log, as long as the keeper is there.
    let asked = Attach { cols: 0, rows: 0, read_only: true, from: 0, window: 1 << 20 };
    late.send(&Request::Attach(asked));
    while let Some((_, reply)) = late.receive() {
        late.take(reply);
    }
    if late.exit.is_some() {
        assert_eq!(late.output, one.output);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_acknowledge_is_sent_no_more_than_its_window_and_then_a_fresh_screen() {
    let bench = Bench::new();
    let spec = bench.terminal("read go; seq 1 1000000; echo done; read go");
    bench.start(&spec).await;
    let run_dir = spec.run_dir.to_path_buf();
    let mut slow = Attached::connect(&run_dir);
    slow.acknowledges = false;
    let asked = Attach { cols: 80, rows: 24, read_only: false, from: FRESH, window: 10_000 };
    assert_eq!(slow.ask(&Request::Attach(asked)), Reply::Done);
    slow.until("live", |seen| seen.live);
    slow.type_in(b"go\r");
    read_until(&spec, "done").await;
    // An answer comes after everything that was sent before.
    assert!(matches!(slow.ask(&Request::Status), Reply::Status(_)));
    assert!(slow.next <= 10_000, "{} bytes were sent", slow.next);
    let drawn = Checkpoint { offset: slow.next + 5_000_000, cols: 80, rows: 24, drawing: b"drawn".to_vec() };
    drawn.write(spec.log_dir.as_path()).expect("writes");
    slow.acknowledges = true;
    slow.send(&Request::Acknowledge(slow.next));
    slow.until("a screen, and all after it", |seen| seen.drawing == b"drawn" && seen.live);
    assert_eq!(slow.gaps, []);
    assert!(String::from_utf8_lossy(&slow.output).ends_with("done\r\n"));
    slow.until_text("done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_without_a_drawn_screen_comes_whole_and_without_being_asked_again() {
    let bench = Bench::new();
    let spec = bench.terminal("seq -f %070.0f 1 12000; echo done; read go");
    bench.start(&spec).await;
    read_until(&spec, "done").await;
    let mut one = Attached::connect(spec.run_dir.as_path());
    // Never acknowledged, and never asked for anything more.
    one.acknowledges = false;
    let asked = Attach { cols: 80, rows: 24, read_only: true, from: FRESH, window: 1 << 20 };
    assert_eq!(one.ask(&Request::Attach(asked)), Reply::Done);
    one.until("live", |seen| seen.live);
    assert_eq!(one.output.len(), 12_000 * 72 + 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_size_is_of_who_typed_last_and_goes_back_when_it_leaves() {
    let bench = Bench::new();
    let spec = bench.terminal("trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done");
    bench.start(&spec).await;
    let run_dir = spec.run_dir.to_path_buf();
    read_until(&spec, "ready").await;
    let mut one = Attached::fresh(&run_dir, 100, 30);
    one.until_text("30 100");
    one.until("its size", |seen| seen.size == Some((100, 30, true)));
    let mut two = Attached::fresh(&run_dir, 90, 20);
    two.until_text("20 90");
    one.until("another's size", |seen| seen.size == Some((90, 20, false)));
    let mut looks = Attached::connect(&run_dir);
    let asked = Attach { cols: 10, rows: 10, read_only: true, from: FRESH, window: 1 << 20 };
    assert_eq!(looks.ask(&Request::Attach(asked)), Reply::Done);
    looks.until("the size", |seen| seen.size == Some((90, 20, false)));
    let refused = looks.ask(&Request::Input(b"x".to_vec()));
    assert!(matches!(refused, Reply::Refused(Refusal::ReadOnly, _)), "{refused:?}");
    // Another window, while it is not its turn.
    assert_eq!(one.ask(&Request::Resize { cols: 101, rows: 31 }), Reply::Done);
    assert_eq!(one.ask(&Request::Resize { cols: 102, rows: 32 }), Reply::Done);
    one.type_in(b"x");
    one.until("its size", |seen| seen.size == Some((102, 32, true)));
    one.until_text("32 102");
    drop(one);
    two.until("its size again", |seen| seen.size == Some((90, 20, true)));
    for (cols, rows) in [(0, 1), (10_001, 5)] {
        let refused = two.ask(&Request::Resize { cols, rows });
        assert!(matches!(refused, Reply::Refused(Refusal::Size, _)), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attach_of_the_same_size_has_the_program_paint_again() {
    let bench = Bench::new();
    let spec = bench.terminal("trap 'echo painted' WINCH; echo ready; while :; do sleep 0.05; done");
    bench.start(&spec).await;
    read_until(&spec, "ready").await;
    let mut one = Attached::fresh(spec.run_dir.as_path(), 80, 24);
    one.until("live", |seen| seen.live);
    let mut two = Attached::fresh(spec.run_dir.as_path(), 80, 24);
    two.until_text("painted");
    // The first drew it from its first byte: it had nothing to be painted again.
    let all = read_until(&spec, "painted").await;
    assert_eq!(all.matches("painted").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered_and_news_is_told_to_who_watches() {
    let bench = Bench::new();
    let ask = "stty raw -echo; printf '\\033[c'; dd bs=1 count=9 2>/dev/null | od -An -c; \
               printf 'ab\\033[6n'; dd bs=1 count=6 2>/dev/null | od -An -c; \
               printf '\\033]2;a title\\007\\033]7;file:///x\\033\\\\\\033]9;look\\007'; sleep 300";
    let spec = bench.terminal(ask);
    bench.start(&spec).await;
    let run_dir = spec.run_dir.to_path_buf();
    let mut watcher = Attached::connect(&run_dir);
    assert_eq!(watcher.ask(&Request::Watch { marks_after: 0, output_at: 1 }), Reply::Done);
    let query = |seen: &Attached| {
        seen.news.iter().find_map(|news| match news {
            Reply::Query { offset, private: false } => Some(*offset),
            _other => None,
        })
    };
    watcher.until("the question", |seen| query(seen).is_some());
    let offset = query(&watcher).expect("a question");
    let answer = Request::Answer { offset, bytes: b"\x1b[1;3R".to_vec() };
    assert_eq!(watcher.ask(&answer), Reply::Done);
    let again = watcher.ask(&answer);
    assert!(matches!(again, Reply::Refused(Refusal::Answered, _)), "{again:?}");
    let marks = |seen: &Attached| {
        let said = seen.news.iter().filter_map(|news| match news {
            Reply::Mark(Mark { said, .. }) => Some(said.clone()),
            _other => None,
        });
        said.collect::<Vec<_>>()
    };
    watcher.until("three marks", |seen| marks(seen).len() == 3);
    let wanted = [
        Said::Title { title: "a title".into() },
        Said::Cwd { cwd: "file:///x".into() },
        Said::Notification { title: None, body: "look".into() },
    ];
    assert_eq!(marks(&watcher), wanted);
    let text = read_until(&spec, "3   R").await;
    assert!(text.contains("033   [   ?   6   2   ;   2   2   c"), "{text:?}");
    // Who comes later is told what it has not seen.
    let mut late = Attached::connect(&run_dir);
    let first = watcher.news.iter().find_map(|news| match news {
        Reply::Mark(mark) => Some(mark.offset),
        _other => None,
    });
    late.ask(&Request::Watch { marks_after: first.expect("a mark"), output_at: u64::MAX });
    late.until("two marks", |seen| marks(seen).len() == 2);
    assert_eq!(marks(&late), wanted[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_said_and_not_stopped() {
    let bench = Bench::new();
    let spec = bench.terminal("read go; head -c 30000000 /dev/zero | tr '\\0' x; echo; echo done; read go");
    bench.start(&spec).await;
    let mut watcher = Attached::connect(spec.run_dir.as_path());
    watcher.ask(&Request::Watch { marks_after: 0, output_at: u64::MAX });
    watcher.type_in(b"go\r");
    let throttled = |on: bool| {
        move |seen: &Attached| {
            seen.news.iter().any(|news| matches!(news, Reply::Throttled { on: is, .. } if *is == on))
        }
    };
    watcher.until("above", throttled(true));
    watcher.until("below", throttled(false));
    read_until(&spec, "done").await;
}
