#!/usr/bin/env python3
"""Every operation that Larder offers, by redis-py or valkey-py, in the way that their users write it.

    redis_py.py PORT [--module redis|valkey] [--protocol 2|3] [--asyncio]

The server may be Larder, Redis or Valkey; all get the same assertions. Its data is removed. Ends with 0 if all hold.
"""

import argparse
import asyncio
import importlib
import time


def text(words):
    """As text, whichever the library gives."""
    return [word.decode() if isinstance(word, bytes) else word for word in words]


async def strings(r):
    assert await r.set("a", "1") is True
    assert await r.get("a") == "1"
    assert await r.get("none") is None
    assert await r.set("a", "2", nx=True) is None
    assert await r.set("none", "2", xx=True) is None
    assert await r.set("a", "2", ex=100) is True and 95 <= await r.ttl("a") <= 100
    assert await r.set("a", "3", px=100_000) is True and 95_000 <= await r.pttl("a") <= 100_000
    assert await r.set("a", "4", keepttl=True) is True and await r.ttl("a") > 90
    assert await r.set("a", "5", get=True) == "4"
    assert await r.setex("b", 100, "v") is True and await r.psetex("b", 100_000, "w") is True
    assert await r.setnx("b", "x") is False and await r.setnx("fresh", "x") is True
    assert await r.getset("b", "y") == "w"
    assert await r.getex("b", ex=50) == "y" and 0 < await r.ttl("b") <= 50
    assert await r.getex("b", persist=True) == "y" and await r.ttl("b") == -1
    assert await r.getdel("b") == "y" and await r.getdel("b") is None
    assert await r.mset({"m1": "1", "m2": "2", "m3": "3"}) is True
    assert await r.mget("m1", "none", "m3") == ["1", None, "3"]
    assert await r.msetnx({"m1": "9"}) is False and await r.msetnx({"m9": "9"}) is True
    assert await r.append("s", "ab") == 2 and await r.append("s", "cd") == 4
    assert await r.strlen("s") == 4 and await r.getrange("s", 1, -2) == "bc" and await r.substr("s", 0, 1) == "ab"
    assert await r.setrange("s", 6, "x") == 7 and await r.get("s") == "abcd\0\0x"
    assert await r.incr("n") == 1 and await r.incrby("n", 10) == 11 and await r.decr("n") == 10
    assert await r.decrby("n", 20) == -10 and await r.incrbyfloat("f", 1.5) == 1.5 and await r.incrbyfloat("f", "1e1") == 11.5
    await fails(r.incr("s"), "value is not an integer or out of range")
    await r.set("big", 2**63 - 1)
    await fails(r.incr("big"), "would overflow")
    await fails(r.incrbyfloat("s", 1), "not a valid float")
    await fails(r.execute_command("GET"), "wrong number of arguments for 'get' command")
    await fails(r.execute_command("NOSUCH", "a"), "unknown command 'NOSUCH'")
    await fails(r.execute_command("SET", "a", "b", "EX", "0"), "invalid expire time in 'set' command")
    value = bytes(range(256)) * 1_000
    assert await r.set("binary", value.decode("latin-1").encode("utf-8")) is True and await r.strlen("binary") == 384_000


