//! What freeing in the background costs a build beside it. Ignored: it gives figures, not a verdict.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lanes::worktree::pressure::{Sample, Stall};
use lanes::worktree::{Pace, remove_tree};

/// Trees of a round, and files in each.
const TREES: usize = 50;
const FILES: usize = 3_000;

/// Makes a tree of files of 4 KiB on average, twenty to a folder.
fn make(tree: &Path) {
    for number in 0..FILES {
        let folder = tree.join(format!("{}/{}", number / 200, number / 20));
        if number % 20 == 0 {
            std::fs::create_dir_all(&folder).expect("a folder");
        }
        std::fs::write(folder.join(number.to_string()), vec![7; 1 + number * 7 % 8192]).expect("a file");
    }
}

/// Runs the build once.
fn build(script: &str, folder: &Path) -> Duration {
    let since = Instant::now();
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().expect("sh").success(), "the build");
    since.elapsed()
}

/// The machine as it is when a build uses all of it, and nobody waits: for a machine on which others work.
fn busy() -> Sample {
    Sample { cpu: Some(Stall { avg10: 6.0, total_us: 0 }), cpus: 2, ..Sample::default() }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures: LANES_MEASURE=FOLDER, LANES_BUILD=SCRIPT, LANES_ROUNDS, LANES_PACE=real|busy|full"]
async fn what_freeing_costs_a_build() {
    let folder = PathBuf::from(std::env::var_os("LANES_MEASURE").expect("a folder"));
    let script = std::env::var("LANES_BUILD").expect("a script");
    let rounds: usize = std::env::var("LANES_ROUNDS").map_or(5, |text| text.parse().expect("a number"));
    let pace = match std::env::var("LANES_PACE").as_deref() {
        Ok("full") => Pace::full(),
        Ok("busy") => Pace::watching(busy),
        Ok(_) | Err(_) => Pace::background(),
    };
    for round in 0..rounds {
        let trees: Vec<PathBuf> =
            (0..TREES).map(|tree| folder.join(format!("gone-{round}-{tree}"))).collect();
        trees.iter().for_each(|tree| make(tree));
        assert!(Command::new("sync").status().expect("sync").success());
        let alone = build(&script, &folder);
        let (jobs, list) = (pace.clone(), trees.clone());
        let begun = Instant::now();
        let freeing = tokio::spawn(async move {
            for tree in list {
                jobs.run("freeing", move |pace, _cancel| remove_tree(&tree, None, pace))
                    .await
                    .expect("freed");
            }
            begun.elapsed()
        });
        let beside = build(&script, &folder);
        let left = trees.iter().filter(|tree| tree.exists()).count();
        let again = build(&script, &folder);
        let hurry = std::env::var_os("LANES_FINISH").is_none().then(|| pace.hurry());
        let took = freeing.await.expect("freed");
        drop(hurry);
        println!(
            "round {round}: alone {alone:.2?}, beside {beside:.2?} ({left} trees left after it), {again:.2?} \
             (beside or after); all freed after {took:.2?}"
        );
    }
}
