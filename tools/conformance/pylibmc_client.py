#!/usr/bin/env python3
"""Every operation of memcached's text protocol that pylibmc has, which is libmemcached in Python.

    pylibmc_client.py PORT

The server may be Larder or memcached; both get the same assertions. Its data is removed. Ends with 0 if all hold.
"""

import sys
import time

import pylibmc


def single(client):
    assert client.set("a", "1", time=100) is True and client.get("a") == "1"
    assert client.get("none") is None and client.get("none", 5) == 5
    assert client.add("a", "2") is False and client.add("b", "2") is True
    assert client.replace("a", "3") is True and client.replace("none", "3") is False
    # Flags tell this client what kind of value it is, and append keeps them.
    assert client.append("a", "4") is True and client.prepend("a", "2") is True and client.get("a") == "234"
    assert client.append("none", "4") is False and client.prepend("none", "4") is False
    for value in [b"bytes\r\n\0\xff", "täxt", 5, -5, 2**70, 1.5, None, {"a": [1, 2]}, b"", ""]:
        assert client.set("kind", value) is True
        assert client.get("kind") == value and type(client.get("kind")) is type(value)
    assert client.delete("a") is True and client.delete("a") is False
    client["item"] = "x"
    assert "item" in client and client["item"] == "x"
    del client["item"]
    assert "item" not in client
    assert client.set("k" * 250, "x") is True and client.get("k" * 250) == "x"
    large = bytes(range(256)) * 2_000
    assert client.set("large", large) is True and client.get("large") == large
    # zlib is in pylibmc itself, and it has a flag.
    assert client.set("packed", b"x" * 500_000, min_compress_len=1_000, compress_level=9) is True
    assert client.get("packed") == b"x" * 500_000
    fails(pylibmc.TooBig, lambda: client.set("huge", bytes(2_000_000)))
    assert client.get("huge") is None and client.set("after", "x") is True


def versions(client):
    assert client.set("v", "1") is True
    value, version = client.gets("v")
    assert value == "1" and version > 0
    assert client.cas("v", "2", version, time=100) is True and client.get("v") == "2"
    assert client.cas("v", "lost", version) is False and client.get("v") == "2"
    fails(pylibmc.NotFound, lambda: client.cas("none", "lost", version))
    assert client.gets("none") == (None, None)


def counters(client):
    assert client.set("n", 10) is True and client.incr("n") == 11 and client.incr("n", 5) == 16 and client.get("n") == 16
    assert client.decr("n") == 15 and client.decr("n", 20) == 0
    fails(pylibmc.NotFound, lambda: client.incr("none"))
    fails(pylibmc.NotFound, lambda: client.decr("none"))
    client.set("n", "text")
    fails(pylibmc.Error, lambda: client.incr("n"))
    client.set("n", "18446744073709551615")
    assert client.incr("n", 2) == 1
    client.set_multi({"1": 1, "2": 2}, key_prefix="c")
    client.incr_multi(["1", "2"], key_prefix="c", delta=5)
    assert client.get_multi(["1", "2"], key_prefix="c") == {"1": 6, "2": 7}


def many(client):
    values = {f"k{number}": str(number) for number in range(1_000)}
    assert client.set_multi(values, time=100) == []
    assert client.get_multi([f"k{number}" for number in range(2_000)]) == values
    assert client.get_multi(["1", "none"], key_prefix="k") == {"1": "1"}
    assert client.get_multi(["none"]) == {}
    assert client.add_multi({"k1": "lost", "new": "x"}) == ["k1"] and client.get("k1") == "1"
    assert client.delete_multi(["k1", "k2"]) is True and client.get_multi(["k1", "k2", "k3"]) == {"k3": "3"}
    assert client.delete_multi(["3", "4"], key_prefix="k") is True and client.get("k4") is None


def times(client):
    assert client.touch("k5", 100) is True and client.touch("none", 100) is False
    client.set("short", "x", time=1)
    client.set("longer", "x", time=1)
    assert client.touch("longer", 100) is True
    client.set("at", "x", time=int(time.time()) + 100)
    assert client.get("at") == "x"
    gone("short", client)
    assert client.get("longer") == "x"
    client.set("past", "x", time=int(time.time()) - 100)
    assert client.get("past") is None


def settings(client, port):
    # Nothing is answered to these, so what was said on the same connection is read after them.
    quiet = client.clone()
    quiet.behaviors = {"_noreply": True}
    quiet.set("quiet", "x")
    quiet.delete("k6")
    arrives("quiet", "x", client)
    gone("k6", client)
    eager = pylibmc.Client([f"127.0.0.1:{port}"], behaviors={"no_block": True, "tcp_nodelay": True, "verify_keys": True})
    assert eager.set("eager", "x") is True and eager.get("eager") == "x"
    pool = pylibmc.ClientPool(client, 2)
    with pool.reserve() as one, pool.reserve() as other:
        assert one.set("pooled", "x") is True and other.get("pooled") == "x"


def server(client):
    (_, stats), = client.get_stats()
    stats = {name.decode() if isinstance(name, bytes) else name: value for name, value in stats.items()}
    for field in ["pid", "uptime", "time", "version", "curr_items", "total_items", "bytes", "curr_connections", "cmd_get",
                  "cmd_set", "get_hits", "get_misses", "evictions", "limit_maxbytes", "threads"]:
        assert field in stats, field
    assert int(stats["curr_items"]) >= 100
    assert client.get_stats("settings") and client.get_stats("items")
    assert client.flush_all() is True and client.get("k7") is None
    client.disconnect_all()
    assert client.set("again", "x") is True and client.get("again") == "x"
    client.flush_all()


def fails(kind, ask):
    try:
        ask()
    except kind:
        return
    raise AssertionError(f"it should fail with {kind.__name__}")


def arrives(key, value, client):
    deadline = time.monotonic() + 30
    while client.get(key) != value:
        assert time.monotonic() < deadline, key
        time.sleep(0.05)


def gone(key, client):
    arrives(key, None, client)


def main():
    port = int(sys.argv[1])
    client = pylibmc.Client([f"127.0.0.1:{port}"], behaviors={"cas": True})
    client.flush_all()
    single(client)
    versions(client)
    counters(client)
    many(client)
    times(client)
    settings(client, port)
    server(client)
    print("right")


if __name__ == "__main__":
    main()
