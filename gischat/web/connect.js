/** How to come here with something else than this page: the addresses, and two of them as QR codes. */

import { byId, svg } from "./dom.js";
import { t } from "./i18n.js";
import { key, keyed } from "./tokens.js";

const absolute = (path) => new URL(path, location.href);

/** The instance's address, as clients take it. With the key only if somebody asks for that: it lets others in. */
function instance() {
  const path = byId("with-key").checked ? keyed("") : ".";
  return absolute(path).href.replace(/\/$/, "");
}

/** Fills the lobby's guide, when it is opened and when something in it changes. `channel()` is the one chosen there. */
export function guide(channel) {
  const show = () => byId("connect").open && void fill(channel());
  for (const id of ["connect", "with-key", "channels"]) {
    byId(id).addEventListener(id === "connect" ? "toggle" : "change", show);
  }
}

async function fill(channel) {
  byId("with-key-field").hidden = !key();
  if (!key()) byId("with-key").checked = false;
  const address = instance();
  const below = `${address}/channel/${encodeURIComponent(channel)}`;
  const plugin = absolute("qfield").href;
  byId("address").textContent = address;
  byId("plugin").textContent = plugin;
  byId("socket").textContent = `${below.replace(/^http/, "ws")}/ws`;
  byId("feed").textContent = `${below}/features.geojson`;
  await Promise.all([
    draw("address-code", address, t("code_of_address")),
    draw("plugin-code", plugin, t("code_of_plugin")),
  ]);
}

/** Without a bundle there is no code: the address stands beside it. */
async function draw(id, text, words) {
  const { qr } = await import(new URL("built/qr.js", import.meta.url).href).catch(() => ({ qr: null }));
  byId(id).hidden = !qr;
  if (qr) byId(id).replaceChildren(code(qr(text), words));
}

const QUIET = 4; // squares around it, which stay white (ISO/IEC 18004)

function code({ size, path }, words) {
  const width = size + 2 * QUIET;
  const box = `${-QUIET} ${-QUIET} ${width} ${width}`;
  const paper = svg("rect", { x: -QUIET, y: -QUIET, width, height: width, fill: "#fff" });
  const squares = svg("path", { d: path, fill: "#000", "shape-rendering": "crispEdges" });
  return svg("svg", { viewBox: box, role: "img", "aria-label": words }, paper, squares);
}
