//! Tests of `src/api/schema.rs` and `src/api/cloudevents.rs`.

use lanes::api::{changes, cloud_event, schema};
use lanes::bus::topic::TOPICS;
use lanes::bus::{Actor, Event, SCHEMA};
use lanes::clock::Timestamp;
use lanes::failure::Code;
use lanes::ids::{CorrelationId, EventId, LaneId, WorkspaceId};
use serde_json::json;

#[test]
fn the_document_has_every_method_topic_and_code() {
    let document = schema::document();
    let methods = document["methods"].as_object().expect("methods");
    for (name, method) in methods {
        assert_eq!(method["changes"], json!(changes(name).expect("a method")), "{name}");
        assert_eq!(method["params"]["type"], "object", "{name}");
        assert_eq!(method["reply"]["type"], "object", "{name}");
    }
    assert!(methods.contains_key("daemon.hello") && methods.contains_key("event.subscribe"));
    assert_eq!(document["events"]["topics"].as_object().map(serde_json::Map::len), Some(TOPICS.len()));
    assert_eq!(document["errors"]["codes"].as_object().map(serde_json::Map::len), Some(Code::ALL.len()));
    assert_eq!(document["errors"]["codes"]["METHOD_NOT_FOUND"]["number"], -32601);
}

#[test]
fn payloads_are_read_from_the_words_that_document_them() {
    let topics = &schema::document()["events"]["topics"];
    let changed = &topics["lane.state.changed"];
    assert_eq!(changed["required"], json!(["from", "to", "event"]));
    assert!(changed["properties"]["reason"].is_object());
    let completed = &topics["lane.command.completed"];
    assert_eq!(completed["required"], json!(["task_id", "exit", "ms", "max_rss_kb"]));
    assert_eq!(topics["lane.shared"]["required"], json!([]));
}

#[test]
fn an_event_is_a_cloud_event() {
    let lane = LaneId::from_u128(7);
    let event = Event {
        id: EventId::from_u128(1),
        topic: "lane.closed".into(),
        ts: Timestamp(1_700_000_000_000),
        offset: 5_000_000_000,
        epoch: "e".into(),
        seq: 3,
        workspace_id: Some(WorkspaceId::from_u128(9)),
        lane_id: Some(lane),
        task_id: None,
        session_id: None,
        actor: Actor::user(),
        correlation_id: CorrelationId::from_u128(2),
        causation_id: None,
        schema: SCHEMA,
        payload: json!({ "close_reason": "cleanup" }),
    };
    let cloud = cloud_event(&event);
    assert_eq!(cloud["specversion"], "1.0");
    assert_eq!(cloud["type"], "lanes.lane.closed");
    assert_eq!(cloud["source"], format!("/lanes/{}", WorkspaceId::from_u128(9)));
    assert_eq!(cloud["subject"], lane.to_string());
    assert_eq!(cloud["time"], "2023-11-14T22:13:20.000Z");
    assert_eq!(cloud["sequence"], "5000000000");
    assert_eq!(cloud["data"], event.payload);
    for name in cloud.as_object().expect("an object").keys() {
        assert!(name.len() <= 20 && name.bytes().all(|byte| byte.is_ascii_lowercase()), "{name}");
    }
}
