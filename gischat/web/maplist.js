/** The map's content as a list, for keyboard users and for hiding messages. */

import { button, element, isolated, shorten } from "./dom.js";
import { nodes, t } from "./i18n.js";
import { time } from "./time.js";

const LONGEST = 200; // features of one layer
const NAMES = ["name", "nom", "nombre", "nome", "title", "titre", "label", "id", "fid"]; // name properties
const SHORT = 60; // characters

/** A message's title, as nodes. */
export function titleOf({ type, layer_name, crs_authid }) {
  if (type === "geojson") return [isolated(layer_name)];
  if (type === "crs") return [isolated(crs_authid || t("own_crs"))];
  return [t(type === "bbox" ? "map_extent" : "map_position")];
}

/** A feature's name: from its properties, or else its number. */
export function nameOf({ properties, geometry }, index) {
  const lower = Object.fromEntries(Object.entries(properties).map(([key, value]) => [key.toLowerCase(), value]));
  const name = NAMES.map((key) => lower[key]).find((value) => (value ?? "") !== "");
  const number = t("map_feature", { number: String(index + 1), kind: geometry?.type ?? t("map_no_geometry") });
  return name === undefined ? number : shorten(String(name), SHORT);
}

/**
 * The list as an element, the newest message first. Handlers:
 *   isVisible(id), onVisible(id, isVisible)   get and set whether a message is drawn
 *   onChoose(id, index)                       goes to a feature, or without an index to the whole message
 */
export function listOf(places, handlers) {
  const items = [...places].reverse().map((place) => item(place, handlers));
  return element("ul", { ariaLabel: t("map_list") }, ...items);
}

/** Those who share where they are, as items of a list. */
export function peopleOf(people, onGo) {
  return people.map((one) => {
    const swatch = element("span", { className: "swatch position", ariaHidden: "true" });
    swatch.style.setProperty("--hue", one.hue);
    const values = { metres: one.accuracy, time: time(Math.ceil(one.endsAt / 1000)) };
    const about = element("small", {}, ...nodes("live_until", values));
    const go = button("map-item", () => onGo(one), element("span", {}, isolated(one.author)), about);
    return element("li", { className: "live-person" }, swatch, go);
  });
}

function item({ message, hue, features }, { isVisible, onVisible, onChoose }) {
  const { id, author, timestamp, type } = message;
  const check = element("input", { type: "checkbox", checked: isVisible(id) });
  check.onchange = () => onVisible(id, check.checked);
  const title = titleOf(message);
  check.ariaLabel = t("map_visible", { name: title.map((part) => part.textContent ?? part).join("") });
  const swatch = element("span", { className: `swatch ${type}`, ariaHidden: "true" });
  swatch.style.setProperty("--hue", hue);
  const about = element("small", {}, isolated(author), " ", time(timestamp));
  const go = button("map-item", () => onChoose(id), element("span", {}, ...title), about);
  const shown = element("li", {}, check, swatch, go);
  if (type === "geojson" && features.length > 1) shown.append(members(id, features, onChoose));
  return shown;
}

/** A layer's features, rendered when the list is unfolded. */
function members(id, features, onChoose) {
  const folded = element("details", {}, element("summary", {}, t("map_features", { count: features.length })));
  folded.ontoggle = () => {
    if (folded.childElementCount > 1) return;
    const items = features.slice(0, LONGEST).map((feature, index) =>
      element("li", {}, button("map-item", () => onChoose(id, index), isolated(nameOf(feature, index))))
    );
    if (features.length > LONGEST) {
      items.push(element("li", { className: "hint" }, t("map_more", { count: features.length - LONGEST })));
    }
    folded.append(element("ul", {}, ...items));
  };
  return folded;
}
