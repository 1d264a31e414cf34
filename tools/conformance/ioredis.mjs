// Every operation that Larder offers, by ioredis.
//   node ioredis.mjs PORT
// The server may be Larder, Redis or Valkey; all get the same assertions. Its data is removed.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const Redis = createRequire(process.cwd() + "/")("ioredis");
const r = new Redis(Number(process.argv[2]));
await r.flushall();

assert.equal(await r.set("a", "1"), "OK");
assert.equal(await r.set("a", "2", "NX"), null);
assert.equal(await r.set("a", "2", "EX", 100, "XX"), "OK");
assert.equal(await r.set("a", "3", "KEEPTTL", "GET"), "2");
assert.ok((await r.ttl("a")) > 90 && (await r.pttl("a")) > 90_000);
assert.deepEqual(await r.mget("a", "none"), ["3", null]);
assert.equal(await r.mset({ b: "1", c: "2" }), "OK");
assert.equal(await r.msetnx("b", "9"), 0);
assert.equal(await r.setnx("d", "9"), 1);
assert.equal(await r.getset("d", "8"), "9");
assert.equal(await r.getdel("d"), "8");
assert.equal(await r.getex("c", "EX", 50), "2");
assert.equal(await r.append("s", "abc"), 3);
assert.equal(await r.strlen("s"), 3);
assert.equal(await r.getrange("s", 1, -1), "bc");
assert.equal(await r.setrange("s", 1, "xyz"), 4);
assert.equal(await r.incr("n"), 1);
assert.equal(await r.incrby("n", 5), 6);
assert.equal(await r.decrby("n", 2), 4);
assert.equal(await r.incrbyfloat("f", 1.5), "1.5");
await assert.rejects(r.incr("s"), /not an integer/);
assert.equal(await r.exists("a", "b", "none"), 2);
assert.equal(await r.touch("a", "none"), 1);
assert.equal(await r.type("a"), "string");
assert.equal(await r.expire("b", 100, "NX"), 1);
assert.equal(await r.persist("b"), 1);
assert.equal(await r.pexpireat("b", Date.now() - 1000), 1);
assert.equal(await r.exists("b"), 0);
assert.equal(await r.del("c", "none"), 1);
assert.deepEqual(await r.getBuffer("s"), Buffer.from("axyz"));

const pipeline = r.pipeline();
for (let number = 0; number < 1000; number++) pipeline.set(`k${number}`, number).get(`k${number}`);
const answers = await pipeline.exec();
assert.ok(answers.every(([error, answer], index) => !error && answer === (index % 2 ? String(index >> 1) : "OK")));
const found = new Set();
for await (const keys of r.scanStream({ match: "k*", count: 100 })) keys.forEach((key) => found.add(key));
assert.equal(found.size, 1000);
assert.equal((await r.keys("k1??")).length, 100);
assert.ok((await r.dbsize()) >= 1000);
assert.ok(await r.randomkey());

const transaction = await r.multi().set("t", "x").incr("t").get("t").exec();
assert.equal(transaction[0][1], "OK");
assert.match(transaction[1][0].message, /not an integer/);
assert.equal(transaction[2][1], "x");
await r.watch("t");
const other = new Redis(Number(process.argv[2]));
await other.set("t", "changed");
assert.equal(await r.multi().set("t", "lost").exec(), null);
assert.equal(await r.get("t"), "changed");

assert.equal(await r.ping(), "PONG");
assert.equal(await r.echo("hi"), "hi");
assert.ok((await r.client("ID")) > 0);
assert.match(await r.client("LIST"), /addr=/);
assert.match(await r.info("server"), /redis_version:/);
assert.deepEqual(await r.config("GET", "appendonly"), ["appendonly", "no"]);
assert.ok((await r.command("COUNT")) > 50);
assert.equal((await r.time()).length, 2);
assert.equal(await r.select(0), "OK");
await assert.rejects(r.select(9999), /out of range/);
await r.flushdb();
assert.equal(await r.dbsize(), 0);
r.disconnect();
other.disconnect();
console.log("right");
