//! What is refused, and that the message names the thing, the value and the remedy.

use larder_ring::limits::{NODES_MAX, POINTS_MAX};
use larder_ring::{Node, StaticListError, StaticNode, Topology, TopologyError, WeightError, parse_static_list};

use crate::{equal_nodes, node};

fn refused(nodes: Vec<Node>) -> TopologyError {
    Topology::new(0, 1, nodes).expect_err("refused")
}

#[test]
fn impossible_memberships() {
    let good = || node("good", 1024);
    assert_eq!(Topology::new(0, 0, vec![good()]).expect_err("refused"), TopologyError::EpochZero);
    assert_eq!(refused(vec![]), TopologyError::NoNodes);
    let nodes = NODES_MAX + 1;
    assert_eq!(refused(equal_nodes(nodes)), TopologyError::TooManyNodes { nodes });
    for shards in [0, 257, u16::MAX] {
        let error = refused(vec![good(), Node { shards, ..node("bad", 1) }]);
        assert_eq!(error, TopologyError::Shards { id: "bad".into(), shards });
    }
    for points in [0, POINTS_MAX + 1, u32::MAX] {
        let error = refused(vec![node("bad", points), good()]);
        assert_eq!(error, TopologyError::Points { id: "bad".into(), points });
    }
    let heavy = (0..9).map(|index| node(&format!("n{index}"), POINTS_MAX)).collect();
    assert_eq!(refused(heavy), TopologyError::TooManyPoints { points: 9 << 20 });
    for id in ["", "a b", "a\n", "a/b", "a,b", "a=b", "a*2", "knoten-\u{e4}"] {
        assert_eq!(refused(vec![Node { id: id.into(), ..good() }]), TopologyError::IdMalformed { id: id.into() });
    }
    for address in ["", "host :1", "host:1\n"] {
        let error = refused(vec![Node { address: address.into(), ..good() }]);
        assert_eq!(error, TopologyError::AddressMalformed { id: "good".into(), address: address.into() });
    }
    let error = refused(vec![Node { address: "h".repeat(260), ..good() }]);
    assert_eq!(error, TopologyError::AddressTooLong { id: "good".into(), bytes: 260 });
    let error = refused(vec![Node { id: "\u{e4}".repeat(200), ..good() }]);
    assert_eq!(error, TopologyError::IdTooLong { id: "\u{e4}".repeat(32), bytes: 400 });
    assert!(Topology::new(0, 1, vec![Node { id: "i".repeat(255), shards: 256, points: POINTS_MAX, ..good() }]).is_ok());
}

