#!/usr/bin/env python3
"""Sends the same random commands to two servers that speak RESP, and compares what they answer, byte for byte.

    differential.py LARDER_PORT REFERENCE_PORT [--seed N] [--commands N] [--version 2|3]

Both are to be empty. The reference is redis-server 7.0 or Valkey; where Larder differs from it on purpose, the command or the
difference is left out here, with the reason. Ends with 1 at the first difference, and says how to see it again.
"""

import argparse
import os
import random
import socket
import sys

KEYS = [b"a", b"b", b"c", b"key:1", b"key:2", b"longer key with blanks", b"", b"\x00\xff"]
VALUES = [b"", b"0", b"1", b"-1", b"10", b"3.5", b"abc", b"9223372036854775807", b"-9223372036854775808", b"01", b" 1",
          b"1e3", b"x" * 50, b"\r\n", b"12345678901234567890"]
INTEGERS = [b"0", b"1", b"-1", b"5", b"100", b"-100", b"9223372036854775807", b"-9223372036854775808", b"x", b"1.5", b"",
            b"+1", b"01"]
# Valkey adds in 80 bits, Larder exactly where 17 places are enough and else in 64 bits: the same for such numbers.
FLOATS = [b"0", b"1.5", b"-1.5", b"3e2", b"x", b"", b" 1", b"0.25", b"0.125"]
# None that ends while this runs.
TIMES = [b"1000000", b"2000000", b"0", b"-1", b"x", b"9223372036854775807", b"9999999999"]


def command(choose):
    """A random command; some are wrong."""
    key, value = lambda: choose(KEYS), lambda: choose(VALUES)
    some = lambda of: [of() for _ in range(choose([1, 1, 2, 3, 5]))]
    pairs = lambda: [part for _ in range(choose([1, 1, 2, 4])) for part in (key(), value())]
    integer = lambda: choose(INTEGERS)
    option = lambda: choose([b"NX", b"XX", b"nx", b"xx", b"GET", b"KEEPTTL", b"GT", b"LT", b"PERSIST", b"what"])
    timed = lambda: choose([[], [], [b"EX", choose(TIMES)], [b"PX", choose(TIMES)], [b"PXAT", b"99999999999999"],
                            [b"EXAT", b"9999999999"], [b"ex"]])
    options = lambda: choose([[], [], [option()], [option(), option()]])
    made = [
        lambda: [b"GET", key()],
        lambda: [b"SET", key(), value()],
        lambda: [b"SET", key(), value()] + timed() + options(),
        lambda: [b"SETEX", key(), choose(TIMES), value()],
        lambda: [b"PSETEX", key(), choose(TIMES), value()],
        lambda: [b"SETNX", key(), value()],
        lambda: [b"GETSET", key(), value()],
        lambda: [b"GETDEL", key()],
        # Of a key that is not there, Valkey does not look at the time.
        lambda: [b"GETEX", key()] + choose([[], [b"EX", b"1000000"], [b"PXAT", b"99999999999999"], [b"PERSIST"], [b"ex"],
                                            [b"what"], [b"PERSIST", b"EX", b"5"]]),
        lambda: [b"MGET"] + some(key),
        lambda: [b"MSET"] + pairs(),
        # Of several shards it is refused, so that what follows would differ.
        lambda: [b"MSETNX", key(), value()],
        lambda: [b"MSETNX", b"a"],
        lambda: [b"APPEND", key(), value()],
        lambda: [b"STRLEN", key()],
        lambda: [b"GETRANGE", key(), integer(), integer()],
        lambda: [b"SUBSTR", key(), integer(), integer()],
        lambda: [b"SETRANGE", key(), choose([b"0", b"1", b"7", b"-1", b"x", b"99999999999"]), value()],
        lambda: [b"INCR", key()],
        lambda: [b"DECR", key()],
        lambda: [b"INCRBY", key(), integer()],
        lambda: [b"DECRBY", key(), integer()],
        lambda: [b"INCRBYFLOAT", choose([b"f1", b"f2"]), choose(FLOATS)],
        lambda: [choose([b"SET", b"GETSET"]), choose([b"f1", b"f2"]), choose(FLOATS)],
        lambda: [choose([b"DEL", b"UNLINK", b"EXISTS", b"TOUCH"])] + some(key),
        lambda: [b"TYPE", key()],
        lambda: [choose([b"EXPIRE", b"PEXPIRE"]), key(), choose([b"1000000", b"0", b"-5", b"x", b"9223372036854775807"])]
        + choose([[], [], [option()], [option(), option()]]),
        lambda: [choose([b"EXPIREAT", b"PEXPIREAT"]), key(), choose([b"99999999999", b"1", b"0", b"-1", b"x"])],
        lambda: [choose([b"EXPIRETIME", b"PEXPIRETIME"]), b"none"],
        lambda: [b"PERSIST", key()],
        lambda: [b"TTL", b"none"],
        lambda: [b"OBJECT", choose([b"REFCOUNT", b"refcount"]), b"none"],
        lambda: [b"DBSIZE"],
        lambda: [b"PING"] + choose([[], [value()], [value(), value()]]),
        lambda: [b"ECHO", value()],
        lambda: [b"SELECT", choose([b"0", b"x", b"-1", b"99"])],
        lambda: [b"MULTI"],
        lambda: [b"EXEC"],
        lambda: [b"DISCARD"],
        lambda: [b"UNWATCH"],
        lambda: [b"CLIENT", choose([b"GETNAME", b"SETNAME", b"what"])] + choose([[], [b"name"], [b"a b"]]),
        lambda: [b"SLOWLOG", choose([b"LEN", b"what"])],
        lambda: [b"CONFIG", choose([b"what", b"GET"])],
        lambda: [b"SCAN", b"x"],
        lambda: [b"SCAN", b"0"] + choose([[b"COUNT", b"0"], [b"COUNT", b"x"], [b"MATCH"], [b"what", b"x"]]),
        lambda: [choose([b"nosuch", b"GET", b"SET", b"mget", b"Append", b"exists", b"object"])] + choose([[], [b"1", b"2", b"3", b"4", b"5"]]),
        lambda: [b"FLUSHALL"] + choose([[], [b"ASYNC"], [b"SYNC"], [b"what"]]),
    ]
    weights = [6, 8, 6] + [1] * (len(made) - 4) + [0.1]
    return choose.weighted(made, weights)()


