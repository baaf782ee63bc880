/**
 * The map: OpenLayers, independent of the page except for its colours. Bundled into built/map.js, which is loaded when
 * the map is first opened.
 *
 * All input and output is in WGS 84, longitude first; the view is in Web Mercator.
 */

import { defaults as defaultInteractions } from "ol/interaction/defaults.js";
import Feature from "ol/Feature.js";
import { circular } from "ol/geom/Polygon.js";
import OpenLayersMap from "ol/Map.js";
import { fromLonLat, toLonLat, transformExtent } from "ol/proj.js";
import VectorImageLayer from "ol/layer/VectorImage.js";
import VectorLayer from "ol/layer/Vector.js";
import VectorSource from "ol/source/Vector.js";
import Point from "ol/geom/Point.js";
import View from "ol/View.js";
import { extent, inWorld } from "../geo.js";
import { Background } from "./background.js";
import { fastSource, readGeometry } from "./sources.js";
import { byAuthor, chosen, person } from "./styles.js";

const WGS84 = "EPSG:4326";
const FLIGHT = 350; // milliseconds
const ZOOMING = 200; // likewise
const REDUCED_MOTION = matchMedia("(prefers-reduced-motion: reduce)");
const NEAREST = 16; // maximum zoom, so that a point is shown with its surroundings
const PADDING = 48; // pixels around what is shown
const TOLERANCE = 6; // pixels around a feature that still hit it

export class WorldMap {
  #handlers;
  #target;
  #view = new View({ center: [0, 2e6], zoom: 1, maxZoom: 20, enableRotation: false, multiWorld: true });
  #features = fastSource();
  #marked = new VectorSource();
  #live = new VectorSource();
  #people = []; // as they were given
  #background;
  #layers;
  #map;
  #hidden = new Set(); // ids of messages
  #byMessage = new Map(); // id -> features
  #styleOf;
  #look;
  #onPlace = null; // set while the user is asked for a place

