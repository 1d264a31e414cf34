//! Decoded requests in the terms of generated code.

use larder_protocol::native::generated as pb;
use larder_protocol::{Command, Condition, Expiry, GroupAlteration, Meta, NodeAlteration, Request, ScanStep, Write};
use pb::request::Operation;

/// A decoded request in prost's terms.
pub(crate) fn request_as_prost(request: &Request<'_>) -> pb::Request {
    let operation = match request.command {
        Command::Get { key } => Operation::Get(pb::Get { key: key.to_vec() }),
        Command::GetMany { keys } => Operation::GetMany(pb::GetMany { keys: keys.iter().map(Vec::from).collect() }),
        Command::Set(write) => Operation::Set(set_as_prost(&write)),
        Command::SetMany { entries } => {
            Operation::SetMany(pb::SetMany { entries: entries.iter().map(|write| set_as_prost(&write)).collect() })
        }
        Command::Delete { key, version } => Operation::Delete(pb::Delete { key: key.to_vec(), version }),
        Command::DeleteMany { keys } => {
            Operation::DeleteMany(pb::DeleteMany { keys: keys.iter().map(Vec::from).collect() })
        }
        Command::Touch { key, expiry, only } => {
            Operation::Touch(pb::Touch { only: only as i32, ..touch_as_prost(key, expiry) })
        }
        Command::GetAndTouch { key, expiry } => Operation::GetAndTouch(touch_as_prost(key, expiry)),
        Command::Increment { key, delta, initial, expiry } => {
            let expiry = match expiry {
                Expiry::Default => None,
                Expiry::Never => Some(pb::increment::Expiry::TtlMs(0)),
                Expiry::After(ttl_ms) => Some(pb::increment::Expiry::TtlMs(ttl_ms)),
                Expiry::At(at_ms) => Some(pb::increment::Expiry::ExpiresAtMs(at_ms)),
                Expiry::Keep => Some(pb::increment::Expiry::KeepTtl(true)),
            };
            Operation::Increment(pb::Increment { key: key.to_vec(), delta, initial, expiry })
        }
        Command::Count { key, delta, is_down: down, initial, expiry, version } => {
            let expiry = match expiry {
                Expiry::Default => None,
                Expiry::Never => Some(pb::count::Expiry::TtlMs(0)),
                Expiry::After(ttl_ms) => Some(pb::count::Expiry::TtlMs(ttl_ms)),
                Expiry::At(at_ms) => Some(pb::count::Expiry::ExpiresAtMs(at_ms)),
                Expiry::Keep => Some(pb::count::Expiry::KeepTtl(true)),
            };
            Operation::Count(pb::Count { key: key.to_vec(), delta, initial, down, version, expiry })
        }
        Command::Append { key, value } => Operation::Append(pb::Append { key: key.to_vec(), value: value.to_vec() }),
        Command::Prepend { key, value } => Operation::Prepend(pb::Append { key: key.to_vec(), value: value.to_vec() }),
        Command::Patch { key, offset, value } => {
            Operation::Patch(pb::Patch { key: key.to_vec(), value: value.to_vec(), offset })
        }
        Command::AddDecimal { key, delta } => {
            Operation::AddDecimal(pb::AddDecimal { key: key.to_vec(), delta: delta.to_vec() })
        }
        Command::Look { key, value } => Operation::Look(pb::Look { key: key.to_vec(), value }),
        Command::Meta(meta) => Operation::Meta(meta_as_prost(&meta)),
        Command::Check { key, version, expires_at_ms } => {
            Operation::Check(pb::Check { key: key.to_vec(), version, expires_at_ms })
        }
        Command::Transact { key, requests } => {
            Operation::Transact(pb::Transact { key: key.to_vec(), requests: requests.to_vec() })
        }
        Command::Invalidate => Operation::Invalidate(pb::Invalidate {}),
        Command::Ping => Operation::Ping(pb::Ping {}),
        Command::AlterNode(NodeAlteration { node, weight, drain }) => {
            let (node, weight) = (node.to_owned(), weight.map(str::to_owned));
            Operation::AlterNode(pb::AlterNode { node, weight, drain })
        }
        Command::Scan(ScanStep { cursor, count, pattern }) => {
            Operation::Scan(pb::Scan { cursor: cursor.to_vec(), count, pattern: pattern.to_vec() })
        }
        Command::AlterGroup(GroupAlteration { name, action, settings }) => {
            let (name, settings) = (name.to_owned(), settings.to_owned());
            Operation::AlterGroup(pb::AlterGroup { name, action: action as i32, settings })
        }
        Command::Stats => Operation::Stats(pb::StatsQuery {}),
        Command::Topology => Operation::Topology(pb::TopologyQuery {}),
        Command::Watch => Operation::Watch(pb::Watch {}),
        Command::Hello { client, protocol, credentials, shard } => Operation::Hello(pb::Hello {
            protocol,
            client: client.to_owned(),
            credentials: credentials.to_vec(),
            shard,
        }),
        Command::LeaseGet { key, lease_ms } => Operation::LeaseGet(pb::LeaseGet { key: key.to_vec(), lease_ms }),
        Command::LeaseSet { write, token } => {
            Operation::LeaseSet(pb::LeaseSet { set: Some(set_as_prost(&write)), token })
        }
    };
    pb::Request {
        id: request.id,
        epoch: request.epoch,
        group: request.group,
        timeout_ms: request.timeout_ms,
        forwarded: request.forwarded,
        operation: Some(operation),
    }
}