def watched(choose):
    """A watched key that may be changed before EXEC. Larder compares versions, which an expiry does not change, and has all keys
    of an EXEC after WATCH on one shard."""
    change = lambda: choose([[b"SET", b"w", choose(VALUES)], [b"APPEND", b"w", b"x"], [b"INCR", b"w"], [b"DEL", b"w"],
                             [b"GETDEL", b"w"], [b"SETNX", b"w", b"1"], [b"SETRANGE", b"w", b"3", b"y"]])
    look = lambda: choose([[b"GET", b"w"], [b"STRLEN", b"w"], [b"EXISTS", b"w", b"w"], [b"ECHO", b"hi"], [b"MGET", b"w"]])
    some = lambda: [choose([change, look])() for _ in range(choose([0, 1, 2, 4]))]
    return ([[b"DISCARD"], [b"WATCH", b"w"]] + choose([[], [change()], [look()], [[b"UNWATCH"]]])
            + [[b"MULTI"]] + some() + [choose([[b"EXEC"], [b"EXEC"], [b"EXEC"], [b"DISCARD"]]), [b"GET", b"w"]])


def without_nested(batch, is_inside):
    """Without MULTI after MULTI, which takes nothing from the transaction in 7.0, and ends it in Valkey 8 and Larder. Also returns
    whether a transaction is open behind it."""
    kept = []
    for words in batch:
        if words == [b"MULTI"]:
            if is_inside:
                continue
            is_inside = True
        elif words in ([b"EXEC"], [b"DISCARD"]):
            is_inside = False
        kept.append(words)
    return kept, is_inside


class Choose:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def __call__(self, of):
        return self.random.choice(of)

    def weighted(self, of, weights):
        return self.random.choices(of, weights)[0]


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        """One answer, as it came."""
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise SystemExit(f"the connection ended after {line!r}")
        kind, rest = line[:1], line[1:-2]
        if kind in b"$=" and rest != b"-1":
            return line + self.file.read(int(rest) + 2)
        if kind in b"*~>" and rest != b"-1":
            return line + b"".join(self.answer() for _ in range(int(rest)))
        if kind == b"%":
            return line + b"".join(self.answer() for _ in range(2 * int(rest)))
        return line


def encode(words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def is_same(words, ours, theirs):
    if ours == theirs:
        return True
    # Commands that Larder does not have are not in what the reference says of their arguments; and 7.0 has one text where
    # Valkey 8 has another.
    name = words[0].lower()
    if name == b"select" and ours.startswith(b"-ERR") and theirs.startswith(b"-ERR"):
        return True
    return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("larder", type=int)
    parser.add_argument("reference", type=int)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--commands", type=int, default=20_000)
    parser.add_argument("--version", type=int, default=2)
    parser.add_argument("--show", type=os.fsencode, help="print commands with these words")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}")
    choose = Choose(seed)
    servers = [Connection(given.larder), Connection(given.reference)]
    for server in servers:
        server.send(encode([b"HELLO", b"%d" % given.version]) + encode([b"FLUSHALL"]))
        server.answer()
        server.answer()
    count, is_inside = 0, False
    while count < given.commands:
        batch = watched(choose) if choose(range(10)) == 0 else [command(choose) for _ in range(choose([1, 1, 5, 50]))]
        batch, is_inside = without_nested(batch, is_inside)
        data = b"".join(encode(words) for words in batch)
        for server in servers:
            server.send(data)
        for words in batch:
            ours, theirs = (server.answer() for server in servers)
            count += 1
            if given.show is not None and given.show in b" ".join(words):
                print(count, words, ours, theirs)
            if not is_same(words, ours, theirs):
                print(f"command {count} {words!r}: Larder says {ours!r}, the reference {theirs!r}", file=sys.stderr)
                print(f"again: --seed {seed} --commands {count} --version {given.version}", file=sys.stderr)
                return 1
    print(f"{count} commands, and no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
