import assert from "node:assert/strict";
import { byMessage } from "../../gischat/web/feed.js";

const feature = (properties) => ({ type: "Feature", geometry: null, properties });

Deno.test("features are sorted by their message, and keep a layer's own properties alone", () => {
  const message = { type: "geojson", author: "jane", timestamp: 1, layer_name: "Wells", crs_authid: "EPSG:2154" };
  const features = [
    feature({ ...message, id: "a", depth: 3, layer: "own" }),
    feature({ ...message, id: "b", note: null }),
    feature({ ...message, id: "a", depth: 4 }),
  ];
  assert.deepEqual([...byMessage({ features })], [
    ["a", [{ geometry: null, properties: { depth: 3, layer: "own" } }, { geometry: null, properties: { depth: 4 } }]],
    ["b", [{ geometry: null, properties: { note: null } }]],
  ]);
});

Deno.test("a layer's properties that are called as the message's stay its own", () => {
  const properties = { id: 7, type: "oak", gischat_id: "a", gischat_type: "geojson", author: "jane" };
  assert.deepEqual([...byMessage({ features: [feature(properties)] })], [
    ["a", [{ geometry: null, properties: { id: 7, type: "oak" } }]],
  ]);
});
