//! What is left over: ids that stay, ages that grow, risks as spec 015 has them.

use std::path::PathBuf;

use lanes::clock::Timestamp;
use lanes::ids::LaneId;
use lanes::recovery::orphan::{Kind, Orphan, Place, Risk, Running, What, Whose, sort};

const HOUR: u64 = 3_600_000;
const NOW: Timestamp = Timestamp(1_000 * HOUR);

pub fn place(path: &str, ino: u64) -> Place {
    Place { path: PathBuf::from(path), dev: 1, ino, born: 7 }
}

pub fn orphan(what: What, owner: Whose, age_ms: u64) -> Orphan {
    Orphan { what, owner, task: None, since: Timestamp(NOW.as_ms() - age_ms), reason: "because".into() }
}

pub fn rest(ino: u64, age_ms: u64) -> Orphan {
    orphan(
        What::Rest(Kind::LogFolder, place("/l", ino)),
        Whose::Lane(LaneId::from_u128(u128::from(ino))),
        age_ms,
    )
}

fn check(owner: Whose, age_ms: u64, expected: Risk) {
    let one = orphan(What::Rest(Kind::LogFolder, place("/l", 1)), owner, age_ms);
    assert_eq!(one.risk(NOW), expected, "{owner} after {age_ms} ms");
}

#[test]
fn risk_follows_age_and_owner() {
    let known = Whose::Lane(LaneId::from_u128(1));
    check(known, 0, Risk::Low);
    check(known, HOUR - 1, Risk::Low);
    check(known, HOUR, Risk::Medium);
    check(known, 24 * HOUR, Risk::Medium);
    check(known, 24 * HOUR + 1, Risk::High);
    for age in [0, HOUR, 25 * HOUR] {
        check(Whose::Unknown, age, Risk::High);
    }
}

#[test]
fn a_risk_grows_with_the_time_of_asking() {
    let one = rest(1, 0);
    let later = |hours: u64| Timestamp(NOW.as_ms() + hours * HOUR);
    assert_eq!([0, 2, 30].map(|hours| one.risk(later(hours))), [Risk::Low, Risk::Medium, Risk::High]);
}

#[test]
fn the_riskiest_comes_first_then_the_oldest() {
    let unknown = orphan(What::Rest(Kind::RunFolder, place("/r", 9)), Whose::Unknown, 0);
    let mut all = vec![rest(1, 0), rest(2, 2 * HOUR), rest(3, 30 * HOUR), rest(4, 10), unknown];
    sort(&mut all, NOW);
    let inodes: Vec<u64> = all
        .iter()
        .map(|one| match &one.what {
            What::Rest(_, place) => place.ino,
            What::Tree { .. } | What::Entry { .. } | What::Process(_) | What::Keeper(..) => 0,
        })
        .collect();
    assert_eq!(inodes, [3, 9, 2, 4, 1]);
}

#[test]
fn an_id_is_of_the_thing_and_not_of_its_path_or_age() {
    let tree = |path: &str, ino: u64, born: u64, age| {
        let place = Place { born, ..place(path, ino) };
        orphan(What::Tree { place, repo: "/r".into(), admin: None }, Whose::Unknown, age).id()
    };
    let id = tree("/a", 5, 7, 0);
    assert_eq!(id, tree("/moved", 5, 7, HOUR));
    assert_ne!(id, tree("/a", 6, 7, 0), "another inode");
    assert_ne!(id, tree("/a", 5, 8, 0), "the same inode, used again");
    let process = |pid, start| {
        let name = "sleep".to_owned();
        let running = Running { pid, start, boot_id: "b".into(), name };
        orphan(What::Process(running), Whose::Unknown, 0).id()
    };
    assert_eq!(process(1, 2), process(1, 2));
    assert_ne!(process(1, 2), process(1, 3), "the same pid, used again");
    for kind in Kind::ALL {
        assert!(!kind.name().is_empty() && !kind.action().is_empty());
    }
}
