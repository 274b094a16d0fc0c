//! What benches report says the same to people and to programs.

#[allow(dead_code, reason = "printing is left to the bench")]
#[path = "../../benches/compare/report.rs"]
mod report;

use report::{Comparison, Line, percentile, to_json};
use serde_json::{Value, json};

fn line(ours: &[f64], theirs: &[f64], more_is_better: bool) -> Line {
    Line { what: "w".to_owned(), unit: "ms", ours: ours.to_vec(), theirs: theirs.to_vec(), more_is_better }
}

fn check(line: &Line, expected: Option<f64>) {
    let ratio = line.ratio();
    assert_eq!((!ratio.is_nan()).then_some(ratio), expected, "{:?} {:?}", line.ours, line.theirs);
}

#[test]
fn above_one_is_better_whatever_is_measured() {
    check(&line(&[1.0, 2.0, 9.0], &[8.0, 4.0, 6.0], false), Some(3.0));
    check(&line(&[6.0], &[2.0], true), Some(3.0));
    check(&line(&[6.0], &[], true), None);
}

#[test]
fn percentiles_are_values_that_were_measured() {
    let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
    assert_eq!([0, 50, 95].map(|percent| percentile(&values, percent)), [1.0, 51.0, 96.0]);
    assert!(percentile(&[], 50).is_nan());
}

#[test]
fn json_has_the_machine_and_every_raw_number() {
    let comparison = Comparison {
        subject: "provision",
        ours: "A".to_owned(),
        theirs: "B".to_owned(),
        lines: vec![line(&[2.0, 4.0, 3.0], &[6.0], false), line(&[1.0], &[], false)],
        not_comparable: vec!["all of it".to_owned()],
        file_system: None,
    };
    let said = to_json(&comparison, &json!({ "processors": 2 }));
    assert_eq!(said["machine"]["processors"], 2);
    let first = &said["lines"][0];
    assert_eq!(
        first["ours"],
        json!({ "median": 3.0, "min": 2.0, "p95": 4.0, "n": 3, "raw": [2.0, 4.0, 3.0] })
    );
    assert_eq!(first["ratio"], 2.0);
    assert_eq!(said["lines"][1]["ratio"], Value::Null, "nothing to compare with");
}
