/** GeoJSON as OpenLayers' geometries, and the sources that hold them. */

import GeoJSON from "ol/format/GeoJSON.js";
import VectorSource from "ol/source/Vector.js";

const format = new GeoJSON({ featureProjection: "EPSG:3857" });

/** A GeoJSON geometry in Web Mercator. */
export const readGeometry = (geometry) => format.readGeometry(geometry);

/** A source whose features are drawn in batches, since the order of overlapping ones does not show. */
export const fastSource = () => new VectorSource({ overlaps: false });
