/** The map: bundled with OpenLayers into built/map.js, which the page loads when somebody opens it. */

import Map from "ol/Map.js";
import View from "ol/View.js";
import TopoJSON from "ol/format/TopoJSON.js";
import VectorImageLayer from "ol/layer/VectorImage.js";
import VectorSource from "ol/source/Vector.js";
import world from "world-atlas/countries-110m.json" with { type: "json" };

export function open(target) {
  const source = new VectorSource({ features: new TopoJSON().readFeatures(world) });
  return new Map({ target, layers: [new VectorImageLayer({ source })], view: new View({ center: [0, 0], zoom: 1 }) });
}
