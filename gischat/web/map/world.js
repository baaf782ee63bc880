/** The land and its borders: Natural Earth, in the topology of world-atlas. */

import { feature, mesh } from "topojson-client";
import coarse from "world-atlas/countries-110m.json" with { type: "json" };

/** What is drawn of a topology, as geometries and features of GeoJSON. */
const drawn = (world) => ({
  land: unwrapped(feature(world, world.objects.land).features[0].geometry),
  borders: unwrapped(mesh(world, world.objects.countries, (one, other) => one !== other)),
  countries: feature(world, world.objects.countries).features.map((country) => ({
    ...country,
    geometry: unwrapped(country.geometry),
  })),
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

/** The same in more detail; 240 kB, for those who look closer. */
export async function detailedWorld() {
  const { default: fine } = await import("world-atlas/countries-50m.json", { with: { type: "json" } });
  return drawn(fine);
}
