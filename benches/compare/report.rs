//! What a comparison has found, for people and as JSON.

use serde_json::{Value, json};

/// One line of a comparison: both in the same unit. Without theirs there is nothing to compare with.
pub struct Line {
    /// What was measured.
    pub what: String,
    pub unit: &'static str,
    pub ours: Vec<f64>,
    pub theirs: Vec<f64>,
    /// True when a larger number is the better one.
    pub more_is_better: bool,
}

/// What a subject has found.
pub struct Comparison {
    pub subject: &'static str,
    pub ours: String,
    pub theirs: String,
    pub lines: Vec<Line>,
    pub not_comparable: Vec<String>,
    /// What it was measured on, where that counts.
    pub file_system: Option<String>,
}

/// The middle of `values`.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

/// The value that so many percent of `values` are below of.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// Median, least, 95th percentile and number, for people.
pub fn summary(values: &[f64]) -> String {
    if values.is_empty() {
        return "-".to_owned();
    }
    let (middle, least, tail) = (median(values), percentile(values, 0), percentile(values, 95));
    format!("median {middle:.1} min {least:.1} p95 {tail:.1} n {}", values.len())
}

impl Line {
    /// Ours by theirs, in the sense in which above 1 is better.
    pub fn ratio(&self) -> f64 {
        let (ours, theirs) = (median(&self.ours), median(&self.theirs));
        if self.more_is_better { ours / theirs } else { theirs / ours }
    }
}

pub fn print(comparison: &Comparison, machine: &Value) {
    println!("A: {}\nB: {}", comparison.ours, comparison.theirs);
    println!("on {}", machine);
    println!("{:<58} {:>12} {:>12}  {:<8} {:>8}", "median of", "A", "B", "unit", "A is");
    for line in &comparison.lines {
        let (ours, theirs) = (median(&line.ours), median(&line.theirs));
        let what = &line.what;
        match line.theirs.is_empty() {
            true => println!("{what:<58} {ours:>12.1} {:>12}  {:<8}", "-", line.unit),
            false => {
                println!("{what:<58} {ours:>12.1} {theirs:>12.1}  {:<8} {:>7.2}x", line.unit, line.ratio());
            }
        }
    }
    println!("raw, in the order of the rounds:");
    for line in &comparison.lines {
        println!("  {} ({})", line.what, line.unit);
        for (who, values) in [("A", &line.ours), ("B", &line.theirs)] {
            println!("    {who} {}: {}", summary(values), shown(values));
        }
    }
    println!("not comparable:");
    for remark in &comparison.not_comparable {
        println!("  - {remark}");
    }
}

/// As many as one cares to read; all are in the JSON.
fn shown(values: &[f64]) -> String {
    const MOST: usize = 24;
    let more = if values.len() > MOST { " …" } else { "" };
    let values: Vec<String> = values.iter().take(MOST).map(|value| format!("{value:.1}")).collect();
    values.join(" ") + more
}

pub fn to_json(comparison: &Comparison, machine: &Value) -> Value {
    let side = |values: &[f64]| {
        let (least, tail) = (percentile(values, 0), percentile(values, 95));
        json!({ "median": median(values), "min": least, "p95": tail, "n": values.len(), "raw": values })
    };
    let line = |line: &Line| {
        json!({
            "what": line.what,
            "unit": line.unit,
            "more_is_better": line.more_is_better,
            "ours": side(&line.ours),
            "theirs": side(&line.theirs),
            "ratio": line.ratio(),
        })
    };
    json!({
        "schema": 1,
        "machine": machine,
        "subject": comparison.subject,
        "ours": comparison.ours,
        "theirs": comparison.theirs,
        "lines": comparison.lines.iter().map(line).collect::<Vec<_>>(),
        "not_comparable": comparison.not_comparable,
    })
}
