//! How long changes take, of a real cluster.

use larder_benches::topology::{ring_cost, spread};
use larder_testkit::binary;

#[test]
fn changes_reach_every_shard_and_rings_are_built() {
    let found = spread(&binary("larder"), 2, 2, 4).expect("all shards know");
    println!("{found:?}");
    assert!(found.from_asking_ms.median >= found.from_answer_ms.median && found.from_answer_ms.max > 0.0);
    let cost = ring_cost(10).expect("a ring");
    assert!(cost.build_ms > 0.0 && cost.lookup_ns > 0.0, "{cost:?}");
}
