// Every operation that Larder offers, by node-redis.
//   node node_redis.mjs PORT [2|3]
// The server may be Larder, Redis or Valkey; all get the same assertions. Its data is removed.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const { createClient } = createRequire(process.cwd() + "/")("redis");
const [, , port, version] = process.argv;
const options = { socket: { port: Number(port) }, RESP: Number(version ?? 2) };
const r = await createClient(options).connect();
await r.flushAll();

assert.equal(await r.set("a", "1"), "OK");
assert.equal(await r.set("a", "2", { NX: true }), null);
assert.equal(await r.set("a", "2", { EX: 100, XX: true }), "OK");
assert.equal(await r.set("a", "3", { KEEPTTL: true, GET: true }), "2");
assert.ok((await r.ttl("a")) > 90 && (await r.pTTL("a")) > 90_000);
assert.deepEqual(await r.mGet(["a", "none"]), ["3", null]);
assert.equal(await r.mSet({ b: "1", c: "2" }), "OK");
assert.ok(!(await r.mSetNX({ b: "9" })));
assert.equal(await r.getSet("b", "8"), "1");
assert.equal(await r.getDel("b"), "8");
assert.equal(await r.getEx("c", { EX: 50 }), "2");
assert.equal(await r.append("s", "abc"), 3);
assert.equal(await r.strLen("s"), 3);
assert.equal(await r.getRange("s", 1, -1), "bc");
assert.equal(await r.setRange("s", 1, "xyz"), 4);
assert.equal(await r.incr("n"), 1);
assert.equal(await r.incrBy("n", 5), 6);
assert.equal(await r.decrBy("n", 2), 4);
assert.equal(await r.incrByFloat("f", 1.5), "1.5");
await assert.rejects(r.incr("s"), /not an integer/);
assert.equal(await r.exists(["a", "c", "none"]), 2);
assert.equal(await r.touch(["a", "none"]), 1);
assert.equal(await r.type("a"), "string");
assert.ok(await r.expire("c", 100, "GT"));
assert.ok(await r.persist("c"));
assert.equal(await r.del(["c", "none"]), 1);

const many = Array.from({ length: 1000 }, (_, number) => number);
await Promise.all(many.map((number) => r.set(`k${number}`, String(number))));
assert.deepEqual(await Promise.all(many.map((number) => r.get(`k${number}`))), many.map(String));
const found = new Set();
for await (const keys of r.scanIterator({ MATCH: "k*", COUNT: 100 })) [].concat(keys).forEach((key) => found.add(key));
assert.equal(found.size, 1000);
assert.equal((await r.keys("k1??")).length, 100);
assert.ok((await r.dbSize()) >= 1000 && (await r.randomKey()));

assert.deepEqual(await r.multi().set("t", "1").incr("t").get("t").exec(), ["OK", 2, "2"]);
await r.watch("t");
const other = await createClient(options).connect();
await other.set("t", "changed");
await assert.rejects(r.multi().set("t", "lost").exec(), /watch/i);
assert.equal(await r.get("t"), "changed");

assert.equal(await r.ping(), "PONG");
assert.equal(await r.echo("hi"), "hi");
assert.ok((await r.clientId()) > 0);
assert.match(await r.info("server"), /redis_version:/);
assert.equal((await r.configGet("appendonly")).appendonly, "no");
assert.ok((await r.commandCount()) > 50);
assert.ok(await r.time());
await r.flushDb();
assert.equal(await r.dbSize(), 0);
await r.close();
await other.close();
console.log("right");
