//! What an engine refuses, and how it says so.

use std::sync::Arc;

use larder_engine::{Engine, EngineError};
use larder_protocol::{Command, Expiry, Request, Status};
use larder_ring::{Node, Place, Topology, group_hash};
use larder_store::NoHook;

use crate::harness::{Batch, NODE, OwnedReply, START_MS, World, WorldSettings, alone, set, settings};

fn request(command: Command<'_>) -> Request<'_> {
    Request { id: 7, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command }
}

fn node(id: &str, shards: u16) -> Node {
    Node { id: id.into(), address: format!("{id}.example:7400"), shards, points: 1024, incarnation: 1 }
}

fn failure(reply: OwnedReply) -> (Status, String) {
    match reply {
        OwnedReply::Failed(failure) => (failure.status, failure.message.into_owned()),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn an_unknown_group_is_named() {
    let mut world = World::new(1, WorldSettings::default());
    let key = &b"k"[..];
    let keys = Batch::of_keys([key]);
    for command in [Command::Get { key }, keys.get(), keys.delete(), Command::Invalidate] {
        let asked = world.submit_request(0, Request { group: 0xABCD, ..request(command) });
        let (status, message) = failure(asked.unwrap());
        assert_eq!(status, Status::NoSuchGroup, "{command:?}");
        assert!(message.contains("0x000000000000abcd") && message.contains("configuration"), "{message}");
    }
    let asked = world.submit_request(0, Request { group: 0xABCD, ..request(Command::Topology) });
    assert_eq!(asked, Ok(OwnedReply::Topology { epoch: 1, nodes: 1 }), "it is about no group");
}

#[test]
fn the_default_group_has_two_names_and_groups_are_apart() {
    let mut world = World::new(2, WorldSettings { shards: 1, ..WorldSettings::default() });
    let get = |group| Request { group, ..request(Command::Get { key: b"k" }) };
    world.ask(0, set(b"k", b"v"));
    let found = world.submit_request(0, get(group_hash("default", 0))).unwrap();
    assert_eq!(found.value(), Some(&b"v"[..]));
    assert_eq!(world.submit_request(0, get(group_hash("scores", 0))), Ok(OwnedReply::Miss));
    let groups: Vec<_> = world.engines[0].groups().collect();
    assert_eq!(groups, [("default", group_hash("default", 0)), ("scores", group_hash("scores", 0))]);
}

/// A request of another node goes on to the shard that has the key, but never to a third node.
#[test]
fn a_forwarded_request_is_never_forwarded() {
    let two = Arc::new(Topology::new(0, 5, vec![node(NODE, 2), node("other", 3)]).unwrap());
    let mut world = World::new(3, WorldSettings { shards: 2, ..WorldSettings::default() });
    let forwarded = |command| Request { forwarded: true, epoch: 5, ..request(command) };
    let behind = failure(world.submit_request(0, forwarded(set(b"k", b"v"))).unwrap());
    assert_eq!(behind.0, Status::OwnerUnsure, "it knows the ring of epoch 1");
    for engine in &mut world.engines {
        engine.set_topology(Arc::clone(&two)).unwrap();
    }
    let (theirs, own, far) = (key_in(&two, ("other", 0)), key_in(&two, (NODE, 0)), key_in(&two, (NODE, 1)));
    let (status, message) = failure(world.submit_request(0, forwarded(set(&theirs, b"v"))).unwrap());
    assert_eq!(status, Status::WrongOwner);
    assert!(message.contains("\"other\"") && message.contains("other.example:7400"), "{message}");
    assert!(matches!(world.submit_request(0, forwarded(set(&own, b"v"))), Ok(OwnedReply::Stored(_))));
    let crossing = world.submit_request(0, forwarded(set(&far, b"v"))).unwrap_err();
    assert!(matches!(world.wait(0, crossing), OwnedReply::Stored(_)));
    let batch = Batch::of_keys([&theirs, &own, &far]);
    let deleted = world.submit_request(0, forwarded(batch.delete())).unwrap_err();
    assert_eq!(world.wait(0, deleted), OwnedReply::Outcomes(vec![Err(Status::WrongOwner), Ok(0), Ok(0)]));
    let stats = match world.submit_request(0, forwarded(Command::Stats)).unwrap() {
        OwnedReply::Stats(stats) => stats,
        other => panic!("{other:?}"),
    };
    assert_eq!(stats.shards.len(), 1, "of the shard that was asked");
    assert_eq!(world.engines[0].next_link_output(START_MS), None);
}

/// The first key whose owner is this shard.
fn key_in(topology: &Topology, (node, shard): (&str, u16)) -> Vec<u8> {
    let node = topology.index_of(node).unwrap();
    let hash = |key: &[u8]| larder_ring::key_hash(key, group_hash("default", 0));
    let mut keys = (0..).map(|number| format!("key {number}").into_bytes());
    keys.find(|key| topology.place(hash(key)) == Place { node, shard }).unwrap()
}

#[test]
fn a_shard_with_an_older_ring_refuses_what_it_does_not_own() {
    let mut world = World::new(5, WorldSettings { shards: 2, ..WorldSettings::default() });
    let without = Arc::new(Topology::new(0, 6, vec![node("other", 3)]).unwrap());
    let (own, far) = (world.key_of(0, "own"), world.key_of(1, "far"));
    world.engines[1].set_topology(without).unwrap();
    assert_eq!(failure(world.ask(0, set(&far, b"v"))).0, Status::WrongOwner);
    let many = world.ask(0, Batch::of_keys([&own, &far]).get());
    assert_eq!(many, OwnedReply::Entries(vec![Err(Status::NotFound), Err(Status::WrongOwner)]));
}

#[test]
fn refusals_of_the_store_cross_the_lanes() {
    let mut world = World::new(7, WorldSettings { value_bytes_max: 1000, ..WorldSettings::default() });
    for owner in [0, 1] {
        let key = world.key_of(owner, "k");
        let add = |delta| Command::Increment { key: &key, delta, initial: None, expiry: Expiry::Keep };
        assert_eq!(world.ask(0, add(1)), OwnedReply::Miss);
        world.ask(0, set(&key, b"9223372036854775807"));
        assert_eq!(world.ask(0, add(1)).failure(), Some(Status::OutOfRange));
        world.ask(0, set(&key, b"no number"));
        assert_eq!(world.ask(0, add(1)).failure(), Some(Status::NotANumber));
        let stale = world.ask(0, Command::Delete { key: &key, version: 1 });
        assert_eq!(stale.failure(), Some(Status::VersionMismatch), "shard {owner}");
        assert_eq!(world.ask(0, Command::Delete { key: &key, version: 0 }), OwnedReply::Done);
    }
}

#[test]
fn hello_is_not_for_engines() {
    let hello = Command::Hello { client: "c", protocol: 1, credentials: b"", shard: None };
    let asked = std::panic::catch_unwind(|| World::new(8, WorldSettings::default()).submit(0, hello));
    assert!(asked.is_err());
}

#[test]
fn settings_that_cannot_be_are_named() {
    let world = WorldSettings { shards: 2, ..WorldSettings::default() };
    let new = |shard, change: fn(&mut larder_engine::EngineSettings)| {
        let mut settings = settings(&world, shard);
        change(&mut settings);
        Engine::new(settings, alone(2), NoHook).map(|_| ()).unwrap_err()
    };
    let unknown = new(0, |settings| settings.node_id = "stranger".into());
    assert!(matches!(&unknown, EngineError::UnknownNode { epoch: 1, .. }) && unknown.to_string().contains("stranger"));
    assert!(matches!(new(2, |_| {}), EngineError::UnknownShard { shard: 2, shards: 2, .. }));
    assert!(matches!(
        new(0, |settings| {
            settings.groups.remove(0);
        }),
        EngineError::NoDefaultGroup
    ));
    assert!(matches!(
        new(0, |settings| settings.groups[1].settings.name = "default".into()),
        EngineError::GroupHashTaken { .. }
    ));
    let mut engine = Engine::new(settings(&world, 0), alone(2), NoHook).unwrap();
    let other = engine.set_topology(alone(3)).unwrap_err();
    assert!(matches!(other, EngineError::OtherShards { claimed: 3, shards: 2, .. }), "{other}");
    assert_eq!(engine.topology().node(engine.topology().index_of(NODE).unwrap()).shards, 2, "the old one stays");
}
