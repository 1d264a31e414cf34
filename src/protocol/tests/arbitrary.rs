//! Any message that prost can hold, for proptest.

use larder_protocol::native::generated as pb;
use pb::request::Operation;
use pb::response::Result as Outcome;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Numbers of every length, 0 and the largest among them.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), (any::<u64>(), 0..64u32).prop_map(|(number, shift)| number >> shift)]
}

fn number32() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(u32::MAX), (any::<u32>(), 0..32u32).prop_map(|(number, shift)| number >> shift)]
}

fn signed() -> impl Strategy<Value = i64> {
    number().prop_map(|number| number as i64)
}

/// Bytes whose length takes one, two or three bytes.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), 0..40), 2 => vec(any::<u8>(), 100..300), 1 => vec(any::<u8>(), 16_380..16_390)]
}

fn short_bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn set_expiry() -> impl Strategy<Value = Option<pb::set::Expiry>> {
    use pb::set::Expiry;
    option::of(prop_oneof![
        number().prop_map(Expiry::TtlMs),
        number().prop_map(Expiry::ExpiresAtMs),
        any::<bool>().prop_map(Expiry::KeepTtl),
    ])
}

fn set() -> impl Strategy<Value = pb::Set> {
    (short_bytes(), bytes(), number32(), -1..6i32, number(), set_expiry()).prop_map(
        |(key, value, flags, condition, version, expiry)| pb::Set { key, value, flags, condition, version, expiry },
    )
}

fn touch() -> impl Strategy<Value = pb::Touch> {
    use pb::{set, touch};
    (short_bytes(), -1..7i32, set_expiry()).prop_map(|(key, only, expiry)| pb::Touch {
        key,
        only,
        expiry: expiry.map(|expiry| match expiry {
            set::Expiry::TtlMs(ttl_ms) => touch::Expiry::TtlMs(ttl_ms),
            set::Expiry::ExpiresAtMs(at_ms) => touch::Expiry::ExpiresAtMs(at_ms),
            set::Expiry::KeepTtl(keep) => touch::Expiry::KeepTtl(keep),
        }),
    })
}

fn increment() -> impl Strategy<Value = pb::Increment> {
    use pb::{increment, touch};
    (touch(), signed(), option::of(signed())).prop_map(|(pb::Touch { key, expiry, .. }, delta, initial)| {
        pb::Increment {
            key,
            delta,
            initial,
            expiry: expiry.map(|expiry| match expiry {
                touch::Expiry::TtlMs(ttl_ms) => increment::Expiry::TtlMs(ttl_ms),
                touch::Expiry::ExpiresAtMs(at_ms) => increment::Expiry::ExpiresAtMs(at_ms),
                touch::Expiry::KeepTtl(keep) => increment::Expiry::KeepTtl(keep),
            }),
        }
    })
}

fn append() -> impl Strategy<Value = pb::Append> {
    (short_bytes(), bytes()).prop_map(|(key, value)| pb::Append { key, value })
}

