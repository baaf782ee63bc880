/** Details of a feature on the map, with its actions. */

import { placeFile } from "./api.js";
import { button, element, isolated } from "./dom.js";
import { download, fileName, save } from "./files.js";
import { geoUri, lonLat, middle, wkt } from "./geo.js";
import { t } from "./i18n.js";
import { nameOf } from "./maplist.js";
import { time } from "./time.js";

/**
 * Nodes with the details of a message's feature, or (without an index) of all its features.
 *
 * Handlers: onZoom(), onMessage(); `channel` is the message's.
 */
export function details(place, index, { channel, onZoom, onMessage }) {
  const { message, features } = place;
  const feature = index === undefined ? null : features[index];
  const state = element("p", { className: "hint", role: "status" });
  const isPart = message.type === "geojson" && feature;
  return [
    element("p", { className: "hint" }, ...sharedBy(message)),
    ...(isPart ? [element("h3", {}, isolated(nameOf(feature, index)))] : []),
    table(rows(message, feature, features)),
    element("p", { className: "choices" }, choice("map_zoom", onZoom), choice("map_message", onMessage)),
    ...(feature?.geometry ? [copies(feature, state)] : []),
    downloads(message, channel, state),
    state,
  ];
}

const choice = (key, onclick) => button("secondary small", onclick, t(key));

function sharedBy({ author, timestamp }) {
  return [isolated(author), " · ", time(timestamp)];
}

/** The rows of the table, as [name, value]. */
function rows(message, feature, features) {
  const { type, crs_authid, x, y, xmin, xmax, ymin, ymax } = message;
  const crs = [t("map_crs"), crs_authid || t("own_crs")];
  if (type === "geojson" && feature) return Object.entries(feature.properties);
  if (type === "geojson") return [[t("map_count"), features.length], crs];
  if (type === "position") return [["x", x], ["y", y], crs, [t("map_wgs84"), lonLat(feature.geometry.coordinates)]];
  if (type === "bbox") return [["xmin", xmin], ["ymin", ymin], ["xmax", xmax], ["ymax", ymax], crs];
  return [crs, [t("map_area_of_use"), t("map_as_drawn")]];
}

function table(pairs) {
  const made = pairs.map(([name, value]) => {
    const cell = element("td", {}, isolated(text(value)));
    if (value === null) cell.className = "null";
    return element("tr", {}, element("th", { scope: "row" }, isolated(name)), cell);
  });
  const scroller = element("div", {
    className: "map-table",
    tabIndex: 0,
    role: "region",
    ariaLabel: t("map_attributes"),
  });
  scroller.append(element("table", {}, element("tbody", {}, ...made)));
  return scroller;
}

const text = (value) => (value === null ? "NULL" : typeof value === "object" ? JSON.stringify(value) : String(value));

// Copies and downloads

function copies({ geometry, properties }, state) {
  const center = middle(geometry);
  /** @type {[string, () => string][]} */
  const forms = [
    ["lon, lat", () => lonLat(center)],
    ["geo:", () => geoUri(center)],
    ["WKT", () => wkt(geometry)],
    ["GeoJSON", () => JSON.stringify({ type: "Feature", geometry, properties })],
  ];
  const buttons = forms.map(([name, made]) => button("secondary small", () => void copy(made(), name, state), name));
  return element("p", { className: "choices" }, element("span", {}, t("map_copy")), ...buttons);
}

async function copy(words, name, state) {
  try {
    await navigator.clipboard.writeText(words);
  } catch {
    copyOverHttp(words);
  }
  state.textContent = t("map_copied", { name });
}

/** Copies by a selection: over plain http there is no clipboard API. */
function copyOverHttp(words) {
  const field = element("textarea", { value: words, className: "visually-hidden" });
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

function downloads(message, channel, state) {
  const { id, type, layer_name, crs_authid, crs_wkt, style } = message;
  const name = layer_name || `${crs_authid || type}`.replace(":", "-");
  const offered = [];
  for (const extension of type === "crs" ? [] : [".geojson", ".gpkg"]) {
    offered.push(button("download", () => void fetchFile(channel, id, name, extension, state), extension.slice(1)));
  }
  if (style) offered.push(download(name, ".qml", () => style));
  if (type === "crs") offered.push(download(name, ".prj", () => crs_wkt), download(name, ".wkt", () => crs_wkt));
  return element("p", { className: "downloads" }, ...offered);
}

/** Downloads by fetch, since a link could not send the token of a private channel. */
async function fetchFile(channel, id, name, extension, state) {
  state.textContent = "";
  try {
    save(fileName(name, extension), await placeFile(channel, id, extension));
  } catch {
    state.textContent = t("map_no_file");
  }
}
