//! From what an operator writes to a ring, or to a message that says what to change.

use larder_membership::{Local, MembershipError, Source};
use larder_ring::{StaticListError, TopologyError};

fn local(id: Option<&str>, address: &str) -> Local {
    Local { id: id.map(String::from), address: address.into(), shards: 4, points: None, incarnation: 99 }
}

fn refused(local: Local, entries: &[&str]) -> MembershipError {
    Source::list(local, entries, 0).expect_err("refused")
}

#[test]
fn single_node_is_its_address_unless_told_otherwise() {
    let source = Source::single(local(None, "127.0.0.1:7400"), 5).expect("possible");
    let topology = source.current();
    topology.validate();
    assert_eq!((topology.epoch(), topology.cluster_seed(), topology.nodes().len()), (1, 5, 1));
    let own = topology.node(source.own());
    assert_eq!((own.id.as_str(), own.shards, own.points, own.incarnation), ("127.0.0.1:7400", 4, 1024, 99));

    let told = Local { points: Some(512), ..local(Some("a"), "127.0.0.1:7400") };
    let source = Source::single(told, 5).expect("possible");
    let own = source.current().node(source.own()).clone();
    assert_eq!((own.id.as_str(), own.address.as_str(), own.points), ("a", "127.0.0.1:7400", 512));
}

#[test]
fn impossible_single_nodes_are_refused() {
    let error = Source::single(local(Some("a b"), "127.0.0.1:7400"), 0).expect_err("refused");
    assert_eq!(error, MembershipError::Topology(TopologyError::IdMalformed { id: "a b".into() }));
    let error = Source::single(Local { shards: 300, ..local(Some("a"), "h:1") }, 0).expect_err("refused");
    assert_eq!(error.to_string(), "node \"a\" has 300 shards: it must be 1 to 256");
}

#[test]
fn node_finds_itself_by_id_or_address() {
    let entries = ["a=h1:7400", "h2:7400*2", "c=H3:7400*0.5"];
    for (local, id, points) in [
        (local(Some("a"), "h1:7400"), "a", 1024),
        (local(None, "h1:7400"), "a", 1024),
        (local(None, "h2:7400"), "h2:7400", 2048),
        (Local { points: Some(512), ..local(Some("c"), "h3:7400") }, "c", 512),
    ] {
        let source = Source::list(local.clone(), &entries, 7).expect("possible");
        let topology = source.current();
        topology.validate();
        let own = topology.node(source.own());
        assert_eq!((own.id.as_str(), own.points), (id, points), "{local:?}");
        assert_eq!((own.address.as_str(), own.shards, own.incarnation), (local.address.as_str(), 4, 99), "{local:?}");
        for peer in topology.nodes().iter().filter(|peer| peer.id != id) {
            assert_eq!((peer.shards, peer.incarnation), (1, 0), "{peer:?} has said nothing yet");
        }
    }
}

#[test]
fn all_nodes_of_a_list_have_one_ring() {
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..50 {
        let seed = random.u64(..);
        let mut entries: Vec<String> =
            (0..random.usize(1..12)).map(|index| format!("n{index}=h{index}:7400*{}", random.u32(1..5))).collect();
        let first = Source::list(local(Some("n0"), "h0:7400"), &entries, seed).expect("possible").current();
        for index in 0..entries.len() {
            random.shuffle(&mut entries);
            let id = format!("n{index}");
            let source = Source::list(local(Some(&id), &format!("h{index}:7400")), &entries, seed).expect("possible");
            let topology = source.current();
            assert_eq!(topology.node(source.own()).id, id, "round {round}");
            assert_eq!(
                (topology.epoch(), topology.digest()),
                (1, first.digest()),
                "round {round}, cluster seed {seed}"
            );
            for _ in 0..100 {
                let hash = random.u64(..);
                assert_eq!(
                    topology.owner(hash),
                    first.owner(hash),
                    "round {round}, cluster seed {seed}, hash {hash:x}"
                );
            }
        }
    }
}

#[test]
fn list_without_this_node() {
    let entries = ["a=h1:7400", "b=h2:7400"];
    let error = refused(local(Some("c"), "h3:7400"), &entries);
    let expected =
        "this node is not in peers: add \"c=h3:7400\", or set --advertise or --node-id to what an entry names";
    assert_eq!(error.to_string(), expected);
    let error = refused(local(None, "localhost:7400"), &entries);
    assert_eq!(error, MembershipError::NotInList { entry: "localhost:7400".into() });
}

#[test]
fn list_that_contradicts_this_node() {
    let entries = ["a=h1:7400", "b=h2:7400*2"];
    let error = refused(local(Some("a"), "h9:7400"), &entries);
    let expected =
        "peers has node \"a\" at \"h1:7400\", but it advertises \"h9:7400\": change the entry, or --advertise";
    assert_eq!(error.to_string(), expected);
    let error = refused(local(Some("z"), "h1:7400"), &entries);
    let expected = "peers calls the node at \"h1:7400\" \"a\", but its id is \"z\": change the entry, or --node-id";
    assert_eq!(error.to_string(), expected);
    let error = refused(local(Some("a"), "h2:7400"), &entries);
    let expected = "two entries of peers are this node: \"a=h1:7400\" has its id, and \"b=h2:7400*2\" has its address; \
                    keep one, with both";
    assert_eq!(error.to_string(), expected);
    let error = refused(Local { points: Some(1024), ..local(Some("b"), "h2:7400") }, &entries);
    assert_eq!(error, MembershipError::OtherWeight { id: "b".into(), listed: 2048, own: 1024 });
}

#[test]
fn list_that_is_no_list() {
    assert_eq!(refused(local(None, "h:1"), &[]), MembershipError::List(StaticListError::Empty));
    let error = refused(local(None, "h:1"), &["h:1", "h:1*2"]);
    let expected = "peers: entries \"h:1\" and \"h:1*2\" have the same id \"h:1\": give each node an id of its own";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_peer_says_how_many_shards_it_has() {
    let mut source = Source::list(local(Some("a"), "h1:7400"), &["a=h1:7400", "b=h2:7400"], 0).unwrap();
    let before = source.current();
    assert_eq!(source.heard("b", 1), None, "that is what was assumed");
    assert_eq!(source.heard("a", 9), None, "of itself a node knows better");
    assert_eq!((source.heard("c", 2), source.heard("b", 70_000), source.heard("b", 0)), (None, None, None));
    let after = source.heard("b", 4).unwrap();
    let b = after.index_of("b").unwrap();
    assert_eq!((after.node(b).shards, after.epoch(), after.digest()), (4, before.epoch(), before.digest()));
    assert_eq!(source.heard("b", 4), None);
}
