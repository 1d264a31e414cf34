#!/usr/bin/env python3
"""Every operation of memcached's meta commands (mg, ms, md, ma, mn) that meta-memcache has.

    meta_memcache_py.py PORT

The server may be Larder or memcached; both get the same assertions. Its data is removed. Ends with 0 if all hold.

This client reads a cas of up to 32 bits, and takes a longer one for none without a word. Those of Larder have 64, as the protocol
allows, so what needs one is tried with memcached alone, and that is said.
"""

import socket
import sys
import time

from meta_memcache import (
    CacheClient,
    Conflict,
    Key,
    LeasePolicy,
    MemcacheServerError,
    Miss,
    NotStored,
    RecachePolicy,
    RequestFlags,
    ServerAddress,
    SetMode,
    StalePolicy,
    Success,
    Value,
    connection_pool_factory_builder,
)

STALE = StalePolicy(mark_stale_on_deletion_ttl=100, mark_stale_on_cas_mismatch=True)
LEASE = LeasePolicy(ttl=30, miss_retries=3, miss_retry_wait=0.01)


# Whether the server's cas is one that this client reads.
HAS_CAS = True


def values(client, _):
    assert client.set("a", "1", ttl=100) is True and client.get("a") == "1" and client.get("none") is None
    # Flags tell this client what kind of value it is.
    large = [b"x" * 500_000, bytes(range(256)) * 1_000]
    for value in [b"", b"bytes\r\n\0\xff", "täxt", 5, -5, 1.5, True, {"a": [1, 2]}] + large:
        assert client.set("kind", value, ttl=100) is True and client.get("kind") == value
        assert client.get_typed("kind", type(value)) == value
    assert client.get_typed("kind", dict) is None
    assert client.set("a", "2", ttl=100, set_mode=SetMode.ADD) is False and client.get("a") == "1"
    assert client.refill("a", "2", ttl=100) is False and client.refill("b", "2", ttl=100) is True and client.get("b") == "2"
    assert client.set("a", "3", ttl=100, set_mode=SetMode.REPLACE) is True
    assert client.set("none", "3", ttl=100, set_mode=SetMode.REPLACE) is False
    assert client.set("a", "4", ttl=100, set_mode=SetMode.APPEND) is True
    assert client.set("a", "2", ttl=100, set_mode=SetMode.PREPEND) is True and client.get("a") == "234"
    assert client.set("none", "4", ttl=100, set_mode=SetMode.APPEND) is False and client.get("none") is None
    assert client.delete("a") is True and client.delete("a") is False and client.get("a") is None
    assert client.set("a", "1", ttl=100) is True and client.invalidate("a") is True and client.invalidate("a") is True
    # This client hashes keys that are too long, and sends others than ASCII in base64.
    placed = [Key("routed", routing_key="elsewhere"), Key("d", domain="example")]
    for key in ["k" * 250, "k" * 300, "schlüssel", "two words"] + placed:
        assert client.set(key, "x", ttl=100) is True and client.get(key) == "x" and client.delete(key) is True


def versions(client, _):
    first = client.set_cas("v", "1", ttl=100)
    assert first > 0 and client.get_cas("v") == ("1", first) and client.get_cas("none") == (None, None)
    second = client.set_cas("v", "2", ttl=100, cas_token=first)
    assert second != first and client.get_cas_typed("v", str) == ("2", second)
    assert client.set("v", "lost", ttl=100, cas_token=first) is False
    assert client.set_cas("v", "lost", ttl=100, cas_token=first) is None
    assert client.set("none", "lost", ttl=100, cas_token=first) is False
    assert client.delete("v", cas_token=first) is False and client.invalidate("v", cas_token=first) is False
    assert client.get("v") == "2"
    assert client.delete("v", cas_token=second) is True and client.get("v") is None


def times(client, _):
    assert client.set("long", "x", ttl=100) is True and client.set("longer", "x", ttl=1) is True
    assert client.set("short", "x", ttl=1) is True
    assert 95 <= client._get("long").flags.ttl <= 100
    assert client.touch("long", ttl=1_000) is True and 995 <= client._get("long").flags.ttl <= 1_000
    assert client.get("longer", touch_ttl=2_000) == "x" and 1_995 <= client._get("longer").flags.ttl <= 2_000
    assert client.touch("none", ttl=100) is False
    assert client.touch("long", ttl=0) is True and client._get("long").flags.ttl == -1
    gone(client, "short")
    assert client.get("longer") == "x"
    found = client._get("long", return_cas_token=True)
    assert found.flags.fetched is True and found.flags.last_access < 30 and found.size == 1
    assert not HAS_CAS or found.flags.cas_token > 0
    assert client.set("unread", "x", ttl=100) is True and client._get("unread").flags.fetched is False