fn meta() -> impl Strategy<Value = pb::Meta> {
    use pb::{meta, touch};
    let created =
        prop_oneof![number().prop_map(meta::Created::CreatedTtlMs), number().prop_map(meta::Created::CreatedAtMs),];
    let numbers = (number(), number(), number(), number(), number());
    let bools = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (touch(), bytes(), any::<u32>(), -1..11, numbers, bools, option::of(created)).prop_map(
        |(pb::Touch { key, expiry, .. }, value, flags, action, numbers, bools, created)| {
            let (version, new_version, early_ms, delta, initial) = numbers;
            let (wants_value, unseen, stale, early_after) = bools;
            let expiry = expiry.map(|expiry| match expiry {
                touch::Expiry::TtlMs(ttl_ms) => meta::Expiry::TtlMs(ttl_ms),
                touch::Expiry::ExpiresAtMs(at_ms) => meta::Expiry::ExpiresAtMs(at_ms),
                touch::Expiry::KeepTtl(keep) => meta::Expiry::KeepTtl(keep),
            });
            pb::Meta {
                key,
                value,
                flags,
                action,
                version,
                expiry,
                new_version,
                wants_value,
                unseen,
                stale,
                created,
                early_ms,
                delta,
                initial,
                early_after,
            }
        },
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    let on_one_key = prop_oneof![
        bytes().prop_map(|key| Operation::Get(pb::Get { key })),
        set().prop_map(Operation::Set),
        (bytes(), number()).prop_map(|(key, version)| Operation::Delete(pb::Delete { key, version })),
        touch().prop_map(Operation::Touch),
        touch().prop_map(Operation::GetAndTouch),
        increment().prop_map(Operation::Increment),
        (touch(), number(), option::of(number()), any::<bool>(), number()).prop_map(
            |(pb::Touch { key, expiry, .. }, delta, initial, down, version)| {
                let expiry = expiry.map(|expiry| match expiry {
                    pb::touch::Expiry::TtlMs(ttl_ms) => pb::count::Expiry::TtlMs(ttl_ms),
                    pb::touch::Expiry::ExpiresAtMs(at_ms) => pb::count::Expiry::ExpiresAtMs(at_ms),
                    pb::touch::Expiry::KeepTtl(keep) => pb::count::Expiry::KeepTtl(keep),
                });
                Operation::Count(pb::Count { key, delta, initial, down, version, expiry })
            }
        ),
        append().prop_map(Operation::Append),
        append().prop_map(Operation::Prepend),
        (append(), number())
            .prop_map(|(pb::Append { key, value }, offset)| { Operation::Patch(pb::Patch { key, value, offset }) }),
        append().prop_map(|pb::Append { key, value }| Operation::AddDecimal(pb::AddDecimal { key, delta: value })),
        (bytes(), any::<bool>()).prop_map(|(key, value)| Operation::Look(pb::Look { key, value })),
        (bytes(), number(), option::of(number()))
            .prop_map(|(key, version, expires_at_ms)| Operation::Check(pb::Check { key, version, expires_at_ms })),
        meta().prop_map(Operation::Meta),
        append().prop_map(|pb::Append { key, value }| Operation::Transact(pb::Transact { key, requests: value })),
    ];
    let on_several = prop_oneof![
        vec(short_bytes(), 0..20).prop_map(|keys| Operation::GetMany(pb::GetMany { keys })),
        vec(short_bytes(), 0..20).prop_map(|keys| Operation::DeleteMany(pb::DeleteMany { keys })),
        vec(set(), 0..8).prop_map(|entries| Operation::SetMany(pb::SetMany { entries })),
    ];
    let hello = (number32(), any::<String>(), short_bytes(), option::of(number32())).prop_map(
        |(protocol, client, credentials, shard)| Operation::Hello(pb::Hello { protocol, client, credentials, shard }),
    );
    let others = prop_oneof![
        hello,
        (bytes(), number32()).prop_map(|(key, lease_ms)| Operation::LeaseGet(pb::LeaseGet { key, lease_ms })),
        (option::of(set()), number()).prop_map(|(set, token)| Operation::LeaseSet(pb::LeaseSet { set, token })),
        (bytes(), number32(), bytes()).prop_map(|(cursor, count, pattern)| Operation::Scan(pb::Scan {
            cursor,
            count,
            pattern
        })),
        (any::<String>(), -1..5, any::<String>())
            .prop_map(|(name, action, settings)| Operation::AlterGroup(pb::AlterGroup { name, action, settings })),
        (any::<String>(), option::of(any::<String>()), option::of(any::<bool>()))
            .prop_map(|(node, weight, drain)| Operation::AlterNode(pb::AlterNode { node, weight, drain })),
        Just(Operation::Ping(pb::Ping {})),
        Just(Operation::Invalidate(pb::Invalidate {})),
        Just(Operation::Stats(pb::StatsQuery {})),
        Just(Operation::Topology(pb::TopologyQuery {})),
        Just(Operation::Watch(pb::Watch {})),
    ];
    prop_oneof![3 => on_one_key, 2 => on_several, 2 => others]
}

/// Any request.
pub(crate) fn request() -> impl Strategy<Value = pb::Request> {
    let operation = option::weighted(0.95, operation());
    (number(), number(), number(), number32(), any::<bool>(), operation).prop_map(
        |(id, epoch, group, timeout_ms, forwarded, operation)| pb::Request {
            id,
            epoch,
            group,
            timeout_ms,
            forwarded,
            operation,
        },
    )
}

fn status() -> impl Strategy<Value = i32> {
    prop_oneof![5 => Just(0), 5 => 0..20i32, 1 => any::<i32>()]
}

fn entry() -> impl Strategy<Value = pb::Entry> {
    (bytes(), number32(), number(), number(), status(), any::<bool>()).prop_map(
        |(value, flags, version, ttl_ms, status, stale)| pb::Entry { value, flags, version, ttl_ms, status, stale },
    )
}

fn topology() -> impl Strategy<Value = pb::TopologyResult> {
    let node = || {
        (any::<String>(), any::<String>(), number32(), number32(), number()).prop_map(
            |(id, address, shards, points, incarnation)| pb::Node { id, address, shards, points, incarnation },
        )
    };
    (number(), number(), number(), vec(node(), 0..5), vec(node(), 0..3), vec(node(), 0..3)).prop_map(
        |(epoch, digest, cluster_seed, nodes, joining, draining)| pb::TopologyResult {
            epoch,
            digest,
            cluster_seed,
            nodes,
            joining,
            draining,
        },
    )
}

fn hello_result() -> impl Strategy<Value = pb::HelloResult> {
    let limits = vec(number(), 5).prop_map(|limits| pb::Limits {
        key_bytes_max: limits[0],
        value_bytes_max: limits[1],
        frame_bytes_max: limits[2],
        keys_max: limits[3],
        pipeline_max: limits[4],
    });
    let groups = vec((any::<String>(), number()).prop_map(|(name, hash)| pb::Group { name, hash }), 0..5);
    let names = (any::<String>(), any::<String>());
    (number32(), names, number32(), option::of(limits), groups, option::of(topology())).prop_map(
        |(protocol, (server, node), shard, limits, groups, topology)| pb::HelloResult {
            protocol,
            server,
            node,
            shard,
            limits,
            groups,
            topology,
        },
    )
}

fn group_stats(counts: &[u64], since_policy: Option<Box<pb::GroupStats>>) -> pb::GroupStats {
    pb::GroupStats {
        entries: counts[0],
        bytes: counts[1],
        budget_bytes: counts[2],
        hits: counts[3],
        misses: counts[4],
        sets: counts[5],
        deletes: counts[6],
        evictions: counts[7],
        expirations: counts[8],
        ghost_hits: counts[9],
        ghost_bytes: counts[10],
        evictions_for_memory: counts[11],
        eviction_age_ms: counts[12],
        invalidations: counts[13],
        voids: counts[14],
        replacements: counts[15],
        switching: counts[16],
        since_policy,
        ..pb::GroupStats::default()
    }
}

fn stats() -> impl Strategy<Value = pb::StatsResult> {
    let group = (any::<String>(), any::<String>(), vec(number(), 17), option::of(vec(number(), 17))).prop_map(
        |(name, policy, counts, since)| {
            let since = since.map(|counts| Box::new(group_stats(&counts, None)));
            pb::GroupStats { name, policy, ..group_stats(&counts, since) }
        },
    );
    let memory = (vec(number(), 12), any::<bool>()).prop_map(|(counts, index_waits)| pb::MemoryStats {
        memory_bytes: counts[0],
        segment_bytes: counts[1],
        segments_free: counts[2],
        segments_log: counts[3],
        segments_index: counts[4],
        segments_ghost: counts[5],
        live_bytes: counts[6],
        dead_bytes: counts[7],
        written_bytes: counts[8],
        moved_bytes: counts[9],
        moved_bytes_max: counts[10],
        evictions: counts[11],
        index_waits,
    });
    let shard =
        (number32(), vec(number(), 12), option::of(memory)).prop_map(|(shard, counts, memory)| pb::ShardStats {
            shard,
            requests: counts[0],
            cross_core: counts[1],
            overloaded: counts[2],
            deadline_exceeded: counts[3],
            connections: counts[4],
            malformed: counts[5],
            memory,
            forwarded: counts[6],
            loads: counts[7],
            load_failures: counts[8],
            load_waits: counts[9],
            refreshes: counts[10],
            stale: counts[11],
        });
    (any::<String>(), any::<String>(), number(), vec(group, 0..4), vec(shard, 0..4)).prop_map(
        |(node, version, uptime_ms, groups, shards)| pb::StatsResult { node, version, uptime_ms, groups, shards },
    )
}

fn altered_group() -> impl Strategy<Value = pb::AlteredGroup> {
    let change = (any::<String>(), number(), number(), any::<String>(), any::<String>()).prop_map(
        |(name, memory_bytes, memory_bytes_before, policy, policy_before)| pb::GroupChange {
            name,
            memory_bytes,
            memory_bytes_before,
            policy,
            policy_before,
        },
    );
    (any::<String>(), vec(change, 0..3), any::<bool>(), any::<String>())
        .prop_map(|(node, changes, is_kept, groups)| pb::AlteredGroup { node, changes, is_kept, groups })
}

fn removals() -> impl Strategy<Value = pb::Removals> {
    let reason = prop_oneof![9 => 0..7i32, 1 => any::<i32>()];
    let removed = (bytes(), reason, number()).prop_map(|(key, reason, bytes)| pb::Removed { key, reason, bytes });
    (vec(removed, 0..8), number()).prop_map(|(removals, missed)| pb::Removals { removals, missed })
}

fn result() -> impl Strategy<Value = Outcome> {
    let outcome = (status(), number()).prop_map(|(status, version)| pb::Outcome { status, version });
    prop_oneof![
        entry().prop_map(Outcome::Entry),
        vec(entry(), 0..8).prop_map(|entries| Outcome::Entries(pb::Entries { entries })),
        (number(), number()).prop_map(|(version, value_bytes)| Outcome::Stored(pb::Stored { version, value_bytes })),
        (option::of(entry()), number(), number(), number(), any::<bool>(), -1..4).prop_map(
            |(entry, value_bytes, expires_at_ms, accessed_ms, hit, claim)| {
                Outcome::Looked(pb::Looked { entry, value_bytes, expires_at_ms, accessed_ms, hit, claim })
            }
        ),
        bytes().prop_map(|responses| Outcome::Transacted(pb::Transacted { responses })),
        vec(outcome, 0..20).prop_map(|outcomes| Outcome::Outcomes(pb::Outcomes { outcomes })),
        (signed(), number()).prop_map(|(value, version)| Outcome::Number(pb::Number { value, version })),
        (number(), number(), number()).prop_map(|(acknowledged, version, clock_ms)| {
            Outcome::Pong(pb::Pong { acknowledged, version, clock_ms })
        }),
        (number(), number32()).prop_map(|(token, lease_ms)| Outcome::Leased(pb::Leased { token, lease_ms })),
        number().prop_map(|generation| Outcome::Invalidated(pb::Invalidated { generation })),
        hello_result().prop_map(Outcome::Hello),
        stats().prop_map(Outcome::Stats),
        topology().prop_map(Outcome::Topology),
        (short_bytes(), vec(bytes(), 0..8)).prop_map(|(cursor, keys)| Outcome::Scan(pb::ScanResult { cursor, keys })),
        altered_group().prop_map(Outcome::AlteredGroup),
        removals().prop_map(Outcome::Removals),
    ]
}

/// Any response.
pub(crate) fn response() -> impl Strategy<Value = pb::Response> {
    let envelope = prop_oneof![
        3 => Just((0, String::new(), 0)),
        1 => (status(), any::<String>(), number32()),
    ];
    (number(), number(), envelope, option::weighted(0.8, result())).prop_map(
        |(id, epoch, (status, message, retry_after_ms), result)| pb::Response {
            id,
            epoch,
            status,
            message,
            retry_after_ms,
            result,
        },
    )
}
