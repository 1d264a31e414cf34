#!/usr/bin/env python3
"""Placement, written a second time and independently of the crate: the source of the golden files beside it.

    pip install xxhash && python3 reference.py

rewrites hashes.json and topologies.json, whose 64-bit numbers are hexadecimal strings. A client in another language is
right when it agrees with both. README.md of the crate has the rule in words.
"""

import json
import pathlib
import random

import xxhash

SLOTS = 65536
POSITIONS_PER_POINT = 4
EXCESS_PERCENT = 5
PROBES_MAX = 64


def xxh3(data, seed=0):
    return xxhash.xxh3_64_intdigest(data, seed=seed)


def little(number, size):
    return number.to_bytes(size, "little")


def shard(key_hash, shards):
    return ((key_hash >> 28 & 0xFFFF) * shards) >> 16


def digest(nodes, cluster_seed):
    data = b"larder-ring-1" + little(cluster_seed, 8)
    for node_id, points in nodes:
        data += little(len(node_id), 2) + node_id.encode() + little(points, 4)
    return xxh3(data)


def owners(nodes, cluster_seed):
    """The index of the owner of each slot; `nodes` are pairs of id and points, sorted by id."""
    ring = []
    for index, (node_id, points) in enumerate(nodes):
        seed = xxh3(node_id.encode(), cluster_seed)
        ring += [(xxh3(little(number, 4), seed), index) for number in range(points * POSITIONS_PER_POINT)]
    ring.sort()
    natural, at = [], 0
    for slot in range(SLOTS):
        while at < len(ring) and ring[at][0] < slot << 48:
            at += 1
        natural.append(ring[at % len(ring)][1])

    total = sum(points for _, points in nodes)
    room = [-(-points * SLOTS * (100 + EXCESS_PERCENT) // (total * 100)) for _, points in nodes]
    table = [None] * SLOTS
    for slot, node in enumerate(natural):
        if room[node]:
            room[node] -= 1
            table[slot] = node
    for slot in range(SLOTS):
        if table[slot] is None:
            table[slot] = elsewhere(slot, natural, room, cluster_seed)
            room[table[slot]] -= 1
    return table


def elsewhere(slot, natural, room, cluster_seed):
    for probe in range(1, PROBES_MAX + 1):
        node = natural[xxh3(little(slot, 4) + little(probe, 4), cluster_seed) >> 48]
        if room[node]:
            return node
    return next(node for node in range(len(room)) if room[node])


def hashes():
    groups = []
    for cluster_seed in (0, 1, 0x0123456789ABCDEF, 2**64 - 1):
        for name in ("default", "scores", "a", "gruppe-\u00e4\u00f6\u00fc", "g" * 255):
            groups.append({"cluster_seed": cluster_seed, "name": name, "hash": xxh3(name.encode(), cluster_seed)})
    # Where XXH3 changes its way: 3, 8, 16, 128, 240 bytes, stripes of 64, blocks of 1,024.
    lengths = [*range(0, 34), 63, 64, 65, 95, 96, 97, *range(127, 131), 159, 160, 161, 191, 192, 193, 223, 224, 225]
    lengths += [*range(238, 244), 255, 256, 257, 299, 300, 301, 512, 1023, 1024, 1025, 2048, 4096]
    draw = random.Random(1)
    keys = []
    for length in lengths:
        for group in (groups[0], groups[6], groups[16]) if length < 34 else (groups[length % len(groups)],):
            key = draw.randbytes(length)
            key_hash = xxh3(key, group["hash"])
            shards = {count: shard(key_hash, count) for count in (1, 2, 3, 7, 16, 256)}
            keys.append({"group_hash": group["hash"], "key": key.hex(), "hash": key_hash,
                         "slot": key_hash >> 48, "shard_by_shards": shards})
    return {"groups": groups, "keys": keys}


def topologies():
    draw = random.Random(2)
    memberships = [
        (0, [("127.0.0.1:7400", 1024)]),
        (0, [("a", 1024), ("b", 1024), ("c", 2048)]),
        (42, [("node-b", 512), ("node-a", 1536), ("node-B", 1), ("node-aa", 4096)]),
        (2**64 - 1, [("[::1]:7400", 1), ("[::1]:7401", 1)]),
        # Few points each: shares are uneven by nature, so that many slots meet a full node.
        (7, [(f"cache-{number}.example.org:7400", draw.choice((8, 16, 64))) for number in range(60)]),
        (0xFEDCBA9876543210, [(f"n{number}", 1024) for number in range(100)]),
        # So few positions that one node is the natural one of 86 % of the slots: some slots run out of probes.
        (16981, [("a", 1), ("b", 1), ("c", 1)]),
    ]
    vectors = []
    for cluster_seed, nodes in memberships:
        nodes = sorted(nodes, key=lambda node: node[0].encode())
        table = owners(nodes, cluster_seed)
        listed = [{"id": node_id, "points": points, "slots_owned": table.count(index)}
                  for index, (node_id, points) in enumerate(nodes)]
        placed = [{"slot": slot, "node": nodes[table[slot]][0]} for slot in (0, 1, 777, 32768, 65534, 65535)]
        vectors.append({"cluster_seed": cluster_seed, "digest": digest(nodes, cluster_seed), "nodes": listed,
                        "owners": placed, "owners_hash": xxh3(b"".join(little(node, 2) for node in table))})
    return {"topologies": vectors}


def spell(value, name=""):
    """64-bit numbers as strings: many languages read a JSON number as a float."""
    if isinstance(value, dict):
        return {key: spell(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [spell(item) for item in value]
    wide = name in ("hash", "group_hash", "cluster_seed", "digest", "owners_hash")
    return f"{value:016x}" if wide else value


def write(name, vectors):
    """One vector a line."""
    lists = []
    for key, items in spell(vectors).items():
        lines = ",\n".join("  " + json.dumps(item) for item in items)
        lists.append(f"{json.dumps(key)}: [\n{lines}\n]")
    path = pathlib.Path(__file__).with_name(name)
    path.write_text("{" + ",\n".join(lists) + "}\n")


if __name__ == "__main__":
    write("hashes.json", hashes())
    write("topologies.json", topologies())