fn set_as_prost(write: &Write<'_>) -> pb::Set {
    let (condition, version) = match write.condition {
        Condition::Always => (0, 0),
        Condition::Absent => (1, 0),
        Condition::Present => (2, 0),
        Condition::Version(version) => (3, version),
    };
    let expiry = match write.expiry {
        Expiry::Default => None,
        Expiry::Never => Some(pb::set::Expiry::TtlMs(0)),
        Expiry::After(ttl_ms) => Some(pb::set::Expiry::TtlMs(ttl_ms)),
        Expiry::At(at_ms) => Some(pb::set::Expiry::ExpiresAtMs(at_ms)),
        Expiry::Keep => Some(pb::set::Expiry::KeepTtl(true)),
    };
    let (key, value) = (write.key.to_vec(), write.value.to_vec());
    pb::Set { key, value, flags: write.flags, condition, version, expiry }
}

fn meta_as_prost(meta: &Meta<'_>) -> pb::Meta {
    let expiry = match meta.expiry {
        Expiry::Default => None,
        Expiry::Never => Some(pb::meta::Expiry::TtlMs(0)),
        Expiry::After(ttl_ms) => Some(pb::meta::Expiry::TtlMs(ttl_ms)),
        Expiry::At(at_ms) => Some(pb::meta::Expiry::ExpiresAtMs(at_ms)),
        Expiry::Keep => Some(pb::meta::Expiry::KeepTtl(true)),
    };
    let created = meta.created.map(|created| match created {
        Expiry::After(ttl_ms) => pb::meta::Created::CreatedTtlMs(ttl_ms),
        Expiry::At(at_ms) => pb::meta::Created::CreatedAtMs(at_ms),
        _ => pb::meta::Created::CreatedTtlMs(0),
    });
    pb::Meta {
        key: meta.key.to_vec(),
        value: meta.value.to_vec(),
        flags: meta.flags,
        action: meta.action as i32,
        version: meta.version,
        expiry,
        new_version: meta.new_version,
        wants_value: meta.wants_value,
        unseen: meta.is_unseen,
        stale: meta.is_stale,
        created,
        early_ms: meta.early_ms,
        delta: meta.delta,
        initial: meta.initial,
        early_after: meta.is_early_after,
    }
}

fn touch_as_prost(key: &[u8], expiry: Expiry) -> pb::Touch {
    let expiry = match expiry {
        Expiry::Default => None,
        Expiry::Never => Some(pb::touch::Expiry::TtlMs(0)),
        Expiry::After(ttl_ms) => Some(pb::touch::Expiry::TtlMs(ttl_ms)),
        Expiry::At(at_ms) => Some(pb::touch::Expiry::ExpiresAtMs(at_ms)),
        Expiry::Keep => Some(pb::touch::Expiry::KeepTtl(true)),
    };
    pb::Touch { key: key.to_vec(), only: 0, expiry }
}
