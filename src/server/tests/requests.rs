//! What clients ask for, over one shard and over several.

use larder_protocol::limits::PIPELINE_MAX;
use larder_protocol::{Command, Condition, Expiry, Status, TouchCondition, Write};
use larder_ring::{DEFAULT_GROUP, Topology, group_hash, key_hash};

use crate::support::{Client, Result, SHARDS, get, server, set};

#[test]
fn every_operation_is_answered() {
    for shards in SHARDS {
        let server = server(&["--shards", shards]);
        let mut client = Client::connect(server.address());
        for number in 0..20 {
            let key = format!("key {number}");
            one_key(&mut client, key.as_bytes());
        }
        several_keys(&mut client);
        let stats = client.stats();
        assert_eq!(stats.shards.len(), shards.parse::<usize>().expect("a number"));
        assert_eq!(stats.shards.iter().map(|shard| shard.connections).sum::<u64>(), 1);
        assert_eq!(stats.groups.len(), 1);
        assert!(stats.groups[0].hits > 0 && stats.groups[0].misses > 0, "{stats:?}");
        let crossed: u64 = stats.shards.iter().map(|shard| shard.cross_core).sum();
        assert_eq!(crossed > 0, shards != "1", "{stats:?}");
        assert_eq!(client.call(Command::Topology).status, Status::Ok);
        assert_eq!(client.call(Command::Invalidate).status, Status::Ok);
        assert_eq!(client.call(get(b"key 0")).value(), None, "the group was invalidated");
        assert!(server.stop().success());
    }
}

fn one_key(client: &mut Client, key: &[u8]) {
    let delta = |delta| Command::Increment { key, delta, initial: Some(40), expiry: Expiry::Default };
    let conditional = |condition| Command::Set(Write { key, value: b"x", flags: 7, condition, expiry: Expiry::Never });
    assert_eq!(client.call(get(key)).value(), None);
    assert_eq!(client.call(conditional(Condition::Present)).status, Status::NotFound);
    let Result::Stored(version) = client.call(set(key, b"first")).result else { panic!("stored") };
    assert_eq!(client.call(get(key)).value(), Some(&b"first"[..]));
    assert_eq!(client.call(conditional(Condition::Absent)).status, Status::Exists);
    assert_eq!(client.call(conditional(Condition::Version(version + 1))).status, Status::VersionMismatch);
    assert_eq!(client.call(conditional(Condition::Version(version))).status, Status::Ok);
    assert_eq!(client.call(Command::Append { key, value: b"z" }).status, Status::Ok);
    assert_eq!(client.call(Command::Prepend { key, value: b"w" }).status, Status::Ok);
    assert_eq!(client.call(get(key)).value(), Some(&b"wxz"[..]));
    assert_eq!(client.call(delta(2)).status, Status::NotANumber);
    assert_eq!(
        client.call(Command::Touch { key, expiry: Expiry::After(100_000), only: TouchCondition::Always }).status,
        Status::Ok
    );
    let touched = client.call(Command::GetAndTouch { key, expiry: Expiry::Never });
    assert_eq!(touched.value(), Some(&b"wxz"[..]));
    assert_eq!(client.call(Command::Delete { key, version: 0 }).status, Status::Ok);
    assert_eq!(client.call(Command::Delete { key, version: 0 }).status, Status::NotFound);
    assert_eq!(client.call(delta(2)).result, Result::Number(40));
    assert_eq!(client.call(delta(2)).result, Result::Number(42));
}

