#!/usr/bin/env python3
"""A Larder client of some forty lines, and a command: a socket, and what protoc generates from proto/larder.proto."""
import socket
import struct
import sys

import larder_pb2 as pb


class LarderError(Exception):
    def __init__(self, response):
        self.status, self.retry_after_ms = response.status, response.retry_after_ms
        super().__init__(f"{pb.Status.Name(response.status)}: {response.message}")


class Client:
    def __init__(self, address="127.0.0.1:7400", timeout=5.0, group=0):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout)
        self.stream, self.group, self.last_id = self.socket.makefile("rb"), group, 0

    def send(self, **operation):
        self.last_id += 1
        request = pb.Request(id=self.last_id, group=self.group, **operation).SerializeToString()
        self.socket.sendall(struct.pack(">I", len(request)) + request)
        return self.last_id

    def receive(self):
        prefix = self.stream.read(4)
        body = self.stream.read(struct.unpack(">I", prefix)[0]) if len(prefix) == 4 else b""
        if len(prefix) < 4 or len(body) < struct.unpack(">I", prefix)[0]:
            raise ConnectionError("the server closed the connection")
        return pb.Response.FromString(body)

    def call(self, **operation):
        sent, response = self.send(**operation), self.receive()
        if response.id != sent or response.status not in (pb.OK, pb.NOT_FOUND):
            raise LarderError(response)
        return response

    def get(self, key):
        response = self.call(get=pb.Get(key=key))
        return response.entry.value if response.status == pb.OK else None

    def set(self, key, value, **options):
        return self.call(set=pb.Set(key=key, value=value, **options)).stored.version

    def delete(self, key):
        return self.call(delete=pb.Delete(key=key)).status == pb.OK

    def get_many(self, keys):
        entries = self.call(get_many=pb.GetMany(keys=keys)).entries.entries
        return [entry.value if entry.status == pb.OK else None for entry in entries]


def main(address, command, *arguments):
    client, keys = Client(address), [argument.encode() for argument in arguments]
    results = client.get_many(keys) if command == "get_many" else [getattr(client, command)(*keys)]
    for result in results:
        print(result.decode(errors="replace") if isinstance(result, bytes) else result)
    return 0 if all(result not in (None, False) for result in results) else 1


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[2] not in ("get", "set", "delete", "get_many"):
        sys.exit(f"usage: {sys.argv[0]} HOST:PORT get KEY | set KEY VALUE | delete KEY | get_many KEY...")
    sys.exit(main(*sys.argv[1:]))
