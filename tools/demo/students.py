#!/usr/bin/env python3
"""Students and scores: a table of rows behind an HTTP server, and a cluster of three Larder nodes that read it through.

Starts everything on free ports of this machine, asks by HTTP and with larder-cli, then sends a burst of gets for one
student to all nodes at once, and prints how many requests the origin saw. Everything ends with it.

    tools/demo/students.py [--binaries target/release] [--gets 3000]
"""
import argparse
import concurrent.futures
import http.client
import http.server
import json
import pathlib
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

STUDENTS = {"Tom": 630, "Jack": 589, "Sam": 567, "Anna Maria": 701}
NODES = ("a", "b", "c")
PATIENCE_S = 30
# How long the origin takes for an answer: long enough for a burst to arrive meanwhile.
ORIGIN_S = 0.3


class Origin(http.server.ThreadingHTTPServer):
    """The table of scores, by HTTP: GET /scores/NAME."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.lock = [], threading.Lock()
        self.rows = sqlite3.connect(":memory:", check_same_thread=False)
        self.rows.execute("create table scores (student text primary key, score integer)")
        self.rows.executemany("insert into scores values (?, ?)", STUDENTS.items())

    def score(self, student):
        with self.lock:
            self.requests.append(student)
            row = self.rows.execute("select score from scores where student = ?", (student,)).fetchone()
        time.sleep(ORIGIN_S)
        return row and row[0]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        score = self.server.score(urllib.parse.unquote(self.path.rsplit("/", 1)[1]))
        body = b"" if score is None else str(score).encode()
        self.send_response(404 if score is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=60")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Processes:
    """What was started, and ends with this."""

    def __init__(self, folder):
        self.folder, self.running = folder, []

    def start(self, name, *command):
        log = open(self.folder / f"{name}.log", "wb")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        self.running.append(process)
        return process

    def end(self):
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def start_etcd(processes):
    """etcd says on which ports it listens, if it is left to choose them, in its log."""
    processes.start(
        "etcd", "etcd", "--data-dir", str(processes.folder / "etcd"),
        "--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls", "http://127.0.0.1:0",
        "--listen-peer-urls", "http://127.0.0.1:0", "--logger", "zap", "--log-outputs", "stderr",
    )  # fmt: skip
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        for line in (processes.folder / "etcd.log").read_text(errors="replace").splitlines():
            if "serving client traffic" in line or "serving insecure client requests" in line:
                return json.loads(line)["address"]
        time.sleep(0.05)
    sys.exit("etcd does not start: see apt-get install etcd-server, or make test, which installs it")


def start_node(processes, binaries, name, etcd, config):
    return processes.start(
        f"larder-{name}", binaries / "larder", "serve", "--config", config, "--node-id", name, "--etcd", etcd,
        "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--resp", "off", "--memcache", "off", "--memory", "64MiB", "--shards", "2",
    )  # fmt: skip


def ready(node, name, folder):
    line = node.stdout.readline()
    if not line:
        sys.exit(f"node {name} does not start:\n{(folder / f'larder-{name}.log').read_text()}")
    return json.loads(line)["listen"]


def get(address, student):
    """What a node says of a student by the interface of the groupcache family: status and body."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
    connection.request("GET", f"/api?group=scores&key={urllib.parse.quote(student)}")
    response = connection.getresponse()
    status, body = response.status, response.read().decode()
    connection.close()
    return status, body


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", type=pathlib.Path, default=pathlib.Path("target/release"))
    parser.add_argument("--gets", type=int, default=3000, help="gets of the burst")
    arguments = parser.parse_args()
    origin = Origin()
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(pathlib.Path(folder))
        try:
            run(arguments, origin, processes)
        finally:
            processes.end()


def run(arguments, origin, processes):
    config = processes.folder / "larder.toml"
    config.write_text(
        '[[group]]\nname = "scores"\nmemory = "25%"\n[group.origin]\n'
        f'url = "http://127.0.0.1:{origin.server_address[1]}/scores/{{key}}"\n'
    )
    etcd = start_etcd(processes)
    nodes = [start_node(processes, arguments.binaries, name, etcd, config) for name in NODES]
    listens = [ready(node, name, processes.folder) for node, name in zip(nodes, NODES)]
    wait_for_ring(arguments, listens)
    print(f"three nodes, HTTP on {', '.join(listen['http'] for listen in listens)}; the origin has {len(STUDENTS)} rows")

    for student, listen in zip((*STUDENTS, "Nobody"), 2 * listens):
        url = f"http://{listen['http']}/api?group=scores&key={urllib.parse.quote(student)}"
        answer = subprocess.run(("curl", "-sS", url), capture_output=True, text=True, check=True).stdout
        print(f"  curl '{url}': {answer}")
        expected = STUDENTS.get(student)
        assert answer == str(expected) if expected else "not_found" in answer, answer
    command = (arguments.binaries / "larder-cli", "--addr", listens[1]["native"], "--group", "scores", "get", "Tom")
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    print(f"  larder-cli --group scores get Tom: {printed.strip()}")
    assert printed.strip() == str(STUDENTS["Tom"]), printed
    seen = len(origin.requests)
    print(f"the origin saw {seen} requests, one for each name")
    assert seen == len(STUDENTS) + 1, origin.requests

    # Forgotten everywhere, so that all of a burst miss.
    subprocess.run((*command[:5], "invalidate"), check=True, stdout=subprocess.DEVNULL)
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda number: get(listens[number % 3]["http"], "Sam"), range(arguments.gets)))
    took = time.monotonic() - began
    assert set(answers) == {(200, str(STUDENTS["Sam"]))}, set(answers)
    more = len(origin.requests) - seen
    print(f"{arguments.gets} gets of one student over all nodes, in {took:.2f} s: the origin saw {more} request(s)")
    assert more == 1, origin.requests[seen:]


def wait_for_ring(arguments, listens):
    """Until every node goes by a ring of all."""
    until = time.monotonic() + PATIENCE_S
    for listen in listens:
        while True:
            command = (arguments.binaries / "larder-cli", "--json", "--addr", listen["native"], "topology")
            nodes = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["nodes"]
            if len(nodes) == len(NODES):
                break
            if time.monotonic() > until:
                sys.exit(f"after {PATIENCE_S} s there are {len(nodes)} nodes in the ring")
            time.sleep(0.05)


if __name__ == "__main__":
    main()
