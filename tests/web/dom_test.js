import assert from "node:assert/strict";
import { characters, shorten } from "../../gischat/web/dom.js";

Deno.test("text is counted in characters, as the server counts", () => {
  assert.equal(characters("né🗺️"), 4);
});

Deno.test("a long text is cut between characters, and says so", () => {
  assert.equal(shorten("🗺🗺🗺", 3), "🗺🗺🗺");
  assert.equal(shorten("🗺🗺🗺🗺", 3), "🗺🗺…");
});
