#!/usr/bin/env python3
"""Sends the same random commands to two servers that speak the text protocol of memcached, and compares what they answer.

    differential_memcache.py LARDER_PORT MEMCACHED_PORT [--seed N] [--commands N]

Both are to be empty, and memcached to accept values of up to a MiB, as it does by itself. Versions of entries are opaque, so they
are replaced by the order in which they were first seen. Ends with 1 at the first difference, and says how to see it again.
"""

import argparse
import random
import re
import socket
import sys

KEYS = ["a", "b", "c", "key:1", "k" * 250, "\x7f"]
VALUES = ["", "0", "1", "10", "9", "99", "-1", "abc", "18446744073709551615", "18446744073709551616", "x" * 100, "a\r\nb",
          "5 ", " 5", "x" * 5000]
TIMES = ["0", "0", "0", "1000", "-1", "99999", "x"]


def command(choose, versions):
    key, value = choose(KEYS), choose(VALUES)
    flags = choose(["0", "5", "4294967295", "x", "-1"] if choose(range(20)) == 0 else ["0", "5", "4294967295"])
    time = choose(TIMES[3:]) if choose(range(20)) == 0 else choose(["0", "1000", "-1", "2000000000"])
    quiet = choose(["", "", "", " noreply"])
    store = lambda name, more="": f"{name} {key} {flags} {time} {len(value)}{more}{quiet}\r\n{value}\r\n"
    some = lambda: " ".join(choose(KEYS) for _ in range(choose([1, 1, 2, 5, 20])))
    version = choose(versions) if versions and choose(range(3)) else ("1", "1")
    # Keys of numbers: memcached may keep the length of a value that becomes shorter, or not, so nothing is added to these.
    count = choose(["n1", "n2"])
    # Of numbers from 2^63 on, memcached 1.6.18 sometimes says that they are none.
    number = choose(["1", "10", "99", "0", "9223372036854775000", "abc", "5 ", " 5"])
    # As memcached 1.6.18 has them: it does not know E, x, s of ms and N with M, and T of ma is lost there if the number becomes
    # longer. Keys that are filled under N are an entry there and a lease here, so nothing but meta commands is used with them.
    flags_of = lambda *known: "".join(" " + flag for flag in random_part(choose, known))
    opaque, new_time, old = f"O{choose(range(99))}", f"T{choose(['0', '1000', '-1', '2000000000'])}", f"C{version[0]}"
    pair = lambda text: (text, text.replace(old, f"C{version[1]}"))
    stored = lambda line: f"{line}\r\n{value}\r\n"
    leased = choose(["m1", "m2"])
    meta = [
        lambda: f"mg {key}{flags_of('c', 'f', 'k', 'l', opaque, 's', 't', 'v', 'u', 'q', 'Px', 'Ly')}\r\n",
        lambda: f"mg {key}{flags_of('c', 'k', opaque, 's', 't', 'v', 'q', new_time, 'R2000')}\r\n",
        lambda: stored(f"ms {key} {len(value)}{flags_of('c', 'k', opaque, 'F9', new_time, 'q', 'M' + choose('SERAP'))}"),
        lambda: pair(stored(f"ms {key} {len(value)}{flags_of('c', 'k', opaque, 'F9', old)}")),
        lambda: stored(f"ms {key} {len(value)}{flags_of('c', 'k', opaque, 'F9', 'I', 'C1')}"),
        lambda: pair(f"md {key}{flags_of('k', opaque, 'q', 'I', 'T500', old)}\r\n"),
        lambda: f"ma {count}{flags_of('c', 'k', opaque, choose(['q', 'N60']), 'v', 'J7', 'D3', 'M' + choose('ID+-'))}\r\n",
        lambda: pair(f"ma {count} v{flags_of(old, 't', 'c')}\r\n"),
        lambda: f"mg {leased} N900{flags_of('c', 'k', opaque, 's', 'v', 'q')}\r\n",
        lambda: f"mg {leased}{flags_of('c', 'k', opaque, 's', 'v', 'q')}\r\n",
        lambda: pair(stored(f"ms {leased} {len(value)}{flags_of('c', 'k', old)}")),
        lambda: f"md {leased}{flags_of('I', 'q')}\r\n",
        lambda: choose([stored(f"ms aGk= {len(value)} b c k"), "mg aGk= b k v\r\n", "md aGk= k b\r\n"]),
        lambda: choose(["mg\r\n", "mg a v v\r\n", "mg a y\r\n", "mg a T\r\n", "mg a Cx\r\n", "mg a b\r\n", "md a y\r\n",
                        "ma n1 Dx\r\n", "ma n1 Jx\r\n", "ma n1 MX\r\n", "me nokey\r\n", "me\r\n", "ms a x\r\n", "ms a\r\n",
                        "ms a -1\r\n", "ms a 2 MX\r\nhi\r\n", "ms a 2 MSS\r\nhi\r\n", "ms a 2 Fx\r\nhi\r\n",
                        "ms a 2 c c\r\nhi\r\n", "ms a 2\r\nhix\r\n", f"mg a O{'x' * 40}\r\n", f"mg {'k' * 251}\r\n"]),
    ]
    made = meta * 2 + [
        lambda: f"get {some()}\r\n", lambda: f"get {some()}\r\n", lambda: f"gets {some()}\r\n",
        lambda: store("set"), lambda: store("set"), lambda: store("add"), lambda: store("replace"),
        lambda: store("append"), lambda: store("prepend"),
        lambda: (store("cas", f" {version[0]}"), store("cas", f" {version[1]}")),
        lambda: f"delete {key}{choose(['', '', ' 0', ' 5', ' noreply', ' 0 noreply', ' x y'])}\r\n",
        lambda: f"incr {count} {choose(['1', '5', 'x', '-1'])}{quiet}\r\n",
        lambda: f"decr {count} {choose(['1', '5', '18446744073709551615', 'x', '-1'])}{quiet}\r\n",
        lambda: f"set {count} 7 0 {len(number)}{quiet}\r\n{number}\r\n",
        lambda: f"get n1 n2\r\n",
        lambda: f"touch {key} {choose(['0', '1000', '-1', 'x'])}{quiet}\r\n",
        lambda: f"gat {choose(['0', '1000', 'x'])} {some()}\r\n", lambda: f"gats 1000 {key}\r\n",
        lambda: choose(["nothing\r\n", "get\r\n", "set a\r\n", "SET a 0 0 1\r\n", "incr a\r\n", "touch a\r\n",
                        "gat 5\r\n", "delete\r\n", "mn\r\n", "verbosity 1\r\n", "verbosity\r\n", "\r\n",
                        # (A get of a key that is too long lets memcached 1.6.18 forget what it had to say before.)
                        f"delete {'k' * 251}\r\n", f"incr {'k' * 251} 1\r\n", "verbosity x\r\n",
                        "set a 0 0 2\r\nhix\r\n", "set big 0 0 2000000\r\n" + "x" * 2000000 + "\r\n", "flush_all x\r\n"]),
        lambda: choose(["flush_all\r\n", "flush_all noreply\r\n", "flush_all 0\r\n"]) if choose(range(10)) == 0 else "mn\r\n",
    ]
    return choose(made)()


