#!/usr/bin/env python3
"""Runs the suites of Valkey and memcached themselves against Larder: what fails must be on the lists below, with its reason.

    apt-get source --download-only memcached valkey     # or any other copy of their sources, unpacked
    tools/conformance/upstream.py --memcached memcached-1.6.38 --valkey valkey-8.1.1 --larder target/release/larder

Needs perl, and tclsh. Nothing of the sources is built; copies of their tests are used, in a temporary folder.
"""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

# Files of memcached's suite about what a client can see. Left out: extstore, proxy, TLS, SASL, the binary protocol, UDP, slab
# pages, the crawler, watchers, options of its command line.
MEMCACHED = """
bogus-commands cas chunked-items evictions expirations flags flush-all getandtouch getset incrdecr issue_104 issue_108 issue_14
issue_140 issue_152 issue_183 issue_192 issue_22 issue_29 issue_3 issue_41 issue_68 issue_70 malicious-commands metaget
misbehave multiversioning noreply quit refhang slabhang stats touch
""".split()

# By file: what fails, and why.
MEMCACHED_EXCUSED = {
    "flush-all": {
        "flush_all was not allowed": "there is no such option",
        "foo == 'fooval2'": "there is no such option",
    },
    "issue_183": {"Objects should be reclaimed": "an entry that was invalidated is no expired one"},
    "issue_22": {"check evicted": "there is one class for each group, and none by size"},
    "stats": dict.fromkeys(
        [
            "expected count of stats values",
            "initial bytes_written is zero",
            "initial get_flushed is zero",
            "initial listen_disabled_num is zero",
            "initial lrutail_reflocked is zero",
            "initial time_in_listen_disabled_us is zero",
            "initial store_too_large is zero",
            "initial store_no_memory is zero",
            "after flush and a get, get_flushed is 1",
            "recorded store failure due to value too large",
            "get_expired counter is 1",
            "",
        ],
        "what is not counted has no line, and entries that expired are counted when they are reclaimed",
    ),
}

# Units of Valkey's suite about commands that Larder has.
VALKEY = "type/string type/incr expire keyspace scan protocol multi introspection introspection-2 info-command other quit".split()

# It fails at a command that there is not, within a MULTI in which it leaves its connection to those that follow.
SKIPPED = ["--skiptest", "command stats for MULTI"]

# What fails though no command in it is foreign, and why.
VALKEY_EXCUSED = {
    "SET with IFEQ conditional": "an option of 8.1 that is not there",
    "SET with IFEQ conditional - with get": "an option of 8.1 that is not there",
    "Client can visit expired key in import-source state": "there is no import mode",
    "Regression for pattern matching very long nested loops": "a pattern is at most 255 bytes long",
    "HELLO and availability-zone": "there are no such zones",
    "EXEC and script timeout": "there are no scripts",
    "just EXEC and script timeout": "there are no scripts",
    "CONFIG SET with multiple args": "maxmemory and port are not set by clients",
    "CONFIG SET rollback on set error": "maxmemory and port are not set by clients",
    "CONFIG SET rollback on apply error": "maxmemory and port are not set by clients",
    "CONFIG GET hidden configs": "settings that Larder has not",
    "COMMAND LIST FILTERBY ACLCAT - list all commands/subcommands": "it looks for EVAL",
    "COMMAND LIST FILTERBY PATTERN - list all commands/subcommands": "it looks for CLUSTER",
    "COMMAND GETKEYSANDFLAGS": "it asks about commands that are not there",
    "COMMAND GETKEYS XGROUP": "it asks about commands that are not there",
    "COMMAND GETKEYS EVAL with keys": "it asks about commands that are not there",
    "COMMAND GETKEYS EVAL without keys": "it asks about commands that are not there",
    "COMMAND GETKEYS LCS": "it asks about commands that are not there",
    "COMMAND GETKEYS MORE THAN 256 KEYS": "it asks about commands that are not there",
    "client input output and command process statistics": "it asks about commands that are not there",
    "ZUNIONSTORE command is marked with movablekeys": "it asks about commands that are not there",
    "XREAD command is marked with movablekeys": "it asks about commands that are not there",
    "EVAL command is marked with movablekeys": "it asks about commands that are not there",
    "SORT command is marked with movablekeys": "it asks about commands that are not there",
    "SORT_RO command is marked with movablekeys": "it asks about commands that are not there",
    "MIGRATE command is marked with movablekeys": "it asks about commands that are not there",
    "GEORADIUS command is marked with movablekeys": "it asks about commands that are not there",
}


def listening(larder, folder, options):
    """A server, and where it listens."""
    ready = folder / "ready"
    with open(ready, "w") as out, open(folder / "larder.log", "w") as log:
        server = subprocess.Popen([larder, "serve", "--listen", "127.0.0.1:0", "--http", "off", *options], stdout=out, stderr=log)
    while not ready.read_text().endswith("\n"):
        if server.poll() is not None:
            sys.exit(f"larder does not start: {(folder / 'larder.log').read_text()}")
        signal.sigtimedwait([], 0.05)
    return server, json.loads(ready.read_text())["listen"]