def many(client, _):
    for number in range(500):
        client.set(f"k{number}", str(number), ttl=100, no_reply=True)
    found = client.multi_get([f"k{number}" for number in range(0, 1_000, 2)] + ["schlüssel"])
    wanted = {f"k{number}": str(number) if number < 500 else None for number in range(0, 1_000, 2)}
    assert {key.key: value for key, value in found.items()} == wanted | {"schlüssel": None}
    found = client.multi_get_cas(["k1", "none"], touch_ttl=1_000)
    assert {key.key: value for key, value in found.items()} == {"k1": ("1", client.get_cas("k1")[1]), "none": (None, None)}
    assert client._get("k1").flags.ttl > 900
    client.set("k1", "quiet", ttl=100, no_reply=True)
    assert client.get("k1") == "quiet"
    client.delete("k1", no_reply=True)
    client.invalidate("k3", no_reply=True)
    client.delta("k4", 5, no_reply=True)
    client.touch("k6", ttl=1_000, no_reply=True)
    assert client.get("k1") is None and client.get("k3") is None
    assert client.get("k4") == "9" and client._get("k6").flags.ttl > 900


def arithmetic(client, _):
    assert client.delta("n", 1) is False and client.delta_and_get("n", 1) is None
    assert client.delta_initialize("n", 1, initial_value=10, initial_ttl=100) is True
    assert client.delta_initialize_and_get("n", 1, initial_value=10, initial_ttl=100) == 11
    assert client.delta_initialize_and_get("m", 1, initial_value=7, initial_ttl=100) == 7
    assert 95 <= client._get("m").flags.ttl <= 100
    assert client.delta("n", 5) is True and client.delta_and_get("n", -2) == 14 and client.delta_and_get("n", -20) == 0
    assert client.delta_and_get("n", 3, refresh_ttl=1_000) == 3 and 995 <= client._get("n").flags.ttl <= 1_000
    if HAS_CAS:
        _, version = client.get_cas("n")
        assert client.delta_and_get("n", 1, cas_token=version) == 4
        assert client.delta_and_get("n", 1, cas_token=version) is None and client.delta("n", 1, cas_token=version) is False
        assert client.delta_and_get("n", 0) == 4
    assert client.delta("n", 1, cas_token=1) is False
    client.set("n", str(2**64 - 1), ttl=100)
    assert client.delta_and_get("n", 2) == 1
    client.set("n", "text", ttl=100)
    # What the server says of it is not told; the connection is given up.
    try:
        client.delta("n", 1)
        raise AssertionError("it is no number")
    except MemcacheServerError:
        assert client.get("n") == "text"


def leases(client, other):
    # Who misses first has to fill it; others wait, and then miss too.
    waits = []
    assert client.get_or_lease("l", LEASE) is None
    assert other.get_or_lease("l", LEASE, lease_wait_fn=waits.append) is None and len(waits) == 2
    assert client.get("l") is None and client._get("l").flags.win is False
    assert client.multi_get(["l"]) == {Key("l"): None}
    assert client.set("l", "filled", ttl=100) is True
    assert other.get_or_lease("l", LEASE, lease_wait_fn=waits.append) == "filled" and len(waits) == 2
    assert client._get("l").flags.win is None
    # The one who waits gets what is filled meanwhile.
    value, version = client.get_or_lease_cas("m", LEASE)
    assert value is None and (not HAS_CAS or version > 0)
    fill = lambda _: client.set("m", "filled", ttl=100, cas_token=version)
    assert other.get_or_lease("m", LEASE, lease_wait_fn=fill) == "filled"
    assert client.get_or_lease("short", LeasePolicy(ttl=1)) is None
    deadline = time.monotonic() + 30
    while client._get("short") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # What changed while it was loaded is not overwritten.
    _, version = client.get_or_lease_cas("raced", LEASE)
    assert other.invalidate("raced") is True and client.set("raced", "old", ttl=100, cas_token=version or 1) is False


def recaches(client, other):
    policy = RecachePolicy(ttl=30)
    client.set("r", "old", ttl=100)
    assert client.get("r", recache_policy=policy) == "old" and other.get("r", recache_policy=policy) == "old"
    client.set("r", "old", ttl=20)
    # One has to load it again, others see what there is.
    assert client.get("r", recache_policy=policy) is None and other.get("r", recache_policy=policy) == "old"
    assert other.multi_get(["r"], recache_policy=policy) == {Key("r"): "old"}
    found = other._get("r", recache_policy=policy)
    assert found.flags.win is False and not found.flags.stale and found.value == "old"
    assert client.set("r", "new", ttl=100) is True and other._get("r", recache_policy=policy).flags.win is None
    client.set("r", "old", ttl=0)
    assert client.get("r", recache_policy=policy) == "old"


