/** Land and borders: Natural Earth, as TopoJSON of world-atlas. */

import { feature, mesh } from "topojson-client";
import { parts } from "../geo.js";
import coarse from "world-atlas/countries-110m.json" with { type: "json" };

/** A topology's land and borders as GeoJSON geometries, in single parts, so that those out of view are not drawn. */
const drawn = (world) => ({
  land: [...parts(unwrapped(feature(world, world.objects.land).features[0].geometry))],
  borders: [...parts(unwrapped(mesh(world, world.objects.countries, (one, other) => one !== other)))],
});

/** Unwraps a geometry: its lines continue beyond the antimeridian instead of jumping to the other side. */
function unwrapped({ type, coordinates }) {
  if (type.startsWith("Multi")) {
    const parts = coordinates.map((part) => unwrapped({ type: type.slice("Multi".length), coordinates: part }));
    return { type, coordinates: parts.map((part) => part.coordinates) };
  }
  return { type, coordinates: type === "Polygon" ? coordinates.map(ring) : line(coordinates) };
}

function line(positions) {
  let turns = 0;
  return positions.map(([x, y], index) => {
    const step = x - (positions[index - 1] ?? [x])[0];
    if (Math.abs(step) > 180) turns -= Math.sign(step);
    return [x + 360 * turns, y];
  });
}

/** Unwraps a ring, and closes one around a pole (Antarctica), which does not end where it began. */
function ring(positions) {
  const found = line(positions);
  const [first, last] = [found[0], found.at(-1)];
  return Math.abs(first[0] - last[0]) < 180 ? found : [...found, [last[0], -90], [first[0], -90], first];
}

export const world = drawn(coarse);

/** The countries, as [name, geometry]. */
export const countries = feature(coarse, coarse.objects.countries).features.map(({ geometry, properties }) => [
  properties.name,
  unwrapped(geometry),
]);

/** The same in more detail, 240 kB, for closer views. */
export async function detailedWorld() {
  const { default: fine } = await import("world-atlas/countries-50m.json", { with: { type: "json" } });
  return drawn(fine);
}
