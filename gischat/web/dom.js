/** DOM helpers. Strings become text nodes, so users' text can never become markup. */

/** The page's element with that id, of any type: see index.html. @type {(id: string) => any} */
export const byId = (id) => document.getElementById(id);

/** A new element; `properties` are DOM properties (className, href, …), `children` are nodes or strings. */
export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** A button with an action; `children` as in `element`. */
export const button = (className, onclick, ...children) =>
  element("button", { type: "button", className, onclick }, ...children);

const SVG = "http://www.w3.org/2000/svg";

/** A decorative drawing of one path, on a square of 24. */
export const drawing = (path) => svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: path }));

/** A new element of a drawing. */
export function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** A user's text within ours, isolated so that its direction and controls do not affect ours (UAX #9). */
export const isolated = (text, className = "") => element("bdi", { className }, text);

/** A text's length as the server counts it: in code points, not in UTF-16 units. */
export const characters = (text) => [...text].length;

/** At most `limit` characters of `text`, with an ellipsis if truncated. */
export function shorten(text, limit) {
  const all = [...text];
  return all.length > limit ? `${all.slice(0, limit - 1).join("")}…` : text;
}
