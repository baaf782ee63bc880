/** The map beside the chat; loaded when it is first opened. */

import { mapSettings } from "./api.js";
import { button, byId, drawing, element } from "./dom.js";
import { t } from "./i18n.js";

const FOLDED = "M3 6l6-2 6 2 6-2v14l-6 2-6-2-6 2zM9 4v14M15 6v14";

export class Atlas {
  #toggle;
  #room = null;
  #pane = null;
  #loading = null;

  constructor() {
    this.#toggle = button("secondary", () => void this.toggle(), drawing(FOLDED), element("span", {}, t("map")));
    this.#toggle.id = "map-toggle";
    this.#toggle.ariaLabel = t("map");
    this.#toggle.hidden = true;
    this.#toggle.ariaExpanded = "false";
    byId("people-toggle").before(this.#toggle);
  }

  get isOpen() {
    return Boolean(this.#pane?.isOpen);
  }

  /** Switches to a channel's room, or with null to none. */
  show(room) {
    this.#room = room;
    if (room) void mapSettings().then(({ code }) => (this.#toggle.hidden = !code));
    if (!this.isOpen) return;
    if (room) this.#pane.show(room);
    else this.close();
  }

  async toggle() {
    if (this.isOpen) this.close();
    else await this.open();
  }

  /** Opens the map, and goes to a message if one is given. */
  async open(id = undefined) {
    const pane = await this.#load();
    if (!pane || !this.#room) return;
    if (!pane.isOpen) pane.open(this.#room);
    this.#toggle.ariaExpanded = "true";
    if (id) pane.choose(id);
  }

  close() {
    this.#pane?.close();
    this.#toggle.ariaExpanded = "false";
    if (!this.#toggle.hidden) this.#toggle.focus();
  }

  /** Lets the user pick a place on the map: resolves to [longitude, latitude], or null. */
  async pick() {
    await this.open();
    return this.#pane ? this.#pane.pick() : null;
  }

  /** The part of the world in view, [west, south, east, north]; null without a map. */
  get extent() {
    return this.isOpen ? this.#pane.extent : null;
  }

  async #load() {
    if (this.#pane) return this.#pane;
    this.#loading ??= this.#make();
    try {
      this.#pane = await this.#loading;
    } catch {
      this.#loading = null; // retry next time
      this.#room?.notice(t("map_unreachable"));
    }
    return this.#pane;
  }

  async #make() {
    this.#toggle.ariaBusy = "true";
    try {
      const { code, tiles, attribution } = await mapSettings();
      const [{ MapPane }, { WorldMap, projector }] = await Promise.all([import("./mappane.js"), import(code)]);
      const section = element("section", { id: "map", className: "map", ariaLabel: t("map"), hidden: true });
      byId("people").before(section);
      return new MapPane(section, { WorldMap, projector, tiles, attribution, onClose: () => this.close() });
    } finally {
      this.#toggle.ariaBusy = "false";
    }
  }
}
