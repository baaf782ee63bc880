import assert from "node:assert/strict";
import { extent, geoUri, inWorld, lonLat, middle, wkt } from "../../gischat/web/geo.js";

const point = (x, y) => ({ type: "Point", coordinates: [x, y] });
const square = (west, east) => [[[west, -1], [east, -1], [east, 1], [west, 1], [west, -1]]];

Deno.test("an extent takes in all parts of all geometries, and nulls are none", () => {
  const line = { type: "LineString", coordinates: [[3, 4], [-1, 9]] };
  const both = { type: "GeometryCollection", geometries: [line, { type: "MultiPoint", coordinates: [[5, 5]] }] };
  assert.deepEqual(extent([both, null, point(2, 1)]), [-1, 1, 5, 9]);
  assert.equal(extent([null, { type: "Polygon", coordinates: [] }]), null);
});

Deno.test("what is cut at the antimeridian is put together again", () => {
  const cut = { type: "MultiPolygon", coordinates: [square(178, 180), square(-180, -179)] };
  assert.deepEqual(extent([cut]), [178, -1, 181, 1]);
  assert.deepEqual(middle(cut), [179.5, 0]);
  assert.deepEqual(extent([point(-10, 0), point(10, 0)]), [-10, 0, 10, 0]);
});

Deno.test("a longitude of another world is one of this", () => {
  assert.deepEqual([181, -190, 540, 12].map(inWorld), [-179, 170, -180, 12]);
});

Deno.test("positions are written longitude first, but in a geo: URI", () => {
  assert.equal(lonLat([2.35220000001, 48.8566]), "2.3522, 48.8566");
  assert.equal(geoUri([2.3522, 48.8566]), "geo:48.8566,2.3522");
});

Deno.test("well-known text of all kinds", () => {
  const texts = [
    [point(1, 2), "POINT (1 2)"],
    [{ type: "Point", coordinates: [] }, "POINT EMPTY"],
    [{ type: "Point", coordinates: [1, 2, 3] }, "POINT (1 2)"],
    [{ type: "LineString", coordinates: [[0, 0], [1e-7, 1.5]] }, "LINESTRING (0 0, 1e-7 1.5)"],
    [{ type: "MultiPoint", coordinates: [[0, 0], [1, 1]] }, "MULTIPOINT (0 0, 1 1)"],
    [{ type: "Polygon", coordinates: square(0, 2) }, "POLYGON ((0 -1, 2 -1, 2 1, 0 1, 0 -1))"],
    [{ type: "MultiPolygon", coordinates: [square(0, 1)] }, "MULTIPOLYGON (((0 -1, 1 -1, 1 1, 0 1, 0 -1)))"],
    [{ type: "GeometryCollection", geometries: [point(1, 2)] }, "GEOMETRYCOLLECTION (POINT (1 2))"],
    [{ type: "GeometryCollection", geometries: [] }, "GEOMETRYCOLLECTION EMPTY"],
  ];
  for (const [geometry, text] of texts) assert.equal(wkt(geometry), text);
});
