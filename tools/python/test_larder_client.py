#!/usr/bin/env python3
"""Puts a running server through its paces with larder_client.py: test_larder_client.py HOST:PORT.

Needs protoc and Python's protobuf library. Exit code 0 only if every check holds.
"""
import pathlib
import struct
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parent.parent / "proto"
ADDRESS = ""


def generate(folder):
    """Makes larder_pb2 for the protobuf library that is installed, and lets it be imported."""
    command = ["protoc", f"--python_out={folder}", f"--proto_path={PROTO}", "larder.proto"]
    subprocess.run(command, check=True)
    sys.path[:0] = [folder, str(HERE)]


def key(name):
    return b"python-client-test " + name.encode()


class LarderClientTest(unittest.TestCase):
    def setUp(self):
        import larder_client
        import larder_pb2

        self.pb, self.module = larder_pb2, larder_client
        self.client = larder_client.Client(ADDRESS)
        self.addCleanup(self.client.socket.close)
        self.addCleanup(self.client.stream.close)

    def assert_status(self, status, **operation):
        with self.assertRaises(self.module.LarderError) as raised:
            self.client.call(**operation)
        self.assertEqual(raised.exception.status, status, raised.exception)

    def test_hello_names_limits_groups_and_the_ring(self):
        hello = self.client.call(hello=self.pb.Hello(protocol=1, client="test_larder_client.py")).hello
        self.assertEqual(hello.protocol, 1)
        self.assertGreater(hello.limits.frame_bytes_max, hello.limits.value_bytes_max)
        groups = {group.name: group.hash for group in hello.groups}
        self.assertIn("default", groups)
        self.assertIn(hello.node, [node.id for node in hello.topology.nodes])
        self.assertEqual(self.client.call(topology=self.pb.TopologyQuery()).topology, hello.topology)

    def test_set_get_delete(self):
        name = key("plain")
        self.client.delete(name)
        self.assertIsNone(self.client.get(name))
        first = self.client.set(name, b"\x00\xff value", flags=0xDEADBEEF)
        self.assertGreater(first, 0)
        entry = self.client.call(get=self.pb.Get(key=name)).entry
        self.assertEqual((entry.value, entry.flags, entry.version), (b"\x00\xff value", 0xDEADBEEF, first))
        self.assertGreater(self.client.set(name, b""), first)
        self.assertEqual(self.client.get(name), b"")
        self.assertTrue(self.client.delete(name))
        self.assertFalse(self.client.delete(name))

    def test_the_default_group_has_two_hashes(self):
        hello = self.client.call(hello=self.pb.Hello(protocol=1)).hello
        self.client.set(key("group"), b"42")
        self.client.group = next(group.hash for group in hello.groups if group.name == "default")
        self.assertEqual(self.client.get(key("group")), b"42")
        self.assertTrue(self.client.delete(key("group")))

    def test_a_value_of_a_mebibyte(self):
        value = bytes(range(256)) * 4096
        self.client.set(key("large"), value)
        self.assertEqual(self.client.get(key("large")), value)
        self.assertTrue(self.client.delete(key("large")))

    def test_get_many_keeps_the_order(self):
        names = [key(f"many {index}") for index in range(50)]
        for name in names[::2]:
            self.client.set(name, name[::-1])
        expected = [name[::-1] if index % 2 == 0 else None for index, name in enumerate(names)]
        self.assertEqual(self.client.get_many(names), expected)
        self.assertEqual(self.client.get_many([]), [])
        outcomes = self.client.call(delete_many=self.pb.DeleteMany(keys=names)).outcomes.outcomes
        self.assertEqual([outcome.status == self.pb.OK for outcome in outcomes], [index % 2 == 0 for index in range(50)])

    def test_conditions(self):
        name, pb = key("conditions"), self.pb
        self.client.delete(name)
        present = pb.Set(key=name, value=b"1", condition=pb.PRESENT)
        self.assertEqual(self.client.call(set=present).status, pb.NOT_FOUND)
        version = self.client.set(name, b"1", condition=pb.ABSENT)
        self.assert_status(pb.EXISTS, set=pb.Set(key=name, value=b"2", condition=pb.ABSENT))
        newer = self.client.set(name, b"2", condition=pb.VERSION, version=version)
        stale = pb.Set(key=name, value=b"3", condition=pb.VERSION, version=version)
        self.assert_status(pb.VERSION_MISMATCH, set=stale)
        self.assertEqual(self.client.get(name), b"2")
        self.assertGreater(newer, version)

    def test_expiry(self):
        name, pb = key("expiry"), self.pb
        self.client.set(name, b"soon gone", ttl_ms=300)
        ttl_ms = self.client.call(get=pb.Get(key=name)).entry.ttl_ms
        self.assertTrue(1 <= ttl_ms <= 300, ttl_ms)
        time.sleep(0.4)
        self.assertIsNone(self.client.get(name))
        self.client.set(name, b"to stay", ttl_ms=0)
        self.assertEqual(self.client.call(get=pb.Get(key=name)).entry.ttl_ms, 0)
        touched = self.client.call(get_and_touch=pb.Touch(key=name, ttl_ms=60_000)).entry
        self.assertTrue(touched.value == b"to stay" and 50_000 < touched.ttl_ms <= 60_000, touched)

    def test_increment_and_append(self):
        name, pb = key("number"), self.pb
        self.client.delete(name)
        self.assertEqual(self.client.call(increment=pb.Increment(key=name, delta=1)).status, pb.NOT_FOUND)
        created = self.client.call(increment=pb.Increment(key=name, delta=1, initial=-5)).number
        self.assertEqual(created.value, -5)
        self.assertEqual(self.client.call(increment=pb.Increment(key=name, delta=7)).number.value, 2)
        self.client.call(append=pb.Append(key=name, value=b" apples"))
        self.client.call(prepend=pb.Append(key=name, value=b"about "))
        self.assertEqual(self.client.get(name), b"about 2 apples")
        self.assert_status(pb.NOT_A_NUMBER, increment=pb.Increment(key=name, delta=1))

    def test_requests_may_be_pipelined(self):
        names = [key(f"pipelined {index}") for index in range(500)]
        sent = {self.client.send(set=self.pb.Set(key=name, value=name)): name for name in names}
        self.assertEqual({self.client.receive().id for _ in names}, set(sent))
        sent = {self.client.send(get=self.pb.Get(key=name)): name for name in names}
        found = {response.id: response.entry.value for response in (self.client.receive() for _ in names)}
        self.assertEqual(found, sent)

    def test_what_is_not_offered_or_not_there_leaves_the_connection_usable(self):
        pb = self.pb
        self.assert_status(pb.LEASE_LOST, lease_set=pb.LeaseSet(set=pb.Set(key=b"k"), token=7))
        self.assert_status(pb.NOT_SUPPORTED)
        self.client.group = 0x1234
        self.assert_status(pb.NO_SUCH_GROUP, get=pb.Get(key=b"k"))
        self.client.group = 0
        self.assertIsNone(self.client.get(key("nowhere")))

    def test_a_watch_tells_what_leaves_the_shard_of_its_connection(self):
        watched = self.client.send(watch=self.pb.Watch())
        begun = self.client.receive()
        self.assertEqual((begun.id, begun.WhichOneof("result")), (watched, "removals"))
        self.assertEqual((len(begun.removals.removals), begun.removals.missed), (0, 0))
        # So many that this shard has one of them, however many there are.
        names, asked, removed = {key(f"watched {index}") for index in range(100)}, set(), []
        for name in names:
            asked.add(self.client.send(set=self.pb.Set(key=name, value=b"value")))
            asked.add(self.client.send(delete=self.pb.Delete(key=name)))
        while asked or not removed:
            response = self.client.receive()
            asked.discard(response.id)
            removed += [entry for entry in response.removals.removals if entry.key in names]
        for entry in removed:
            self.assertEqual((entry.reason, entry.bytes), (self.pb.DELETED, len(entry.key) + 5))

    def test_malformed_messages_leave_the_connection_usable(self):
        for message, request_id, status in [
            (b"", 0, self.pb.NOT_SUPPORTED),
            (b"\x08\x07\xff", 7, self.pb.BAD_REQUEST),
            (b"\x32\x64\x0a\x01k", 0, self.pb.BAD_REQUEST),
        ]:
            self.client.socket.sendall(struct.pack(">I", len(message)) + message)
            response = self.client.receive()
            self.assertEqual((response.id, response.status), (request_id, status), message)
        self.assertIsNone(self.client.get(key("nowhere")))

    def test_a_frame_above_the_limit_closes_the_connection(self):
        self.client.socket.sendall(b"\xff\xff\xff\xff")
        response = self.client.receive()
        self.assertEqual((response.id, response.status), (0, self.pb.BAD_REQUEST))
        with self.assertRaises(ConnectionError):
            self.client.receive()

    def test_the_command(self):
        script = str(HERE / "larder_client.py")
        environment = {"PYTHONPATH": sys.path[0]}

        def run(*arguments):
            command = [sys.executable, script, ADDRESS, *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
            return done.returncode, done.stdout.strip()

        name = key("command").decode()
        self.assertEqual(run("set", name, "42")[0], 0)
        self.assertEqual(run("get", name), (0, "42"))
        self.assertEqual(run("get_many", name, name + "?"), (1, "42\nNone"))
        self.assertEqual(run("delete", name), (0, "True"))
        self.assertEqual(run("get", name), (1, "None"))
        self.assertNotEqual(run("frobnicate", name)[0], 0)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} HOST:PORT")
    ADDRESS = sys.argv.pop()
    with tempfile.TemporaryDirectory() as generated:
        generate(generated)
        unittest.main()
