import assert from "node:assert/strict";
import { authid, understand } from "../../gischat/web/geojsonfile.js";

const point = (x, y) => ({ type: "Point", coordinates: [x, y] });
const feature = (geometry) => ({ type: "Feature", properties: {}, geometry });
const collection = (...features) => ({ type: "FeatureCollection", features });
const read = (content) => understand(JSON.stringify(content));

Deno.test("a collection, a feature and a geometry are all layers", () => {
  const layer = collection(feature(point(1, 2)));
  for (const content of [layer, layer.features[0], point(1, 2)]) {
    assert.deepEqual(read(content), { geojson: layer, crs: "EPSG:4326", count: 1 });
  }
});

Deno.test("the member crs names the CRS, and does not go along", () => {
  const crs = { type: "name", properties: { name: "urn:ogc:def:crs:EPSG::2154" } };
  const { geojson, crs: found } = read({ ...collection(feature(point(652381, 6862047))), crs });
  assert.equal(found, "EPSG:2154");
  assert.deepEqual(Object.keys(geojson), ["type", "features"]);
});

Deno.test("without it, coordinates beyond the degrees have to be asked for", () => {
  assert.equal(read(collection(feature(null), feature(point(652381, 6862047)))).crs, "");
});

Deno.test("the ways in which a CRS is named", () => {
  const names = {
    "urn:ogc:def:crs:OGC:1.3:CRS84": "EPSG:4326",
    "urn:ogc:def:crs:EPSG:9.8.2:27700": "EPSG:27700",
    "http://www.opengis.net/def/crs/EPSG/0/3857": "EPSG:3857",
    "EPSG:4326": "EPSG:4326",
    "epsg:2056": "EPSG:2056",
    "my own": null,
  };
  for (const [name, found] of Object.entries(names)) assert.equal(authid(name), found);
});

Deno.test("what is no layer is told apart", () => {
  assert.deepEqual(understand("PK\u0003\u0004"), { problem: "share_no_json" });
  assert.deepEqual(read({ type: "Topology" }), { problem: "share_no_geojson" });
  assert.deepEqual(read(null), { problem: "share_no_geojson" });
  assert.deepEqual(read(collection()), { problem: "share_no_features" });
  assert.deepEqual(read({ ...collection(feature(null)), crs: { type: "link" } }), { problem: "share_unknown_crs" });
});