fn several_keys(client: &mut Client) {
    let names: Vec<String> = (0..50).map(|number| format!("many {number}")).collect();
    for name in names.iter().step_by(2) {
        assert_eq!(client.call(set(name.as_bytes(), name.as_bytes())).status, Status::Ok);
    }
    let keys: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    let answer = client.call_many(&keys, |keys| Command::GetMany { keys });
    let expected = names.iter().enumerate().map(|(index, name)| match index % 2 {
        0 => Ok(name.clone().into_bytes()),
        _ => Err(Status::NotFound),
    });
    assert_eq!(answer.result, Result::Values(expected.collect()), "in the order asked");
    let answer = client.call_many(&keys, |keys| Command::DeleteMany { keys });
    let expected = (0..50).map(|index| if index % 2 == 0 { Ok(0) } else { Err(Status::NotFound) });
    assert_eq!(answer.result, Result::Outcomes(expected.collect()));
}

#[test]
fn hello_says_who_answers_and_what_may_be_asked() {
    let server = server(&["--shards", "2", "--cores", "0", "--node-id", "somebody"]);
    let mut client = Client::connect(server.address());
    let hello = |protocol, shard| Command::Hello { client: "a test", protocol, credentials: &[], shard };
    let Result::Hello(result) = client.call(hello(1, None)).result else { panic!("a hello") };
    assert_eq!((result.protocol, result.node.as_str()), (1, "somebody"));
    assert!(result.server.starts_with("larder "), "{}", result.server);
    assert!(result.shard < 2);
    let limits = result.limits.expect("limits");
    assert_eq!(limits.pipeline_max, PIPELINE_MAX as u64);
    assert!(limits.frame_bytes_max > limits.value_bytes_max && limits.value_bytes_max > 0);
    let names: Vec<&str> = result.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["default"]);
    let topology = result.topology.expect("a topology");
    assert_eq!(topology.nodes.len(), 1);
    assert_eq!(topology.nodes[0].address, server.address().to_string());
    assert_eq!(topology.nodes[0].shards, 2);

    let other = client.call(hello(2, None));
    assert_eq!(other.status, Status::NotSupported, "{other:?}");
    let nowhere = client.call(hello(1, Some(2)));
    assert_eq!(nowhere.status, Status::BadRequest, "{nowhere:?}");
    assert!(nowhere.message.contains("there is no shard 2"), "{nowhere:?}");
    let Result::Hello(again) = client.call(hello(1, Some(1 - result.shard))).result else { panic!("a hello") };
    assert_eq!(again.shard, result.shard, "the answer is honest about who serves");
    assert_eq!(client.call(get(b"x")).status, Status::NotFound, "the connection goes on");
}

#[test]
fn thousands_are_pipelined_and_each_is_answered_once() {
    for shards in SHARDS {
        let server = server(&["--shards", shards]);
        let mut client = Client::connect(server.address());
        let count = 3 * PIPELINE_MAX;
        let mut bytes = Vec::new();
        for number in 0..count {
            let key = format!("key {number}");
            client.encode(&mut bytes, set(key.as_bytes(), key.as_bytes()));
        }
        let mut writer = client.stream.try_clone().expect("a descriptor");
        let sending =
            std::thread::spawn(move || std::io::Write::write_all(&mut writer, &bytes).expect("the server reads"));
        let stored = client.answers(count);
        sending.join().expect("sent");
        assert!(stored.values().all(|answer| answer.status == Status::Ok), "all sets are done");

        let mut bytes = Vec::new();
        let ids: Vec<u64> =
            (0..count).map(|number| client.encode(&mut bytes, get(format!("key {number}").as_bytes()))).collect();
        let mut writer = client.stream.try_clone().expect("a descriptor");
        let sending =
            std::thread::spawn(move || std::io::Write::write_all(&mut writer, &bytes).expect("the server reads"));
        let found = client.answers(count);
        sending.join().expect("sent");
        for (number, id) in ids.into_iter().enumerate() {
            assert_eq!(found[&id].value(), Some(format!("key {number}").as_bytes()));
        }
    }
}

