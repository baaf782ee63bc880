/** Coordinates in a layer's own CRS, as far as its definition can be computed with in a browser. A chunk of its own. */

import proj4 from "proj4";

/**
 * A function from [longitude, latitude] to [x, y] in a CRS, x to the east; null where PROJ4JS cannot do it.
 *
 * Without the grids of datum shifts: it may be some metres beside what PROJ says.
 */
export function projector(wkt) {
  try {
    const { forward } = proj4("EPSG:4326", wkt);
    return forward([0, 0]).length === 2 ? (position) => guarded(forward, position) : null;
  } catch {
    return null;
  }
}

function guarded(forward, position) {
  try {
    const found = forward([...position]);
    return found.every(Number.isFinite) ? found : null;
  } catch {
    return null; // outside of what the projection is defined for
  }
}
