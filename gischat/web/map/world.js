/** The land and its borders: Natural Earth, in the topology of world-atlas. */

import { feature, mesh } from "topojson-client";
import coarse from "world-atlas/countries-110m.json" with { type: "json" };

/** What is drawn of a topology, as geometries and features of GeoJSON. */
const drawn = (world) => ({
  land: feature(world, world.objects.land).features[0].geometry,
  borders: mesh(world, world.objects.countries, (one, other) => one !== other),
  countries: feature(world, world.objects.countries).features,
});

export const world = drawn(coarse);

/** The same in more detail; 240 kB, for those who look closer. */
export async function detailedWorld() {
  const { default: fine } = await import("world-atlas/countries-50m.json", { with: { type: "json" } });
  return drawn(fine);
}