#[test]
fn two_nodes_with_one_id() {
    let twin = |address: &str| Node { address: address.into(), ..node("twin", 1024) };
    let error = refused(vec![twin("b:1"), node("other", 1), twin("a:1")]);
    let expected = "node id \"twin\" is there twice, at \"a:1\" and \"b:1\": give each node an id of its own";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn entries_of_a_static_list() {
    let entry = |id: &str, address: &str, points| StaticNode { id: id.into(), address: address.into(), points };
    for (text, expected) in [
        ("10.0.0.7:7400", entry("10.0.0.7:7400", "10.0.0.7:7400", 1024)),
        ("a=10.0.0.7:7400", entry("a", "10.0.0.7:7400", 1024)),
        ("a=cache_1.example.org:65535*2", entry("a", "cache_1.example.org:65535", 2048)),
        ("localhost:1*0.5", entry("localhost:1", "localhost:1", 512)),
        ("[2001:db8::7]:7400*0.0001", entry("[2001:db8::7]:7400", "[2001:db8::7]:7400", 1)),
    ] {
        assert_eq!(StaticNode::parse(text), Ok(expected), "{text}");
    }
    let node = entry("a", "h:1", 5).node(3, 9);
    assert_eq!(node, Node { id: "a".into(), address: "h:1".into(), shards: 3, points: 5, incarnation: 9 });
}

#[test]
fn bad_addresses_say_what_to_write() {
    for (text, message) in [
        ("", "write host:port"),
        ("host", "write host:port"),
        ("a=", "write host:port"),
        (":7400", "the host is missing"),
        ("host:", "the port must be 1 to 65535"),
        ("host:0", "the port must be 1 to 65535"),
        ("host:+7", "the port must be 1 to 65535"),
        ("host:007", "without leading zeros"),
        ("host:65536", "the port must be 1 to 65535"),
        ("::1:7400", "an IPv6 address needs brackets"),
        ("[::1:7400", "the bracket is not closed"),
        ("[host]:7400", "there is no IPv6 address in the brackets"),
        ("0.0.0.0:7400", "nobody can reach a wildcard address"),
        ("[::]:7400", "nobody can reach a wildcard address"),
        ("http://host:7400", "an IPv6 address needs brackets"),
        ("ho st:7400", "a host has letters, digits"),
        ("a=b=host:7400", "a host has letters, digits"),
    ] {
        let error = StaticNode::parse(text).expect_err(text);
        assert!(matches!(&error, StaticListError::Address { entry, .. } if entry == text), "{text}: {error:?}");
        let shown = error.to_string();
        assert!(shown.contains(message) && shown.contains(&format!("{text:?}")), "{text}: {shown}");
    }
}

#[test]
fn bad_weights_and_ids_name_the_entry() {
    let error = StaticNode::parse("host:1*").expect_err("no weight");
    assert_eq!(error, StaticListError::Weight { entry: "host:1*".into(), error: WeightError::NotDecimal("".into()) });
    let error = StaticNode::parse("host:1*0").expect_err("zero");
    assert_eq!(error.to_string(), "entry \"host:1*0\": weight \"0\" is zero: leave the node out instead");
    let error = StaticNode::parse("host:1*1*2").expect_err("two weights");
    assert!(error.to_string().contains("weight \"1*2\" is no decimal number"), "{error}");
    let error = StaticNode::parse("=host:1").expect_err("no id");
    assert!(error.to_string().starts_with("entry \"=host:1\": node id \"\" is not possible"), "{error}");
    let long = format!("{}=host:1", "i".repeat(256));
    assert!(matches!(StaticNode::parse(&long), Err(StaticListError::Node { .. })), "{long}");
}

#[test]
fn lists_name_both_of_two() {
    let error = parse_static_list(&["a=h:1", "b=h:2", "a=h:3*2"]).expect_err("one id");
    let expected = "entries \"a=h:1\" and \"a=h:3*2\" have the same id \"a\": give each node an id of its own";
    assert_eq!(error.to_string(), expected);
    let error = parse_static_list(&["a=H:1", "b=h:1"]).expect_err("one address");
    let expected = "entries \"a=H:1\" and \"b=h:1\" have the same address \"h:1\": name each node once";
    assert_eq!(error.to_string(), expected);
    // An id that is another entry's address is the same id as that one's.
    let error = parse_static_list(&["h:1", "h:1=h:2"]).expect_err("one id");
    assert!(matches!(error, StaticListError::DuplicateId { .. }), "{error:?}");
    assert_eq!(parse_static_list::<&str>(&[]), Err(StaticListError::Empty));
    let many: Vec<String> = (0..=NODES_MAX).map(|index| format!("h{index}:1")).collect();
    assert_eq!(parse_static_list(&many), Err(StaticListError::TooManyEntries { entries: NODES_MAX + 1 }));
    assert_eq!(parse_static_list(&many[1..]).map(|nodes| nodes.len()), Ok(NODES_MAX));
}

#[test]
fn no_text_makes_the_parser_panic() {
    let mut random = fastrand::Rng::with_seed(4);
    let pieces = ["=", "*", ":", "[", "]", ".", "0", "7400", "host", "::1", "-", "\u{e4}", " ", "99999999999", "\0"];
    for _ in 0..20_000 {
        let text: String = (0..random.usize(0..9)).map(|_| pieces[random.usize(..pieces.len())]).collect();
        if let Ok(entry) = StaticNode::parse(&text) {
            entry.node(1, 0).check().unwrap_or_else(|error| panic!("{text:?} was accepted: {error}"));
            assert_eq!(StaticNode::parse(&format!("{}={}", entry.id, entry.address)).map(|node| node.id), Ok(entry.id));
        }
    }
}