async def keys(r):
    await r.mset({f"k{number}": "v" for number in range(50)})
    assert await r.exists("k1", "k2", "none", "k1") == 3 and await r.touch("k1", "none") == 1
    assert await r.delete("k1", "k2", "none") == 2 and await r.unlink("k3") == 1
    assert await r.type("k4") == "string" and await r.type("none") == "none"
    assert await r.expire("k4", 100) in (1, True) and await r.expire("none", 1) in (0, False)
    assert await r.expire("k4", 50, gt=True) in (0, False) and await r.expire("k4", 50, lt=True) in (1, True)
    assert await r.pexpire("k4", 100_000) in (1, True) and await r.persist("k4") in (1, True)
    assert await r.persist("k4") in (0, False) and await r.ttl("k4") == -1 and await r.ttl("none") == -2
    at = int(time.time()) + 1_000
    assert await r.expireat("k4", at) in (1, True)
    assert await r.execute_command("EXPIRETIME", "k4") == at
    assert await r.execute_command("PEXPIRETIME", "k4") == at * 1_000
    assert await r.expire("k4", -1) in (1, True) and await r.exists("k4") == 0
    await r.set("short", "v", px=30)
    deadline = time.monotonic() + 30
    while await r.exists("short"):
        assert time.monotonic() < deadline
    found, cursor = set(), 0
    while True:
        cursor, some = await r.scan(cursor, match="k*", count=10)
        found.update(some)
        if cursor == 0:
            break
    assert found == {f"k{number}" for number in range(5, 50)} | {"k0"}, found
    assert set(await r.keys("k1?")) == {f"k{number}" for number in range(10, 20)}
    assert len(await r.every("k*")) == 46
    assert await r.randomkey() is not None and await r.dbsize() >= 46
    assert await r.object("ENCODING", "k5") is not None and await r.object("REFCOUNT", "k5") == 1
    assert await r.object("IDLETIME", "k5") is not None and await r.memory_usage("k5") > 0
    assert await r.flushdb() is True and await r.dbsize() == 0 and await r.randomkey() is None
    await r.set("k", "v")
    assert await r.flushall() is True and await r.get("k") is None


async def connection(r):
    assert await r.ping() is True and await r.echo("hi") == "hi"
    assert await r.client_id() > 0 and await r.client_setname("worker") in (True, "OK")
    assert await r.client_getname() == "worker"
    assert any(client["name"] == "worker" for client in await r.client_list())
    assert (await r.client_info())["name"] == "worker"
    own = await r.client_id()
    (clients,) = text([await r.execute_command("CLIENT", "LIST", "ID", own, 999_999)])
    assert clients.startswith(f"id={own} ") and clients.count("\n") == 1, clients
    assert await r.execute_command("CLIENT", "KILL", "ID", own, "SKIPME", "yes", "TYPE", "normal") == 0
    await fails(r.execute_command("CLIENT", "KILL", "ID", 0), "client-id should be greater than 0")
    await fails(r.execute_command("CLIENT", "KILL", "USER", "nobody"), "No such user 'nobody'")
    await fails(r.execute_command("CLIENT", "LIST", "TYPE", "what"), "Unknown client type 'what'")
    seconds, microseconds = await r.time()
    assert abs(seconds - time.time()) < 60 and 0 <= microseconds < 1_000_000
    await fails(r.execute_command("SELECT", "9999"), "DB index is out of range")


async def server(r):
    info = await r.info()
    for field in ["redis_version", "uptime_in_seconds", "connected_clients", "used_memory", "maxmemory", "role",
                  "total_commands_processed", "keyspace_hits", "keyspace_misses", "evicted_keys", "expired_keys",
                  "used_cpu_sys", "mem_fragmentation_ratio", "instantaneous_ops_per_sec", "loading"]:
        assert field in info, field
    assert "role" in await r.info("replication")
    assert "maxmemory" in await r.config_get("maxm*")
    assert await r.config_set("slowlog-max-len", 100) is True and await r.config_resetstat() is True
    assert await r.slowlog_len() == 0 and await r.slowlog_get() == []
    assert await r.command_count() > 50
    commands = await r.execute_command("COMMAND", "INFO", "get")
    assert "get" in str(commands)
    assert text(await r.execute_command("COMMAND GETKEYS", "MSET", "a", "1", "b", "2")) == ["a", "b"]
    await fails(r.execute_command("COMMAND GETKEYS", "PING", "x"), "The command has no key arguments")
    assert text(await r.execute_command("COMMAND LIST", "FILTERBY", "PATTERN", "config|g*")) == ["config|get"]
    for name in ["CLIENT", "COMMAND", "CONFIG", "FUNCTION", "LATENCY", "MEMORY", "OBJECT", "SLOWLOG"]:
        help = text(await r.execute_command(f"{name} HELP"))
        assert help[0].startswith(f"{name} <subcommand> ") and help[-2] == "HELP", help
    await fails(r.execute_command("CONFIG", "SET", "daemonize", "yes"), "can't set immutable config")
    await fails(r.execute_command("CONFIG", "SET", "slowlog-max-len", 1, "slowlog-max-len", 2), "duplicate parameter")
    await r.get("none")
    assert (await r.info("stats"))["keyspace_misses"] > 0 and await r.config_resetstat() is True
    await r.get("none")
    assert (await r.info("stats"))["keyspace_misses"] == 1
    assert await r.execute_command("LATENCY", "LATEST") == []
    assert await r.execute_command("FUNCTION", "FLUSH") in ("OK", True)


