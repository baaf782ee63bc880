import assert from "node:assert/strict";
import { Outbox } from "../../gischat/web/outbox.js";

Deno.test("a message that is not confirmed is sent once more, and then given up", () => {
  const happened = [];
  const alarms = [];
  const { setTimeout, clearTimeout } = globalThis;
  Object.assign(globalThis, { setTimeout: (alarm) => alarms.push(alarm), clearTimeout() {} });
  try {
    const post = (id) => ({ id, at: Date.now(), messages: [{ id }], refused: false, sentAt: null });
    const outbox = new Outbox("x", {
      send: ({ id }) => happened.push(`send ${id}`),
      onPost: ({ id, refused, messages }) => happened.push(`${id} ${messages.length} ${refused}`),
      onSilence: () => happened.push("silence"),
    });
    outbox.push(post("a"));
    outbox.resume();
    outbox.push(post("b"));
    alarms.at(-1)();
    outbox.pause();
    outbox.resume();
    alarms.at(-1)();
    outbox.settle("b");
    assert.equal(outbox.unsent, 1);
  } finally {
    Object.assign(globalThis, { setTimeout, clearTimeout });
  }
  // A line that is there, or lost, shows at each
  const firstTry = ["a 1 false", "a 1 false", "send a", "b 1 false", "silence"];
  const shown = ["a 1 false", "b 1 false"];
  assert.deepEqual(happened, [...firstTry, ...shown, ...shown, "send a", "a 1 true", "send b", "b 0 false"]);
});