def stale(client, other):
    client.set("s", "old", ttl=1_000)
    assert client.delete("s", stale_policy=STALE) is True
    won = client._get("s", return_cas_token=True)
    assert won.flags.win is True and won.flags.stale is True and won.value is None and 95 <= won.flags.ttl <= 100
    assert other.get("s") == "old" and other._get("s").flags.win is False and other._get("s").flags.stale is True
    assert client.set("s", "new", ttl=100, cas_token=won.flags.cas_token) is True
    found = other._get("s")
    assert found.value == "new" and found.flags.win is None and not found.flags.stale
    # Invalid again while it is loaded: what was loaded is kept, but is stale from the beginning.
    assert client.invalidate("s", stale_policy=STALE) is True and client.invalidate("none", stale_policy=STALE) is True
    version = client.get_cas("s")[1] or 1
    assert other.invalidate("s", stale_policy=STALE) is True
    assert client.set("s", "newer", ttl=100, cas_token=version) is False
    assert client.set("s", "newer", ttl=100, cas_token=version, stale_policy=STALE) is True
    assert client.get("s") is None and other.get("s") == "newer" and other._get("s").flags.stale is True
    # That is for versions which are older than the value's.
    if HAS_CAS:
        assert client.set("s", "future", ttl=100, cas_token=2**32 - 1, stale_policy=STALE) is False
    assert client.delete("none", stale_policy=STALE) is False


def requests(client, _):
    """The commands as they are, for answers that the others hide."""
    one, none = Key("one"), Key("none")
    assert isinstance(client.meta_set(one, "x", RequestFlags(cache_ttl=100)), Success)
    assert isinstance(client.meta_set(one, "x", RequestFlags(mode=SetMode.ADD.value)), NotStored)
    assert isinstance(client.meta_set(one, "x", RequestFlags(cas_token=1)), Conflict)
    assert isinstance(client.meta_set(none, "x", RequestFlags(cas_token=1)), Miss)
    assert isinstance(client.meta_set(none, "x", RequestFlags(mode=SetMode.APPEND.value)), NotStored)
    assert isinstance(client.meta_get(none, RequestFlags(return_value=True)), Miss)
    assert isinstance(client.meta_get(one, RequestFlags(return_ttl=True)), Success)
    found = client.meta_get(one, RequestFlags(return_value=True, return_ttl=True, return_size=True, return_cas_token=True))
    assert isinstance(found, Value) and found.value == "x" and found.flags.ttl > 90 and found.flags.size == 1
    # It is looked at, and counts as never read.
    client.meta_set(one, "x", RequestFlags(cache_ttl=100))
    quiet = RequestFlags(return_value=True, return_fetched=True, no_update_lru=True)
    assert client.meta_get(one, quiet).flags.fetched is False and client.meta_get(one, quiet).flags.fetched is False
    found = client.meta_multiget([one, none], RequestFlags(return_value=True))
    assert found[one].value == "x" and isinstance(found[none], Miss)
    assert isinstance(client.meta_delete(one, RequestFlags(cas_token=1)), Conflict)
    assert isinstance(client.meta_delete(none), Miss) and isinstance(client.meta_delete(one), Success)
    assert isinstance(client.meta_arithmetic(none, RequestFlags(ma_delta_value=1)), Miss)


def gone(client, key):
    deadline = time.monotonic() + 30
    while client.get(key) is not None:
        assert time.monotonic() < deadline, key
        time.sleep(0.05)


def flush(port):
    """This client has no command for it."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"flush_all\r\n")
        assert connection.recv(100) == b"OK\r\n"


def is_cas_read(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"ms a 1 c\r\nx\r\n")
        answer = connection.recv(100)
    return int(answer.removeprefix(b"HD c")) < 2**32


def main():
    global HAS_CAS
    port = int(sys.argv[1])
    HAS_CAS = is_cas_read(port)
    pools = connection_pool_factory_builder(connection_timeout=30, recv_timeout=30)
    client, other = (CacheClient.cache_client_from_servers([ServerAddress("127.0.0.1", port)], pools) for _ in range(2))
    for part in [values, versions, times, many, arithmetic, leases, recaches, stale, requests]:
        flush(port)
        if part is versions and not HAS_CAS:
            print("versions: not tried, since this client does not read a cas of more than 32 bits")
            continue
        part(client, other)
        print(f"{part.__name__}: right")
    flush(port)


if __name__ == "__main__":
    main()
