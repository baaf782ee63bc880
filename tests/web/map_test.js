import assert from "node:assert/strict";
import { projector } from "../../gischat/web/map/crs.js";
import { countries, detailedWorld, world } from "../../gischat/web/map/world.js";
import { extent, parts } from "../../gischat/web/geo.js";

const LAMBERT_93 = `PROJCS["RGF93 / Lambert-93",GEOGCS["RGF93",DATUM["Reseau_Geodesique_Francais_1993",
SPHEROID["GRS 1980",6378137,298.257222101],TOWGS84[0,0,0,0,0,0,0]],PRIMEM["Greenwich",0],
UNIT["degree",0.0174532925199433]],PROJECTION["Lambert_Conformal_Conic_2SP"],
PARAMETER["standard_parallel_1",49],PARAMETER["standard_parallel_2",44],PARAMETER["latitude_of_origin",46.5],
PARAMETER["central_meridian",3],PARAMETER["false_easting",700000],PARAMETER["false_northing",6600000],
UNIT["metre",1],AXIS["X",EAST],AXIS["Y",NORTH],AUTHORITY["EPSG","2154"]]`;

Deno.test("no line of the world jumps to its other side", async () => {
  for (const { land, borders } of [world, await detailedWorld()]) {
    assert.ok(land.length > 100 && borders.length > 10);
    for (const { type, coordinates } of [...land, ...borders]) {
      for (const line of type === "Polygon" ? coordinates : [coordinates]) {
        const jumps = line.filter(([x, y], index) => index > 0 && Math.abs(x - line[index - 1][0]) > 180 && y > -90);
        assert.deepEqual(jumps, []);
      }
    }
  }
});

Deno.test("every country has a name and a place for it", () => {
  assert.ok(countries.length > 150);
  for (const [name, geometry] of countries) {
    assert.ok(name && [...parts(geometry)].length > 0);
    assert.ok(extent([geometry])[3] <= 90);
  }
});

Deno.test("coordinates are computed in a CRS by its text, where that can be read", () => {
  const [x, y] = projector(LAMBERT_93)([2.3522, 48.8566]);
  assert.ok(Math.hypot(x - 652469.02, y - 6862035.26) < 1, `${x}, ${y}`);
  assert.equal(projector('PROJCS["nothing"]'), null);
  assert.equal(projector(""), null);
});