  /**
   * `look` are CSS colours: land, coast, border, grid, label, halo, chosen, and `isDark`. Handlers:
   *   onPick(found)        [[message id, index of the feature], …] at the clicked position, the smallest first
   *   onPointer(position)  the pointer's position, or null
   *   onMove()             the view has changed
   */
  constructor(target, { look, tiles, handlers }) {
    this.#target = target;
    this.#handlers = handlers;
    this.#background = new Background(tiles);
    this.#layers = {
      features: new VectorImageLayer({ source: this.#features, imageRatio: 1.5 }),
      live: new VectorLayer({ source: this.#live, updateWhileAnimating: true }),
      marked: new VectorLayer({ source: this.#marked, updateWhileAnimating: true }),
    };
    this.#map = new OpenLayersMap({
      target,
      view: this.#view,
      controls: [],
      interactions: defaultInteractions({ altShiftDragRotate: false, pinchRotate: false }),
    });
    this.setLook(look);
    this.#listen();
  }

  #listen() {
    const map = this.#map;
    map.on("singleclick", (event) => this.#clicked(event));
    map.on("pointermove", (event) => {
      if (event.dragging) return;
      this.#handlers.onPointer(this.#lonLat(event.coordinate));
      this.#target.style.cursor = this.#onPlace ? "crosshair" : this.#at(event.pixel).length > 0 ? "pointer" : "";
    });
    this.#target.addEventListener("pointerleave", () => this.#handlers.onPointer(null));
    map.on("moveend", () => {
      this.#background.refine(this.#view.getResolution());
      this.#target.dataset.extent = this.extent().join(" ");
      this.#handlers.onMove();
    });
    map.on("rendercomplete", () => {
      this.#target.dataset.drawn = String(this.#features.getFeatures().length);
    });
  }

  destroy() {
    this.#map.setTarget(undefined);
    this.#map.dispose();
  }

  // Look

  /** Changes the colours, as for dark mode. */
  setLook(look) {
    this.#look = look;
    this.#styleOf = byAuthor(look.isDark);
    const { features, live, marked } = this.#layers;
    this.#background.setLook(look);
    features.setStyle((feature) => this.#style(feature));
    marked.setStyle(chosen(look));
    this.setLive(this.#people);
    this.#map.setLayers([...this.#background.below, features, live, this.#background.names, marked]);
  }

  #style(feature) {
    const { id, hue, type } = feature.get("message");
    return this.#hidden.has(id) ? undefined : this.#styleOf(hue, type);
  }

  // Features

  /** Shows the features of a message, `{id, type, hue}`. */
  add(message, features) {
    this.remove(message.id);
    const made = features.map((feature, index) => {
      const drawn = new Feature(feature.geometry ? readGeometry(feature.geometry) : undefined);
      drawn.setProperties({ message, index }, true);
      return drawn;
    });
    this.#byMessage.set(message.id, made);
    this.#features.addFeatures(made);
  }

  remove(id) {
    this.#features.removeFeatures(this.#byMessage.get(id) ?? []);
    this.#byMessage.delete(id);
    this.#hidden.delete(id);
  }

  clear() {
    this.#features.clear(true);
    this.#byMessage.clear();
    this.#hidden.clear();
    this.mark(null);
  }

  /** Shows where people are: {author, hue, x, y, accuracy in metres, opacity}. */
  setLive(people) {
    this.#people = people;
    this.#live.clear(true);
    this.#live.addFeatures(people.flatMap((one) => this.#person(one)));
    this.#target.dataset.live = people.map((one) => `${one.author},${one.x},${one.y},${one.opacity.toFixed(2)}`).join(
      " ",
    );
  }

  #person(one) {
    const { dot, around } = person(one, this.#look);
    const place = new Feature(new Point(fromLonLat([one.x, one.y])));
    place.setStyle(dot);
    if (!one.accuracy) return [place];
    const circle = new Feature(circular([one.x, one.y], one.accuracy, 48).transform(WGS84, "EPSG:3857"));
    circle.setStyle(around);
    return [circle, place];
  }

  setVisible(id, isVisible) {
    if (isVisible) this.#hidden.delete(id);
    else this.#hidden.add(id);
    this.#features.changed();
  }

  /** Marks a feature, all of a message (without an index), or nothing (null). */
  mark(id, index = undefined) {
    this.#marked.clear(true);
    const features = this.#byMessage.get(id) ?? [];
    const wanted = index === undefined ? (features.length === 1 ? features : []) : [features[index]];
    this.#marked.addFeatures(wanted.filter(Boolean).map((feature) => new Feature(feature.getGeometry())));
  }

  // View

  /** Moves the view to geometries. `padding` are the covered pixels at each side: top, right, bottom, left. */
  show(geometries, padding = [0, 0, 0, 0]) {
    const found = extent(geometries);
    if (!found) return;
    const options = {
      padding: padding.map((covered) => covered + PADDING),
      maxZoom: NEAREST,
      duration: lasting(FLIGHT),
    };
    this.#map.updateSize();
    this.#view.cancelAnimations(); // two at once would disturb each other
    this.#view.fit(transformExtent(limited(found), WGS84, "EPSG:3857"), options);
  }

  zoomBy(steps) {
    this.#view.animate({ zoom: this.#view.getZoom() + steps, duration: lasting(ZOOMING) });
  }

  resize() {
    this.#map.updateSize();
  }

  /** The extent of the view, [west, south, east, north]. */
  extent() {
    const [west, south, east, north] = transformExtent(this.#view.calculateExtent(), "EPSG:3857", WGS84);
    if (east - west >= 360) return [-180, south, 180, north];
    return [inWorld(west), south, inWorld(west) + east - west, north];
  }

  // Clicks

  /** Lets the user pick a place: resolves to the position of the next click, or to null. */
  pick() {
    this.cancelPick();
    return new Promise((resolve) => {
      this.#onPlace = resolve;
      this.#target.style.cursor = "crosshair";
    });
  }

  cancelPick() {
    this.#onPlace?.(null);
    this.#onPlace = null;
    this.#target.style.cursor = "";
  }

  #clicked({ coordinate, pixel }) {
    const position = this.#lonLat(coordinate);
    if (this.#onPlace) {
      this.#onPlace(position);
      this.#onPlace = null;
      this.#target.style.cursor = "";
    } else {
      this.#handlers.onPick(this.#at(pixel));
    }
  }

  #at(pixel) {
    const found = new Map();
    this.#map.forEachFeatureAtPixel(pixel, (feature) => found.set(feature, size(feature)), {
      hitTolerance: TOLERANCE,
      layerFilter: (layer) => layer === this.#layers.features,
    });
    // A feature that is hit precedes areas that contain it.
    const place = fromLonLat(this.#lonLat(this.#map.getCoordinateFromPixel(pixel)));
    for (const feature of this.#features.getFeaturesAtCoordinate(place)) {
      if (!this.#hidden.has(feature.get("message").id)) found.set(feature, size(feature));
    }
    const smallestFirst = [...found].sort(([, one], [, other]) => one - other);
    return smallestFirst.map(([feature]) => [feature.get("message").id, feature.get("index")]);
  }

  #lonLat(coordinate) {
    const [longitude, latitude] = toLonLat(coordinate);
    return [inWorld(longitude), latitude];
  }

  /** A position's CSS pixels on the target. */
  pixelOf(position) {
    return this.#map.getPixelFromCoordinate(fromLonLat(position));
  }
}

/** Sort key: points before lines, lines before areas, small areas before large ones. */
function size(feature) {
  const geometry = feature.getGeometry();
  const kind = geometry.getType();
  if (kind.endsWith("Point")) return 0;
  return kind.endsWith("LineString") ? 1 : 1 + geometry.getArea?.();
}

/** Limits an extent to Web Mercator's latitudes. @param {number[]} extent */
function limited([west, south, east, north]) {
  const within = (latitude) => Math.max(-85, Math.min(85, latitude));
  return [west, within(south), east, within(north)];
}

/** See `crs.js`, which is loaded on first use. */
export async function projector(wkt) {
  const crs = await import("./crs.js");
  return crs.projector(wkt);
}

/** The duration of an animation: none for people who have asked their system for less motion. */
function lasting(milliseconds) {
  return REDUCED_MOTION.matches ? 0 : milliseconds;
}
