// Every operation of memcached's text protocol that npm's memcached has.
//   node memcached.mjs PORT
// The server may be Larder or memcached; both get the same assertions. Its data is removed.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { promisify } from "node:util";

const Memcached = createRequire(process.cwd() + "/")("memcached");
const client = new Memcached(`127.0.0.1:${process.argv[2]}`);
const names = ["get", "gets", "getMulti", "set", "add", "replace", "append", "prepend", "cas", "del", "incr", "decr", "touch",
  "flush", "stats", "version"];
const call = Object.fromEntries(names.map((name) => [name, promisify(client[name]).bind(client)]));

await call.flush();
assert.equal(await call.set("a", "1", 100), true);
assert.equal(await call.get("a"), "1");
assert.equal(await call.get("none"), undefined);
await assert.rejects(call.add("a", "2", 0), /not stored/i);
assert.equal(await call.add("b", "2", 0), true);
assert.equal(await call.replace("a", "3", 0), true);
assert.equal(await call.append("a", "4"), true);
assert.equal(await call.prepend("a", "2"), true);
assert.equal(await call.get("a"), "234");
const { cas } = await call.gets("a");
assert.equal(await call.cas("a", "new", cas, 0), true);
assert.equal(await call.cas("a", "lost", cas, 0), false);
assert.deepEqual(await call.getMulti(["a", "b", "none"]), { a: "new", b: "2" });
assert.equal(await call.set("n", 5, 0), true);
assert.equal(await call.incr("n", 3), 8);
assert.equal(await call.decr("n", 10), 0);
assert.equal(await call.touch("b", 100), true);
assert.equal(await call.set("object", { a: [1, 2] }, 0), true);
assert.deepEqual(await call.get("object"), { a: [1, 2] });
assert.equal(await call.set("bytes", Buffer.from([0, 13, 10, 255]), 0), true);
assert.deepEqual(await call.get("bytes"), Buffer.from([0, 13, 10, 255]));
assert.equal(await call.del("a"), true);
assert.equal(await call.del("a"), false);
assert.ok((await call.stats())[0].curr_items >= 1);
assert.ok((await call.version())[0].version);
await call.flush();
assert.equal(await call.get("b"), undefined);
client.end();
console.log("right");