def memcached(sources, larder, folder):
    """Names of what failed without an excuse."""
    suite = folder / "memcached"
    suite.mkdir()
    shutil.copytree(sources / "t", suite / "t")
    library = suite / "t/lib/MemcachedTest.pm"
    # There is no command that moves the clock, so time passes.
    moves = r'print \$sock "debugtime \$move\\r\\n";\s*<\$sock>;'
    text, count = re.subn(moves, "select undef, undef, undef, $move + 0.2;", library.read_text())
    if "debugtime" in library.read_text() and count != 1:
        sys.exit(f"{library}: this is not the suite that is known; look at mem_move_time")
    library.write_text(text)
    # It would wait for the end of a dump that is not begun.
    stats = suite / "t/stats.t"
    stats.write_text(re.sub(r'my \$cache_dump = .*\n.*cachedump"\);\n', "", stats.read_text()))
    (suite / "timedrun").write_text('#!/bin/sh\nshift\nexec "$@"\n')
    (suite / "memcached-debug").write_text(f"#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} --as-memcached {larder} \"$@\"\n")
    for program in ("timedrun", "memcached-debug"):
        (suite / program).chmod(0o755)
    wrong = []
    print("| memcached | right | excused | wrong |\n|---|---|---|---|")
    for name in MEMCACHED:
        file = suite / f"t/{name}.t"
        if not file.exists():
            continue
        run = subprocess.run(["perl", file], cwd=suite, capture_output=True, timeout=120, encoding="latin-1")
        right = re.findall(r"^ok \d+", run.stdout, re.M)
        failed = re.findall(r"^not ok \d+(?: - (.*))?", run.stdout, re.M)
        excused = MEMCACHED_EXCUSED.get(name, {})
        bad = [what for what in failed if what not in excused]
        if run.returncode not in (0, len(failed)) or "1.." not in run.stdout:
            bad.append(f"it ended with {run.returncode}: {run.stderr[-300:]}")
        bad += [f"excused, but right: {what}" for what in excused if what not in failed]
        print(f"| {name} | {len(right)} | {len(failed) - len([w for w in failed if w not in excused])} | {len(bad)} |")
        wrong += [f"{name}: {what}" for what in bad]
    return wrong


def as_memcached(larder, arguments):
    """Starts Larder with options of memcached."""
    if "-h" in arguments:
        print("memcached 1.6")
        return
    options, words = {"-m": "64", "-I": "1m", "-p": "11211"}, iter(arguments)
    for word in words:
        options[word] = next(words) if word in "-m -I -p -l -o -u -U -t -b -R -B -s -c".split() else ""
    most = options["-I"].lower()
    most = int(most[:-1]) * {"k": 1 << 10, "m": 1 << 20}[most[-1]] if most[-1] in "km" else int(most)
    memory = max(int(options["-m"]), 8)
    listen = ["--listen", "127.0.0.1:0", "--http", "off", "--resp", "off", "--memcache", f"127.0.0.1:{options['-p']}"]
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    os.execv(larder, [larder, "serve", *listen, "--memory", f"{memory}MiB", "--value-max", str(most), "--cores", "0", "--connections-max", "1024"])


def valkey(sources, larder, folder):
    """Names of what failed without an excuse."""
    suite = folder / "valkey"
    shutil.copytree(sources, suite, ignore=shutil.ignore_patterns("deps", ".git"))
    options = ["--resp", "127.0.0.1:0", "--memcache", "off", "--memory", "512MiB", "--value-max", "8MiB", "--cores", "0"]
    server, listen = listening(larder, folder, options)
    wrong = []
    print("| Valkey | right | without the command | excused | wrong |\n|---|---|---|---|---|")
    try:
        denied = "-needs:debug -needs:repl -needs:save -needs:config-maxmemory -needs:reset -cluster -large-memory"
        port = listen["resp"].rsplit(":", 1)[1]
        seen = set()
        for unit in VALKEY:
            run = subprocess.run(
                ["./runtest", *SKIPPED, "--host", "127.0.0.1", "--port", port, "--singledb", "--durable", "--verbose", "--ignore-encoding", "--tags", denied, "--single", f"unit/{unit}"],
                cwd=suite, capture_output=True, timeout=300, encoding="latin-1",
            )
            text = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout).split("\nThe End")[0].split("The End")[0]
            right = re.findall(r"^\[ok\]", text, re.M)
            failed = re.findall(r"^\[(?:err|exception)\]: (.*?) in tests/unit/.*?$(.*?)(?=^\[|\Z)", text, re.M | re.S)
            foreign = [what for what, why in failed if "unknown command" in why or "unknown subcommand" in why]
            others = [what for what, _ in failed if what not in foreign]
            bad = [what for what in others if what not in VALKEY_EXCUSED]
            if f"1/1 done" not in text or server.poll() is not None:
                bad.append(f"it did not end: {text[-300:]}")
            seen.update(others)
            print(f"| {unit} | {len(right)} | {len(foreign)} | {len(others) - len([w for w in others if w not in VALKEY_EXCUSED])} | {len(bad)} |")
            wrong += [f"{unit}: {what}" for what in bad]
        wrong += [f"excused, but right: {what}" for what in VALKEY_EXCUSED if what not in seen]
    finally:
        server.terminate()
        server.wait()
    return wrong


def main():
    if sys.argv[1:2] == ["--as-memcached"]:
        return as_memcached(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memcached", type=Path, help="sources of memcached")
    parser.add_argument("--valkey", type=Path, help="sources of Valkey")
    parser.add_argument("--larder", type=Path, default=Path("target/release/larder"), help="the program")
    given = parser.parse_args()
    larder, wrong = str(given.larder.resolve()), []
    with tempfile.TemporaryDirectory() as folder:
        if given.memcached:
            wrong += memcached(given.memcached, larder, Path(folder))
        if given.valkey:
            wrong += valkey(given.valkey, larder, Path(folder))
    print(*wrong, sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
