/** The land and its borders: Natural Earth, in the topology of world-atlas. */

import { feature, mesh } from "topojson-client";
import { parts } from "../geo.js";
import coarse from "world-atlas/countries-110m.json" with { type: "json" };

/** What is drawn of a topology, as geometries of GeoJSON; a part each, for what is out of sight is not drawn. */
const drawn = (world) => ({
  land: [...parts(unwrapped(feature(world, world.objects.land).features[0].geometry))],
  borders: [...parts(unwrapped(mesh(world, world.objects.countries, (one, other) => one !== other)))],
});

/** A geometry whose lines go on beyond the antimeridian, where those of the topology jump to the world's other side. */
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

/** A ring that goes around a pole does not end where it began: Antarctica. */
function ring(positions) {
  const found = line(positions);
  const [first, last] = [found[0], found.at(-1)];
  return Math.abs(first[0] - last[0]) < 180 ? found : [...found, [last[0], -90], [first[0], -90], first];
}

export const world = drawn(coarse);

/** The countries as [name, geometry]. */
export const countries = feature(coarse, coarse.objects.countries).features.map(({ geometry, properties }) => [
  properties.name,
  unwrapped(geometry),
]);

/** The same in more detail; 240 kB, for those who look closer. */
export async function detailedWorld() {
  const { default: fine } = await import("world-atlas/countries-50m.json", { with: { type: "json" } });
  return drawn(fine);
}
