/** Coordinates in a layer's own CRS, by PROJ4JS. A separate chunk. */

import proj4 from "proj4";

/**
 * A function from [longitude, latitude] to [x, y] in a CRS, x to the east; null if PROJ4JS does not support the CRS.
 *
 * It uses no datum grids, so results may differ from PROJ's by some metres.
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
    return null; // outside the projection's domain
  }
}
