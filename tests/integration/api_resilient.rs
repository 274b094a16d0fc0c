//! Tests of `src/api/resilient.rs`: the runtime goes away and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lanes::api::{Client, DaemonStatus, DaemonStop, Nothing, Options, Resilience, Subscribe};
use lanes::bus::{Actor, Context};
use lanes::failure::{Code, Failure};
use serde_json::json;

use crate::support::server::{DEADLINE, Running, World, soon};

fn patient() -> Resilience {
    Resilience { give_up: DEADLINE, revive: None }
}

async fn publish(world: &World) -> u64 {
    let draft = Context::new(Actor::lanes()).draft("test.happened", json!({}));
    world.bus.publish(draft).await.expect("it is published").offset
}

#[tokio::test]
async fn a_lost_connection_fails_what_waits_with_daemon_down() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    world.on("lane.wait", |_params, _context| std::future::pending());
    let running = Running::start(home.path(), &world);
    let client = running.client().await;
    let mut events = client.subscribe(Subscribe::default()).await.expect("it begins");
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.request("lane.wait", json!({})).await }
    });
    soon(client.request("test.echo", json!({}))).await.expect("it answers");
    running.stop().await;
    let failure = soon(waiting).await.expect("it ends").expect_err("it is refused");
    assert_eq!((failure.code, failure.retryable), (Code::DaemonDown, true));
    let end = soon(events.next()).await.expect("an error").expect_err("an error");
    assert_eq!(end.code, Code::DaemonDown);
    assert_eq!(soon(events.next()).await, None);
    assert!(client.is_lost());
    let failure = soon(client.request("test.echo", json!({}))).await.expect_err("it is lost");
    assert_eq!(failure.code, Code::DaemonDown);
}

#[tokio::test]
async fn a_subscription_goes_on_where_it_was_after_a_restart() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    let running = Running::start(home.path(), &world);
    let client = soon(Client::resilient(home.path(), "test 1", patient())).await.expect("it connects");
    let mut events = soon(client.subscribe(Subscribe::default())).await.expect("it begins");
    assert_eq!(publish(&world).await, 1);
    assert_eq!(soon(events.next()).await.expect("it goes on").event.map(|event| event.offset), Some(1));
    running.stop().await;
    // While nobody serves.
    publish(&world).await;
    let running = Running::start(home.path(), &world);
    publish(&world).await;
    for offset in [2, 3] {
        let event = soon(events.next()).await.expect("it goes on").event;
        assert_eq!(event.map(|event| event.offset), Some(offset));
    }
    assert_eq!(events.position(), 3);
    running.stop().await;
}

#[tokio::test]
async fn a_rebuilt_journal_is_an_error_not_a_wrong_offset() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    let running = Running::start(home.path(), &world);
    let client = soon(Client::resilient(home.path(), "test 1", patient())).await.expect("it connects");
    let mut events = soon(client.subscribe(Subscribe::default())).await.expect("it begins");
    publish(&world).await;
    soon(events.next()).await.expect("it goes on");
    running.stop().await;
    let rebuilt = World::new();
    let running = Running::start(home.path(), &rebuilt);
    let failure = soon(events.next()).await.expect_err("another epoch");
    assert_eq!(failure.code, Code::Io);
    assert!(failure.details.is_some_and(|details| details["epoch_before"] != details["epoch"]));
    running.stop().await;
}

#[tokio::test]
async fn a_call_that_was_cut_off_is_asked_again_and_runs_once() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    world.on("daemon.status", |_params, _context| std::future::pending());
    let running = Running::start(home.path(), &world);
    let client = soon(Client::resilient(home.path(), "test 1", patient())).await.expect("it connects");
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call::<DaemonStatus>(Nothing {}).await }
    });
    soon(client.request("test.echo", json!({}))).await.expect("it answers");
    running.stop().await;
    let again = World::new();
    again.on("daemon.status", |_params, _context| async {
        Ok(json!({ "daemon": { "pid": 1, "version": "0", "protocol": 1, "home": "/", "uptime_s": 0,
                               "lanes": 7, "safe_mode": false } }))
    });
    let running = Running::start(home.path(), &again);
    assert_eq!(soon(call).await.expect("it ends").expect("it answers").daemon.lanes, 7);
    running.stop().await;
}

#[tokio::test]
async fn a_changing_call_without_a_key_is_not_asked_again() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    let begun = Arc::new(AtomicUsize::new(0));
    let count = begun.clone();
    world.on("daemon.stop", move |_params, _context| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::pending()
    });
    let running = Running::start(home.path(), &world);
    let client = soon(Client::resilient(home.path(), "test 1", patient())).await.expect("it connects");
    let call =
        tokio::spawn(async move { client.call_with::<DaemonStop>(Nothing {}, Options::default()).await });
    while begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    running.stop().await;
    let failure = soon(call).await.expect("it ends").expect_err("it is cut off");
    assert_eq!(failure.code, Code::DaemonDown);
    assert_eq!(begun.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_runtime_that_is_gone_is_revived() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    let (asked, is_asked) = tokio::sync::mpsc::channel(1);
    let revive = move || -> lanes::bus::BoxFuture<'static, Result<(), Failure>> {
        let asked = asked.clone();
        Box::pin(async move {
            let _told_already = asked.try_send(());
            Ok(())
        })
    };
    let resilience = Resilience { give_up: DEADLINE, revive: Some(Arc::new(revive)) };
    let home_path = home.path().to_path_buf();
    let connecting =
        tokio::spawn(async move { Client::resilient(&home_path, "test 1", resilience).await.map(drop) });
    let mut is_asked = is_asked;
    soon(is_asked.recv()).await.expect("somebody asks");
    let running = Running::start(home.path(), &world);
    soon(connecting).await.expect("it ends").expect("it connects");
    running.stop().await;
}

#[tokio::test]
async fn a_runtime_that_does_not_come_back_is_given_up() {
    let home = tempfile::tempdir().expect("a folder");
    let resilience = Resilience { give_up: Duration::from_millis(50), revive: None };
    let failure = soon(Client::resilient(home.path(), "test 1", resilience)).await.err();
    assert_eq!(failure.map(|failure| failure.code), Some(Code::DaemonDown));
}
