//! Tests of `src/daemon/connection.rs`: what a client may do to us, and what it gets.

use lanes::api::{Client, Hello, Options};
use lanes::failure::Code;
use lanes::ids::{CorrelationId, LaneId};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::AsyncWriteExt as _;

use crate::support::server::{Running, World, soon};

/// Says `line` on a greeted connection; the reply has this number and code, and the connection goes on.
async fn check_refused(line: &str, id: serde_json::Value, number: i64, code: &str) {
    let home = tempfile::tempdir().expect("a folder");
    let running = Running::start(home.path(), &World::new());
    let mut bare = running.greeted().await;
    bare.say(line).await;
    let reply = bare.hear().await;
    assert_eq!(reply["id"], id, "{line} {reply}");
    assert_eq!(reply["error"]["code"], number, "{line} {reply}");
    assert_eq!(reply["error"]["data"]["code"], code, "{line} {reply}");
    bare.say(r#"{"jsonrpc":"2.0","id":9,"method":"test.echo"}"#).await;
    assert_eq!(bare.hear().await["id"], 9);
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_connection_goes_on() {
    check_refused("GET / HTTP/1.1", json!(null), -32700, "VALIDATION_ERROR").await;
    check_refused("{\"id\":1,", json!(null), -32700, "VALIDATION_ERROR").await;
    check_refused("7", json!(null), -32600, "VALIDATION_ERROR").await;
    check_refused("[]", json!(null), -32600, "VALIDATION_ERROR").await;
    check_refused(r#"{"id":5,"method":"x"}"#, json!(5), -32600, "VALIDATION_ERROR").await;
    check_refused(r#"{"jsonrpc":"2.0","id":"a"}"#, json!("a"), -32600, "VALIDATION_ERROR").await;
    check_refused(r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, json!(null), -32600, "VALIDATION_ERROR").await;
    check_refused(
        r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[]}"#,
        json!(1),
        -32602,
        "VALIDATION_ERROR",
    )
    .await;
    check_refused(r#"{"jsonrpc":"2.0","id":1,"method":"no.such"}"#, json!(1), -32601, "METHOD_NOT_FOUND")
        .await;
    check_refused(r#"{"jsonrpc":"2.0","id":1,"method":"test.fail"}"#, json!(1), -32000, "AT_CAPACITY").await;
    check_refused(
        r#"{"jsonrpc":"2.0","id":1,"method":"event.subscribe","params":{"since":"x"}}"#,
        json!(1),
        -32602,
        "VALIDATION_ERROR",
    )
    .await;
}

#[tokio::test]
async fn nothing_is_answered_before_hello() {
    let home = tempfile::tempdir().expect("a folder");
    let running = Running::start(home.path(), &World::new());
    let mut bare = running.bare().await;
    bare.say(r#"{"jsonrpc":"2.0","id":1,"method":"test.echo"}"#).await;
    let reply = bare.hear().await;
    assert_eq!(reply["error"]["data"]["code"], "VALIDATION_ERROR");
    assert!(reply["error"]["message"].as_str().is_some_and(|text| text.contains("daemon.hello")));
    running.stop().await;
}

#[tokio::test]
async fn a_line_of_a_hundred_megabytes_is_answered_once_and_skipped() {
    let home = tempfile::tempdir().expect("a folder");
    let running = Running::start(home.path(), &World::new());
    let mut bare = running.greeted().await;
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        soon(bare.write.write_all(&piece)).await.expect("the server goes on reading");
    }
    bare.say("").await;
    bare.say(r#"{"jsonrpc":"2.0","id":2,"method":"test.echo"}"#).await;
    assert_eq!(bare.hear().await["error"]["code"], -32700);
    assert_eq!(bare.hear().await["id"], 2);
    running.stop().await;
}

#[tokio::test]
async fn half_a_request_and_an_end_closes_the_connection_quietly() {
    let home = tempfile::tempdir().expect("a folder");
    let running = Running::start(home.path(), &World::new());
    let mut bare = running.greeted().await;
    bare.write.write_all(br#"{"jsonrpc":"2.0","id":2,"meth"#).await.expect("the server reads");
    bare.write.shutdown().await.expect("our side is closed");
    assert_eq!(bare.hear().await, serde_json::Value::Null);
    assert_eq!(running.stop().await.aborted, 0);
}

#[tokio::test]
async fn who_has_said_its_last_word_still_gets_its_replies() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    let running = Running::start(home.path(), &world);
    let mut bare = running.greeted().await;
    bare.say(r#"{"jsonrpc":"2.0","id":2,"method":"test.wait"}"#).await;
    bare.write.shutdown().await.expect("our side is closed");
    world.release.cancel();
    assert_eq!(bare.hear().await["id"], 2);
    assert_eq!(bare.hear().await, serde_json::Value::Null);
    running.stop().await;
}

#[tokio::test]
async fn two_clients_interleave_and_ids_come_back_as_they_were() {
    let home = tempfile::tempdir().expect("a folder");
    let running = Running::start(home.path(), &World::new());
    let (mut one, mut two) = (running.greeted().await, running.greeted().await);
    for id in ["1", "\"1\"", "-7", "1.5", "null"] {
        one.say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"test.echo","params":{{"of":1}}}}"#)).await;
        two.say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"test.echo","params":{{"of":2}}}}"#)).await;
        for (bare, of) in [(&mut one, 1), (&mut two, 2)] {
            let reply = bare.hear().await;
            assert_eq!(reply["id"].to_string(), id);
            assert_eq!(reply["result"]["params"]["of"], of);
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn twenty_requests_at_once_keep_their_ids_and_correlations_apart() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    world.on("test.slow", |params, context| async move {
        tokio::task::yield_now().await;
        Ok(json!({ "n": params["n"], "correlation_id": context.correlation_id }))
    });
    let running = Running::start(home.path(), &world);
    let client = running.client().await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..20 {
        let client = client.clone();
        calls.spawn(async move {
            let cor = CorrelationId::generate();
            let reply = client.request("test.slow", json!({ "n": n, "correlation_id": cor })).await;
            (n, cor, reply.expect("it answers"))
        });
    }
    while let Some(ended) = soon(calls.join_next()).await {
        let (n, cor, reply) = ended.expect("it ends");
        assert_eq!(reply["n"], n);
        assert_eq!(reply["correlation_id"], cor.to_string());
    }
    running.stop().await;
}

#[tokio::test]
async fn a_request_knows_who_asks_and_from_which_lane() {
    let home = tempfile::tempdir().expect("a folder");
    let lane = LaneId::generate();
    let ours = i32::try_from(std::process::id()).expect("a pid");
    let running = Running::start_with(home.path(), &World::new(), |options| {
        options.peer_lane = Arc::new(move |pid| (pid == ours).then_some(lane));
    });
    let reply = running.client().await.request("test.echo", json!({})).await.expect("it answers");
    assert_eq!(reply["actor"], json!({ "kind": "user", "id": "test" }));
    assert_eq!(reply["from_lane"], lane.to_string());
    running.stop().await;
}

#[tokio::test]
async fn a_client_of_another_version_is_told_and_cut_off() {
    let home = tempfile::tempdir().expect("a folder");
    let running = Running::start(home.path(), &World::new());
    let hello = Hello { client: "old 9".into(), protocol_min: 900, protocol_max: 901 };
    let failure = soon(Client::connect_as(home.path(), hello)).await.expect_err("no version in common");
    assert_eq!(failure.code, Code::ProtocolMismatch);
    assert!(failure.hint.is_some());
    running.stop().await;
}

#[tokio::test]
async fn more_requests_than_may_be_in_flight_are_refused_with_backpressure() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    let running = Running::start(home.path(), &world);
    let mut bare = running.greeted().await;
    for id in 0..257 {
        bare.say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"test.wait"}}"#)).await;
    }
    let refused = bare.hear().await;
    assert_eq!(refused["error"]["data"]["code"], "BACKPRESSURE");
    assert_eq!(refused["error"]["data"]["retryable"], true);
    let other = running.client().await;
    soon(other.request("test.echo", json!({}))).await.expect("others are not delayed");
    world.release.cancel();
    for _ in 0..256 {
        assert!(bare.hear().await["result"].is_object());
    }
    running.stop().await;
}

#[tokio::test]
async fn the_same_key_runs_once_and_answers_the_same() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    let running = Running::start(home.path(), &world);
    let client = running.client().await;
    let waiting = json!({ "waits": true, "idempotency_key": "k" });
    // Two at once: the second joins the first.
    let first = tokio::spawn({
        let (client, params) = (client.clone(), waiting.clone());
        async move { client.request("test.count", params).await }
    });
    while world.ran.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let other = running.client().await;
    let second = tokio::spawn({
        let params = waiting.clone();
        async move { other.request("test.count", params).await }
    });
    soon(client.request("test.echo", json!({}))).await.expect("the others go on");
    world.release.cancel();
    let first = soon(first).await.expect("it ends").expect("it answers");
    assert_eq!(soon(second).await.expect("it ends").expect("it answers"), first);
    // And once more afterwards.
    assert_eq!(soon(client.request("test.count", waiting)).await.expect("it answers"), first);
    assert_eq!(world.ran.load(Ordering::SeqCst), 1);

    let other_params = json!({ "idempotency_key": "k" });
    let failure = soon(client.request("test.count", other_params)).await.expect_err("another request");
    assert_eq!(failure.code, Code::ValidationError);
    running.stop().await;

    // The reply is in the journal: another server on it gives it, too.
    let running = Running::start(home.path(), &world);
    let waiting = json!({ "waits": true, "idempotency_key": "k" });
    assert_eq!(running.client().await.request("test.count", waiting).await.expect("it answers"), first);
    assert_eq!(world.ran.load(Ordering::SeqCst), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_key_of_a_request_that_was_cut_off_says_that_nobody_knows() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    let running = Running::start(home.path(), &world);
    let mut bare = running.greeted().await;
    let line =
        r#"{"jsonrpc":"2.0","id":1,"method":"test.count","params":{"waits":true,"idempotency_key":"k"}}"#;
    bare.say(line).await;
    while world.ran.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let served = running.stop().await;
    assert_eq!((served.cut_off, served.aborted), (1, 0));
    assert_eq!(bare.hear().await["error"]["data"]["code"], "DAEMON_DOWN");

    let running = Running::start(home.path(), &world);
    let mut bare = running.greeted().await;
    bare.say(line).await;
    assert_eq!(bare.hear().await["error"]["data"]["code"], "HANDLER_ERROR");
    assert_eq!(world.ran.load(Ordering::SeqCst), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_cleanup_that_was_cut_off_is_resumed_under_its_key() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    let (ran, release) = (world.ran.clone(), world.release.clone());
    world.on("lane.cleanup", move |_params, _context| {
        ran.fetch_add(1, Ordering::SeqCst);
        let release = release.clone();
        async move {
            release.cancelled().await;
            Ok(json!({ "results": [] }))
        }
    });
    let running = Running::start(home.path(), &world);
    let mut bare = running.greeted().await;
    let line =
        r#"{"jsonrpc":"2.0","id":1,"method":"lane.cleanup","params":{"cwd":"/","idempotency_key":"k"}}"#;
    bare.say(line).await;
    while world.ran.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    running.stop().await;
    world.release.cancel();
    let running = Running::start(home.path(), &world);
    for _ in 0..2 {
        let mut bare = running.greeted().await;
        bare.say(line).await;
        assert_eq!(bare.hear().await["result"], json!({ "results": [] }));
    }
    assert_eq!(world.ran.load(Ordering::SeqCst), 2);
    running.stop().await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_times_out_and_the_connection_goes_on() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    world.on("daemon.status", |_params, _context| std::future::pending());
    let running = Running::start(home.path(), &world);
    let client = running.client().await;
    let options = Options { timeout: Some(std::time::Duration::from_millis(20)), idempotency_key: None };
    let call = client.call_with::<lanes::api::DaemonStatus>(lanes::api::Nothing {}, options);
    let failure = soon(call).await.expect_err("it never answers");
    assert_eq!(failure.code, Code::Timeout);
    soon(client.request("test.echo", json!({}))).await.expect("the connection goes on");
    running.stop().await;
}

#[tokio::test]
async fn a_stop_answers_what_waits_and_takes_the_socket_away() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    world.on("lane.wait", |_params, _context| std::future::pending());
    let running = Running::start(home.path(), &world);
    let mut bare = running.greeted().await;
    bare.say(r#"{"jsonrpc":"2.0","id":1,"method":"lane.wait"}"#).await;
    bare.say(r#"{"jsonrpc":"2.0","id":2,"method":"test.echo"}"#).await;
    assert_eq!(bare.hear().await["id"], 2);
    let served = running.stop().await;
    assert_eq!((served.cut_off, served.aborted), (0, 0));
    let reply = bare.hear().await;
    assert_eq!(reply["id"], 1);
    assert_eq!(reply["error"]["data"]["code"], "DAEMON_DOWN");
    assert_eq!(bare.hear().await, serde_json::Value::Null);
    assert!(!home.path().join("daemon.sock").exists());
    let failure = soon(Client::connect(home.path(), "test 1")).await.expect_err("nobody listens");
    assert_eq!(failure.code, Code::DaemonDown);
}
