//! Making and reading ids.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lanes::ids::{LaneId, parse_any};

fn ids(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ids");
    group.throughput(Throughput::Elements(1));
    group.bench_function("an id is made", |bencher| bencher.iter(LaneId::generate));
    group.bench_function("an id is made and written as text", |bencher| {
        bencher.iter(|| LaneId::generate().text());
    });
    let good = LaneId::generate().to_string();
    let bad = format!("{}I", &good[..good.len() - 1]);
    group.bench_function("a good id is validated", |bencher| {
        bencher.iter(|| black_box(good.as_str()).parse::<LaneId>());
    });
    group.bench_function("a bad id is refused", |bencher| {
        bencher.iter(|| black_box(bad.as_str()).parse::<LaneId>());
    });
    group.bench_function("an id of any kind is read", |bencher| {
        bencher.iter(|| parse_any(black_box(&good)).map(|(_prefix, ms)| ms));
    });
    group.finish();
}

criterion_group!(benches, ids);
criterion_main!(benches);