#[test]
fn bytes_may_come_one_by_one() {
    for shards in SHARDS {
        let server = server(&["--shards", shards]);
        let mut client = Client::connect(server.address());
        let mut bytes = Vec::new();
        client.encode(&mut bytes, set(b"a", b"1"));
        client.encode(&mut bytes, set(b"b", b"2"));
        client.encode(&mut bytes, get(b"a"));
        client.encode(&mut bytes, get(b"b"));
        for cut in 1..bytes.len() {
            let mut client = Client::connect(server.address());
            client.send_bytes(&bytes[..cut]);
            std::thread::sleep(std::time::Duration::from_millis(1));
            client.send_bytes(&bytes[cut..]);
            let answers = client.answers(4);
            assert_eq!((answers[&3].value(), answers[&4].value()), (Some(&b"1"[..]), Some(&b"2"[..])), "cut at {cut}");
        }
        for byte in &bytes {
            client.send_bytes(core::slice::from_ref(byte));
        }
        assert_eq!(client.answers(4).len(), 4);
    }
}

#[test]
fn requests_about_one_key_keep_their_order_across_shards() {
    let server = server(&["--shards", "4"]);
    let mut client = Client::connect(server.address());
    let keys: Vec<String> = (0..8).map(|number| format!("counter {number}")).collect();
    for round in 0..20 {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for step in 0..100_u32 {
            for key in &keys {
                let value = format!("{round} {step}");
                client.encode(&mut bytes, set(key.as_bytes(), value.as_bytes()));
                expected.push((client.encode(&mut bytes, get(key.as_bytes())), value));
            }
        }
        client.send_bytes(&bytes);
        let answers = client.answers(2 * expected.len());
        for (id, value) in expected {
            assert_eq!(answers[&id].value(), Some(value.as_bytes()), "round {round}");
        }
    }
}

/// Everything that one connection asks for lies on the other shard, so that nothing slows the asking down.
#[test]
fn a_full_lane_refuses_and_loses_nothing() {
    let server = server(&["--shards", "2", "--cores", "0", "--memory", "512MiB", "--value-max", "4MiB"]);
    let value = vec![b'v'; 2 << 20];
    let mut client = Client::connect(server.address());
    let hello = Command::Hello { client: "a test", protocol: 1, credentials: &[], shard: Some(0) };
    let Result::Hello(hello) = client.call(hello).result else { panic!("a hello") };
    let topology = Topology::try_from(&hello.topology.expect("a topology")).expect("a ring");
    let group = group_hash(DEFAULT_GROUP, topology.cluster_seed());
    let is_remote = |key: &String| u32::from(topology.place(key_hash(key.as_bytes(), group)).shard) != hello.shard;
    let keys: Vec<String> = (0..).map(|number| format!("large {number}")).filter(is_remote).take(16).collect();
    for key in &keys {
        assert_eq!(client.call(set(key.as_bytes(), &value)).status, Status::Ok);
    }
    // Replies of 2 MiB fill the lane of replies.
    let mut bytes = Vec::new();
    let count = 200;
    for number in 0..count {
        client.encode(&mut bytes, get(keys[number * keys.len() / count].as_bytes()));
    }
    client.send_bytes(&bytes);
    let answers = client.answers(count);
    let refused: Vec<_> = answers.values().filter(|answer| answer.status == Status::Overloaded).collect();
    assert!(!refused.is_empty(), "some are refused");
    assert!(refused.iter().all(|answer| answer.retry_after_ms > 0), "a refusal says when to come back");
    let served = answers.values().filter(|answer| answer.status == Status::Ok);
    assert_eq!(served.clone().count() + refused.len(), count, "nothing else is answered");
    assert!(served.clone().all(|answer| answer.value() == Some(&value[..])), "what is served is right");
    let overloaded: u64 = client.stats().shards.iter().map(|shard| shard.overloaded).sum();
    assert_eq!(overloaded, refused.len() as u64, "refusals are counted");
    for key in &keys {
        assert_eq!(client.call(get(key.as_bytes())).value(), Some(&value[..]), "one at a time, all are there");
    }
}
