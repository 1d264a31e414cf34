#!/usr/bin/env python3
"""Every operation of memcached's text protocol that Larder offers, by clients in Python.

    memcache_py.py PORT --module pymemcache|memcache

The server may be Larder or memcached; both get the same assertions. Its data is removed. Ends with 0 if all hold.
"""

import argparse
import time


def pymemcache(port):
    from pymemcache.client.base import Client
    from pymemcache.exceptions import MemcacheClientError

    client = Client(("127.0.0.1", port), default_noreply=False)
    client.flush_all()
    assert client.set("a", "1", expire=100, flags=7) is True and client.get("a") == b"1"
    assert client.get("none") is None and client.get("none", default=5) == 5
    assert client.add("a", "2") is False and client.add("b", "2") is True
    assert client.replace("a", "3") is True and client.replace("none", "3") is False
    assert client.append("a", "4") is True and client.prepend("a", "2") is True and client.get("a") == b"234"
    assert client.append("none", "4") is False
    value, version = client.gets("a")
    assert value == b"234" and client.cas("a", "new", b"1") is False and client.cas("a", "new", version) is True
    assert client.cas("none", "new", b"1") is None
    assert client.set_many({f"k{number}": str(number) for number in range(100)}) == []
    assert client.get_many([f"k{number}" for number in range(0, 200, 2)]) == {f"k{n}": str(n).encode() for n in range(0, 100, 2)}
    assert set(client.gets_many(["k1", "none"])) == {"k1"}
    assert client.delete("a") is True and client.delete("a") is False
    assert client.set("n", "10") and client.incr("n", 5) == 15 and client.decr("n", 20) == 0
    assert client.incr("none", 1) is None
    client.set("n", "18446744073709551615")
    assert client.incr("n", 2) == 1
    client.set("n", "text")
    try:
        client.incr("n", 1)
        raise AssertionError("it is no number")
    except MemcacheClientError as error:
        assert "non-numeric" in str(error)
    assert client.touch("k1", 100) is True and client.touch("none", 100) is False
    if hasattr(client, "gat"):
        assert client.gat("k1", 100) == b"1" and client.gats("k1", 100)[0] == b"1"
    client.set("gone", "x", expire=-1)
    assert client.get("gone") is None
    client.set("short", "x", expire=1)
    deadline = time.monotonic() + 30
    while client.get("short") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert client.set("quiet", "x", noreply=True) is True and client.get("quiet") == b"x"
    assert client.delete("quiet", noreply=True) is True and client.get("quiet") is None
    large = b"x" * 500_000
    assert client.set("large", large) is True and client.get("large") == large
    try:
        client.set("k" * 251, "x")
        raise AssertionError("the key is too long")
    except Exception as error:
        assert "251" in str(error) or "250" in str(error) or "long" in str(error).lower(), error
    assert int(client.stats()[b"curr_items"]) >= 100 and client.version() and client.stats("settings")
    assert client.flush_all() is True and client.get("k1") is None
    client.quit()


def memcache(port):
    import memcache as module

    client = module.Client([f"127.0.0.1:{port}"], cache_cas=True)
    client.flush_all()
    assert client.set("a", "1", time=100) and client.get("a") == "1" and client.get("none") is None
    assert not client.add("a", "2") and client.add("b", "2") and client.replace("a", "3")
    assert client.append("a", "4") and client.prepend("a", "2") and client.get("a") == "234"
    # Flags tell this client what kind of value it is.
    assert client.set("object", {"a": [1, 2]}) and client.get("object") == {"a": [1, 2]}
    assert client.set("number", 5) and client.get("number") == 5 and client.incr("number") == 6 and client.decr("number") == 5
    assert client.set_multi({f"k{number}": number for number in range(100)}) == []
    assert client.get_multi([f"k{number}" for number in range(200)]) == {f"k{number}": number for number in range(100)}
    assert client.gets("b") == "2" and client.cas("b", "new") and client.get("b") == "new"
    client.gets("b")
    client.set("b", "other")
    assert not client.cas("b", "lost") and client.get("b") == "other"
    assert client.touch("b", 100) and client.delete("b") and client.get("b") is None
    assert client.get_stats()[0][1]["curr_items"]
    client.flush_all()
    assert client.get("a") is None
    client.disconnect_all()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--module", choices=["pymemcache", "memcache"], default="pymemcache")
    given = parser.parse_args()
    {"pymemcache": pymemcache, "memcache": memcache}[given.module](given.port)
    print("right")


if __name__ == "__main__":
    main()
