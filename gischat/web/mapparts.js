/** The parts of the map pane: its elements, and its colours. */

import { button, drawing, element } from "./dom.js";
import { t } from "./i18n.js";

const COLORS = ["land", "coast", "border", "grid", "label", "label-halo", "halo", "chosen"];

/** The colours of the map, from the page's style. */
export function look(section) {
  const css = getComputedStyle(section);
  const color = (name) => css.getPropertyValue(`--map-${name}`).trim();
  const camel = (name) => name.replace(/-(\w)/, (_, letter) => letter.toUpperCase());
  return {
    isDark: color("scheme") === "dark",
    ...Object.fromEntries(COLORS.map((name) => [camel(name), color(name)])),
  };
}

/** Puts the map's canvas, its tools, list and card into the section. */
export function build(section, { onClose, onAll, onList, onZoom, attribution }) {
  const tool = (key, path, onclick) => {
    const made = button("tool-button", onclick, drawing(path));
    made.ariaLabel = t(key);
    made.title = t(key);
    return made;
  };
  const canvas = element("div", {
    className: "map-canvas",
    tabIndex: 0,
    role: "application",
    ariaLabel: t("map_keys"),
  });
  const count = element("span", {}, "0");
  const listToggle = button("tool-button wide", onList, drawing("M4 6h16M4 12h16M4 18h10"), count);
  listToggle.ariaLabel = t("map_list");
  listToggle.title = t("map_list");
  listToggle.ariaExpanded = "false";
  const close = tool("close", "M6 6l12 12M18 6L6 18", onClose);
  const tools = element(
    "div",
    { className: "map-tools" },
    listToggle,
    tool("map_all", "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5", onAll),
    tool("map_closer", "M12 5v14M5 12h14", () => onZoom(1)),
    tool("map_further", "M5 12h14", () => onZoom(-1)),
    close,
  );
  const list = element("div", { className: "map-card map-list", hidden: true });
  const people = element("ul", { ariaLabel: t("live_people") });
  const card = element("div", { className: "map-card map-details", hidden: true });
  const pointer = element("p", { className: "map-pointer", hidden: true });
  const empty = element("p", { className: "map-empty" }, t("map_empty"));
  const hint = element("p", { className: "map-hint", role: "status", hidden: true }, t("map_pick"));
  const source = element("p", { className: "map-source" }, ...credited(attribution), "Natural Earth");
  section.append(canvas, tools, empty, hint, pointer, source, list, card);
  return { canvas, tools, list, people, listToggle, card, pointer, empty, hint, count, close };
}

/** The tiles' attribution, with URLs as links. */
function credited(attribution) {
  if (!attribution) return [];
  const parts = attribution.split(/(https?:\/\/\S+)/u).map((part, index) =>
    index % 2 === 0
      ? part
      : element("a", { href: part, target: "_blank", rel: "noopener noreferrer" }, new URL(part).host)
  );
  return [...parts, " · "];
}