async def transactions(r):
    pipe = r.pipeline()
    for number in range(100):
        pipe.set(f"p{number}", number)
        pipe.incr(f"p{number}")
    answers = await pipe.execute()
    assert answers[:4] == [True, 1, True, 2] and answers[-1] == 100 and len(answers) == 200
    pipe = r.pipeline(transaction=False)
    for number in range(100):
        pipe.get(f"p{number}")
    assert await pipe.execute() == [str(number + 1) for number in range(100)]
    pipe = r.pipeline()
    pipe.set("t", "x")
    pipe.incr("t")
    pipe.get("t")
    answers = await pipe.execute(raise_on_error=False)
    assert answers[0] is True and "not an integer" in str(answers[1]) and answers[2] == "x"
    # The usual loop: nothing is lost of many who add to one key.
    await r.set("counter", 0)
    for _ in range(20):
        while True:
            pipe = r.pipeline()
            try:
                await pipe.watch("counter")
                value = int(await pipe.get("counter"))
                pipe.multi()
                pipe.set("counter", value + 1)
                await pipe.execute()
                break
            except r.watch_error:
                continue
            finally:
                await pipe.reset()
    assert await r.get("counter") == "20"
    pipe = r.pipeline()
    await pipe.watch("counter")
    await r.set("counter", "changed")
    pipe.multi()
    pipe.set("counter", "lost")
    try:
        await pipe.execute()
        raise AssertionError("the key was changed")
    except r.watch_error:
        pass
    await pipe.reset()
    assert await r.get("counter") == "changed"
    await pipe.watch("counter")
    await r.expire("counter", 100)
    pipe.multi()
    pipe.set("counter", "lost")
    try:
        await pipe.execute()
        raise AssertionError("it expires now")
    except r.watch_error:
        pass
    await pipe.reset()
    assert await r.get("counter") == "changed"


async def fails(asked, text):
    try:
        await asked
    except Exception as error:
        assert text.lower() in str(error).lower(), error
        return
    raise AssertionError(f"it should fail with {text!r}")


class Blocking:
    """A blocking client, or a pipeline of one, with awaitable answers, so that both kinds have one text."""

    def __init__(self, of, watch_error):
        self.of, self.watch_error = of, watch_error

    def __getattr__(self, name):
        method = getattr(self.of, name)
        if name == "pipeline":
            return lambda **options: Blocking(method(**options), self.watch_error)

        def call(*arguments, **options):
            # At once and not when it is awaited, as pipelines are written.
            try:
                answer, error = method(*arguments, **options), None
            except Exception as why:
                answer, error = None, why
            return Answer(answer, error)

        return call

    async def every(self, pattern):
        return list(self.of.scan_iter(pattern))


class Answer:
    def __init__(self, answer, error):
        self.answer, self.error = answer, error

    def __await__(self):
        if self.error is not None:
            raise self.error
        return self.answer
        yield


async def run(given):
    module = importlib.import_module(given.module + (".asyncio" if given.asyncio else ""))
    exceptions = importlib.import_module(given.module + ".exceptions")
    client = getattr(module, "Redis" if given.module == "redis" else "Valkey")
    options = {"port": given.port, "decode_responses": True, "single_connection_client": True}
    if given.protocol == 3:
        options["protocol"] = 3
    r = client(**options)
    if given.asyncio:
        r.watch_error = exceptions.WatchError

        async def every(pattern):
            return [key async for key in r.scan_iter(pattern)]

        r.every = every
    else:
        r = Blocking(r, exceptions.WatchError)
    for part in [strings, keys, connection, server, transactions]:
        await r.flushall()
        await part(r)
        print(f"{part.__name__}: right")
    await r.flushall()
    if given.asyncio:
        await (r.aclose if hasattr(r, "aclose") else r.close)()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--module", default="redis")
    parser.add_argument("--protocol", type=int, default=2)
    parser.add_argument("--asyncio", action="store_true")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
