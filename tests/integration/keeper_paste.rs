//! What is pasted into a terminal arrives whole, however long and however the program reads.

use lanes::keeper::Shape;

use crate::support::task::{Bench, read_all, read_until};

/// Pastes into `cat > file` after this `stty`, and ends it with this key.
async fn check(stty: &str, text: &[u8], end: &[u8], reads: &str) {
    let bench = Bench::new();
    let script = format!("stty {stty}; echo ready; {reads} > pasted; echo over");
    let spec = bench.spec(Shape::Terminal { cols: 80, rows: 24 }, &["sh", "-c", &script]);
    bench.start(&spec).await;
    read_until(&spec, "ready").await;
    let link = bench.link(&spec).await;
    link.input_all(text).await.expect("pasted");
    link.input_all(end).await.expect("typed");
    read_all(&spec).await;
    let pasted = std::fs::read(bench.dir.path().join("pasted")).expect("a file");
    assert_eq!(pasted.len(), text.len(), "{stty}");
    let differs = pasted.iter().zip(text).position(|(is, was)| is != was);
    assert_eq!(differs, None, "{stty}");
}

/// So many bytes in lines of this length, each with its number.
fn lines(bytes: usize, length: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for number in 0_u64.. {
        if text.len() >= bytes {
            break;
        }
        let number = format!("{number:08} ");
        text.extend_from_slice(number.as_bytes());
        text.extend(std::iter::repeat_n(b'x', length - number.len() - 1));
        text.push(b'\n');
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_of_lines_arrive_where_the_terminal_gathers_lines() {
    check("sane", &lines(10 << 20, 80), b"\x04", "cat").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_longer_than_the_kernel_holds_arrive_as_well() {
    check("sane", &lines(1 << 20, 20_000), b"\x04", "cat").await;
    check("sane -echo", &lines(1 << 20, 4_096), b"\x04", "cat").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_terminal_gets_every_byte_as_it_is() {
    let text: Vec<u8> = (0..4 << 20).map(|at: u32| (at % 251) as u8).collect();
    check("raw -echo", &text, b"", &format!("head -c {}", text.len())).await;
}