def random_part(choose, known):
    """Some of these in any order."""
    known = list(known)
    part = []
    for _ in range(choose(range(len(known) + 1))):
        part.append(known.pop(choose(range(len(known)))))
    return part


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.versions = {}

    def ask(self, data, mark):
        """What is answered before the answer to a last command."""
        self.socket.sendall(data.encode("latin-1") + b"mn\r\nversion\r\n")
        answer = b""
        while not re.search(rb"(^|\n)MN\r\nVERSION [^\r\n]*\r\n$", answer):
            more = self.socket.recv(1 << 20)
            if not more:
                raise SystemExit(f"the connection ended after {answer!r}")
            answer += more
        return answer[: answer.rindex(b"MN\r\nVERSION ")].decode("latin-1")

    def told(self, answer):
        """The answer with versions replaced by numbers, and the versions."""
        seen = []

        def replace(match):
            version = match[2] or match[4]
            if version == "0":
                return match[0]
            number = self.versions.setdefault(version, len(self.versions))
            seen.append(version)
            return f"{match[1] or match[3]} #{number}{'' if match[4] else chr(13) + chr(10)}"

        answer = re.sub(r"VALUE (n\d \d+) \d+\r\n(\d+) *\r\n", r"VALUE \1 \2\r\n", answer)
        # A second may begin in between.
        answer = re.sub(r"(?m)^((?:HD|VA \d+)(?: \S+)*? [tl])\d+", r"\1~", answer)
        answer = re.sub(r"(?m)^((?:HD|VA \d+)(?: \S+)*? [tl])\d+", r"\1~", answer)
        return re.sub(r"(VALUE \S+ \d+ \d+) (\d+)\r\n|(?m:^)((?:HD|VA \d+|EX|NS|NF)(?: \S+)*? c)(\d+)", replace, answer), seen


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("larder", type=int)
    parser.add_argument("memcached", type=int)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--single", action="store_true", help="each command by itself, and print what was said")
    parser.add_argument("--commands", type=int, default=5_000)
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    servers = [Connection(given.larder), Connection(given.memcached)]
    for server in servers:
        server.ask("flush_all\r\n", 0)
    versions, count = [], 0
    while count < given.commands:
        batch = [command(chance.choice, versions) for _ in range(chance.choice([1, 1, 5, 50]))]
        batch = [words if isinstance(words, tuple) else (words, words) for words in batch]
        # memcached 1.6.18 now and then ends a connection at which more than the 16 KiB of its buffer arrive at once.
        while len(batch) > 1 and sum(len(words[1]) for words in batch) > 12 << 10:
            batch.pop()
        # One by one, or several at a time.
        steps = [[words] for words in batch] if given.single or chance.random() < 0.5 else [batch]
        for step in steps:
            count += len(step)
            answers = [server.ask("".join(words[index] for words in step), count) for index, server in enumerate(servers)]
            (ours, our_versions), (theirs, their_versions) = (server.told(text) for server, text in zip(servers, answers))
            if given.single:
                print(count, repr(step[0][0])[:100], repr(ours)[:100], repr(theirs)[:100])
            if ours != theirs:
                at = next((at for at, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1]), 0)
                ours, theirs = (text[max(0, at - 100) : at + 100] for text in (ours, theirs))
                print("the last commands: ", [words[0][:60] for words in step], file=sys.stderr)
                print(f"command {count}: Larder says …{ours!r}, memcached …{theirs!r}", file=sys.stderr)
                print(f"again: --seed {seed} --commands {count}", file=sys.stderr)
                return 1
            versions = (versions + list(zip(our_versions, their_versions)))[-20:]
    print(f"{count} commands, and no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
