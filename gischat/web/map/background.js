/** The layers around the features: land and borders, the operator's tiles, the graticule, the countries' names. */

import Feature from "ol/Feature.js";
import Graticule from "ol/layer/Graticule.js";
import Fill from "ol/style/Fill.js";
import Stroke from "ol/style/Stroke.js";
import Style from "ol/style/Style.js";
import Text from "ol/style/Text.js";
import { textHeights } from "ol/render/canvas.js";
import TileLayer from "ol/layer/Tile.js";
import VectorImageLayer from "ol/layer/VectorImage.js";
import VectorLayer from "ol/layer/Vector.js";
import VectorSource from "ol/source/Vector.js";
import XYZ from "ol/source/XYZ.js";
import { parts } from "../geo.js";
import { fastSource, readGeometry } from "./sources.js";
import { FONT } from "./styles.js";
import { countries, detailedWorld, world } from "./world.js";

const DETAILED = 3000; // metres per pixel, below which the coarse coasts would look coarse
const LETTER = 5; // pixels per letter that a country must have to show its name
const GRID_FONT = "11px system-ui, sans-serif";
// OpenLayers would measure them by setting innerHTML, which the page's policy (Trusted Types) forbids.
Object.assign(textHeights, { [FONT]: 15, [GRID_FONT]: 14 });

export class Background {
  #land = fastSource();
  #borders = fastSource();
  #layers;
  #graticule = null;
  #detail = null; // the promise of the detailed world

  constructor(tiles) {
    this.#layers = {
      land: new VectorImageLayer({ source: this.#land, imageRatio: 1.5 }),
      borders: new VectorImageLayer({ source: this.#borders, imageRatio: 1.5 }),
      tiles: tiles ? new TileLayer({ source: new XYZ({ url: tiles }) }) : null,
      countries: new VectorLayer({ source: countryNames(), declutter: true, visible: !tiles }),
    };
    this.#fill(world);
  }

  /** The layers below the features. */
  get below() {
    const { land, borders, tiles } = this.#layers;
    return [land, borders, tiles, this.#graticule].filter(Boolean);
  }

  /** The layer above them. */
  get names() {
    return this.#layers.countries;
  }

  /** Changes the colours; the graticule is another layer then. */
  setLook(look) {
    const { land, borders, countries } = this.#layers;
    const coast = new Stroke({ color: look.coast, width: 1 });
    land.setStyle(new Style({ fill: new Fill({ color: look.land }), stroke: coast }));
    borders.setStyle(new Style({ stroke: new Stroke({ color: look.border, width: 1, lineDash: [4, 3] }) }));
    countries.setStyle(nameStyle(look));
    this.#graticule = graticule(look);
  }

  /** Loads the detailed coasts once the user has zoomed in enough. */
  refine(resolution) {
    if (this.#detail || resolution > DETAILED) return;
    this.#detail = detailedWorld().then((detailed) => this.#fill(detailed), () => (this.#detail = null));
  }

  #fill({ land, borders }) {
    for (const [source, geometries] of [[this.#land, land], [this.#borders, borders]]) {
      source.clear(true);
      source.addFeatures(geometries.map((geometry) => new Feature(readGeometry(geometry))));
    }
  }
}

function nameStyle({ label, labelHalo }) {
  const text = new Text({
    font: FONT,
    fill: new Fill({ color: label }),
    stroke: new Stroke({ color: labelHalo, width: 3 }),
  });
  const style = new Style({ text });
  return (feature, resolution) => {
    const { name, width } = feature.getProperties();
    if (width / resolution < name.length * LETTER) return undefined;
    text.setText(name);
    return style;
  };
}

function graticule({ grid, label }) {
  const text = { font: GRID_FONT, fill: new Fill({ color: label }) };
  return new Graticule({
    strokeStyle: new Stroke({ color: grid, width: 0.8 }),
    targetSize: 120,
    showLabels: true,
    wrapX: true,
    lonLabelStyle: new Text({ ...text, textBaseline: "bottom" }),
    latLabelPosition: 0, // at the left, since the tools are at the right
    latLabelStyle: new Text({ ...text, textAlign: "start" }),
  });
}

/** The positions of countries' names: in the largest part of each, the largest country first. */
function countryNames() {
  const named = countries.map(([name, geometry]) => {
    const [largest] = [...parts(geometry)].map((part) => /** @type {any} */ (readGeometry(part)))
      .sort((one, other) => other.getArea() - one.getArea());
    const [west, , east] = largest.getExtent();
    const feature = new Feature(largest.getInteriorPoint());
    feature.setProperties({ name, width: east - west, area: largest.getArea() }, true);
    return feature;
  });
  return new VectorSource({ features: named.sort((one, other) => other.get("area") - one.get("area")) });
}
