import assert from "node:assert/strict";
import { opacity, Sharers } from "../../gischat/web/live.js";

const position = (author, seconds, x = 2) => ({ author, x, y: 48, accuracy: 5, timestamp: 100, until: 100 + seconds });

Deno.test("the newest position of each counts, until its end by our own clock", () => {
  let now = 5e12;
  const sharers = new Sharers(() => now);
  sharers.hear(position("jane", 60));
  sharers.hear(position("jane", 60, 3));
  sharers.hear(position("john", 900));
  assert.deepEqual(sharers.all.map(({ author, x }) => [author, x]), [["jane", 3], ["john", 2]]);
  now += 61_000;
  assert.deepEqual(sharers.all.map(({ author }) => author), ["john"]);
  sharers.hear(position("john", 0));
  assert.deepEqual(sharers.all, []);
});

Deno.test("a position fades, and is never gone before its end", () => {
  assert.equal(opacity(0), 1);
  assert.ok(opacity(60) < 1 && opacity(60) > opacity(200));
  assert.equal(opacity(1e6), opacity(300));
  assert.ok(opacity(1e6) > 0.2);
});
