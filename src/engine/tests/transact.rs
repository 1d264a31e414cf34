//! Several requests at one go.

use larder_protocol::native::{Body, decode_response, encode_request, frame};
use larder_protocol::{Command, Condition, Keys, Request, Span, Status};

use crate::harness::{OwnedReply, World, WorldSettings, set, set_if};

fn frames(commands: &[Command<'_>]) -> Vec<u8> {
    let mut frames = Vec::new();
    for (command, id) in commands.iter().zip(0..) {
        let request = Request { id, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command: *command };
        encode_request(&mut frames, &request);
    }
    frames
}

/// The status of each answer, and what it says.
fn answers(reply: &OwnedReply) -> Vec<(u64, Status, String)> {
    let OwnedReply::Transacted(mut rest) = reply.clone() else { panic!("no transaction: {reply:?}") };
    let mut answers = Vec::new();
    while let Some(next) = frame(&rest, usize::MAX).expect("frames") {
        let response = decode_response(next.message).expect("an answer");
        let said = match response.body {
            Body::Entry(entry) => String::from_utf8_lossy(entry.value).into_owned(),
            Body::Looked(looked) => format!("looked at {}", String::from_utf8_lossy(looked.entry.value)),
            Body::Number { value, .. } => value.to_string(),
            Body::Entries(entries) => entries.len().to_string(),
            _ => String::new(),
        };
        answers.push((response.id, response.status, said));
        let consumed = next.consumed;
        rest.drain(..consumed);
    }
    answers
}

/// A world, and a key of the shard that is asked and one of another.
fn worlds() -> impl Iterator<Item = (World, Vec<u8>)> {
    [0, 1].into_iter().map(|owner| {
        let world = World::new(1, WorldSettings { shards: 2, delay_ms_max: 0, ..WorldSettings::default() });
        let key = world.key_of(owner, "k");
        (world, key)
    })
}

#[test]
fn all_are_executed_and_each_is_answered() {
    for (mut world, key) in worlds() {
        let key = &key[..];
        let spans = [Span { start: 0, len: key.len() as u32 }; 3];
        let requests = frames(&[
            set(key, b"41"),
            Command::Increment { key, delta: 1, initial: None, expiry: larder_protocol::Expiry::Keep },
            set_if(key, b"x", Condition::Absent),
            Command::Look { key, value: true },
            Command::GetMany { keys: Keys::new(key, &spans) },
            Command::Get { key },
            Command::Delete { key, version: 0 },
            Command::Get { key },
        ]);
        let reply = world.ask(0, Command::Transact { key, requests: &requests });
        let said: Vec<_> = answers(&reply).into_iter().map(|(_, status, said)| (status, said)).collect();
        let wanted = [
            (Status::Ok, ""),
            (Status::Ok, "42"),
            (Status::Exists, ""),
            (Status::Ok, "looked at 42"),
            (Status::Ok, "3"),
            (Status::Ok, "42"),
            (Status::Ok, ""),
            (Status::NotFound, ""),
        ];
        assert_eq!(said, wanted.map(|(status, said)| (status, said.to_owned())));
        assert_eq!(answers(&world.ask(0, Command::Transact { key, requests: b"" })), []);
    }
}

#[test]
fn nothing_is_executed_unless_all_checks_hold() {
    for (mut world, key) in worlds() {
        let key = &key[..];
        let check = |version| Command::Check { key, version, expires_at_ms: None };
        assert_eq!(world.ask(0, check(0)), OwnedReply::Done, "it is absent");
        assert_eq!(world.ask(0, check(5)).failure(), Some(Status::VersionMismatch));
        let requests = frames(&[set(key, b"1"), check(5)]);
        let reply = world.ask(0, Command::Transact { key, requests: &requests });
        assert_eq!(reply.failure(), Some(Status::VersionMismatch));
        assert_eq!(world.ask(0, Command::Get { key }), OwnedReply::Miss);
        let requests = frames(&[check(0), set(key, b"1"), Command::Get { key }]);
        let reply = world.ask(0, Command::Transact { key, requests: &requests });
        assert_eq!(
            answers(&reply),
            [(1, Status::Ok, String::new()), (2, Status::Ok, "1".into())],
            "a check says nothing"
        );
        let reply = world.ask(0, Command::Transact { key, requests: &requests });
        assert_eq!(reply.failure(), Some(Status::VersionMismatch), "it is there now");
        let OwnedReply::Looked(looked) = world.ask(0, Command::Look { key, value: false }) else { panic!() };
        let version = looked.entry.version;
        for (expires_at_ms, holds) in [(None, true), (Some(0), true), (Some(5_000_000), false)] {
            let reply = world.ask(0, Command::Check { key, version, expires_at_ms });
            assert_eq!(reply == OwnedReply::Done, holds, "{expires_at_ms:?}: it never expires");
        }
        let requests = frames(&[check(looked.entry.version), Command::Delete { key, version: 0 }]);
        let reply = world.ask(0, Command::Transact { key, requests: &requests });
        assert_eq!(answers(&reply), [(1, Status::Ok, String::new())]);
    }
}

#[test]
fn what_cannot_be_one_go_is_refused_and_nothing_of_it_is_executed() {
    for (mut world, key) in worlds() {
        let key = &key[..];
        let others = [world.key_of(0, "o"), world.key_of(1, "o")];
        let nested = frames(&[set(key, b"1")]);
        let refused: [(&[Command<'_>], Status); 5] = [
            (&[set(key, b"1"), set(&others[0], b"1"), set(&others[1], b"1")], Status::NotSupported),
            (&[set(key, b"1"), Command::Transact { key, requests: &nested }], Status::BadRequest),
            (&[set(key, b"1"), Command::LeaseGet { key, lease_ms: 0 }], Status::BadRequest),
            (&[set(key, b"1"), Command::Stats], Status::BadRequest),
            (&[set(key, b"1"); 1_025], Status::TooLarge),
        ];
        for (commands, status) in refused {
            let requests = frames(commands);
            let reply = world.ask(0, Command::Transact { key, requests: &requests });
            assert_eq!(reply.failure(), Some(status), "{:?}", commands.last());
        }
        let half = &nested[..nested.len() - 1];
        let reply = world.ask(0, Command::Transact { key, requests: half });
        assert_eq!(reply.failure(), Some(Status::BadRequest));
        assert_eq!(world.ask(0, Command::Get { key }), OwnedReply::Miss);
    }
}
