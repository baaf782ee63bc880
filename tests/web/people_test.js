import assert from "node:assert/strict";
import { isFor, mentioned } from "../../gischat/web/mentions.js";
import { look } from "../../gischat/web/people.js";
import { day } from "../../gischat/web/time.js";

Deno.test("names that eyes take for the same look the same", () => {
  assert.equal(look("Jane_GIS"), look("jane-gis"));
  assert.equal(look("BILL"), look("b1ll"));
  assert.notEqual(look("jane"), look("janet"));
});

Deno.test("a mention begins with an @, and is for one, or for all", () => {
  assert.deepEqual(mentioned("hi @jane!"), [["hi ", ""], ["@jane", "jane"], ["!", ""]]);
  assert.ok(isFor("hi @JANE", "jane"));
  assert.ok(isFor("@all: look", "jane"));
  assert.ok(!isFor("hi @janet", "jane"));
  assert.ok(!isFor("@all", ""));
});

Deno.test("a clock that is wrong by years has no day", () => {
  assert.equal(day(0), null);
  assert.equal(day(253_370_764_800), null);
  assert.ok(day(Math.floor(Date.now() / 1000)));
});
