//! Tests of `src/bus/size.rs`.

use lanes::bus::{fits, upper_bound};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn the_limit_itself_fits_and_one_more_byte_does_not() {
    let value = json!({ "text": "x".repeat(100) });
    let size = serde_json::to_vec(&value).map_or(0, |bytes| bytes.len());
    assert!(fits(&value, size));
    assert!(!fits(&value, size - 1));
}

#[test]
fn characters_that_grow_when_written_count_as_written() {
    let value = Value::String("\u{1}".repeat(100));
    assert!(fits(&value, 602));
    assert!(!fits(&value, 601));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_value_is_larger_than_its_bound(value in any_json()) {
        prop_assert!(value.to_string().len() <= upper_bound(&value));
    }
}
