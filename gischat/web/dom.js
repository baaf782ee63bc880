/** The page's elements and new ones. Strings become text nodes, so people's words can never become markup. */

/** The page's element of that id. Of whatever kind: that stands in index.html. @type {(id: string) => any} */
export const byId = (id) => document.getElementById(id);

/** A new element; `properties` are DOM properties (className, href, …), `children` are nodes or strings. */
export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** A button that does something; `properties` as those of `element`. */
export const button = (className, onclick, ...children) =>
  element("button", { type: "button", className, onclick }, ...children);

const SVG = "http://www.w3.org/2000/svg";

/** A drawing of one path, on a square of 24, for the eyes alone. */
export const drawing = (path) => svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: path }));

/** A new element of a drawing. */
export function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Somebody's own words within ours: their direction, and what they hold of controls, stays theirs (UAX #9). */
export const isolated = (text, className = "") => element("bdi", { className }, text);

/** Text counted as the server counts it: in characters, not in UTF-16 units. */
export const characters = (text) => [...text].length;

/** At most `limit` characters of `text`, with an ellipsis where something was cut. */
export function shorten(text, limit) {
  const all = [...text];
  return all.length > limit ? `${all.slice(0, limit - 1).join("")}…` : text;
}
