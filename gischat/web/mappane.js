/** The map pane: the map with its tools, the list of its content, and the card of the selected feature. */

import { button, element, isolated } from "./dom.js";
import { inWorld, lonLat } from "./geo.js";
import { t } from "./i18n.js";
import { details } from "./mapdetails.js";
import { listOf, peopleOf, titleOf } from "./maplist.js";
import { build, look } from "./mapparts.js";

const DARK = matchMedia("(prefers-color-scheme: dark)");
const METRES = 111_320; // of a degree of latitude
const WGS84 = "EPSG:4326";
const FADING = 5_000; // milliseconds between two looks at how old live positions are
const NARROW = matchMedia("(max-width: 64rem)"); // as in map.css: the map covers the chat

export class MapPane {
  isOpen = false;
  #section;
  #room = null;
  #map;
  #parts;
  #projector; // of the bundle
  #own = null; // {name, project}: the CRS of the selected feature
  #pointer = null;
  #drawing = null; // the next frame, in which live positions are drawn
  #shown = new Set(); // ids of messages that are on the map
  #fading = null;
  #hidden = new Set(); // … but hidden by the user
  #chosen = null; // {found, at}: the features that were hit, and the index of the shown one

  /** `WorldMap` and `projector` come from the bundle; `attribution` is that of `tiles`. */
  constructor(section, { WorldMap, projector, tiles, attribution, onClose }) {
    this.#section = section;
    this.#projector = projector;
    this.#parts = build(section, {
      onClose,
      onAll: () => this.showAll(),
      onList: () => this.#toggleList(),
      onZoom: (steps) => this.#map.zoomBy(steps),
      attribution: tiles ? attribution : "",
    });
    section.hidden = false;
    document.body.classList.add("has-map"); // the map needs a size
    this.#map = new WorldMap(this.#parts.canvas, {
      look: look(section),
      tiles,
      handlers: {
        onPick: (found) => this.#choose(found),
        onPointer: (position) => this.#point(position),
        onMove: () => {},
      },
    });
    DARK.addEventListener("change", () => this.#map.setLook(look(section)));
    new ResizeObserver(() => this.isOpen && this.#map.resize()).observe(section);
    section.addEventListener("keydown", (event) => this.#key(event, onClose));
  }

  // Opening and closing

  open(room) {
    this.isOpen = true;
    this.#section.hidden = false;
    document.body.classList.add("has-map");
    this.show(room);
    this.#fading = setInterval(() => this.#updateLive(), FADING);
    this.#parts.canvas.focus({ preventScroll: true });
  }

  close() {
    this.isOpen = false;
    this.#section.hidden = true;
    document.body.classList.remove("has-map");
    this.#map.cancelPick();
    clearInterval(this.#fading);
    this.#leave();
    this.#room = null;
  }

  /** Shows the places of a channel. */
  show(room) {
    if (this.#room === room) return;
    this.#leave();
    this.#room = room;
    this.#map.clear();
    this.#shown.clear();
    this.#hidden.clear();
    this.#choose([]);
    room.places.onChange = () => this.#update();
    room.sharers.onChange = () => this.#updateSoon();
    this.#update();
    this.#map.resize();
    this.showAll();
  }

  #leave() {
    if (this.#room) this.#room.places.onChange = this.#room.sharers.onChange = () => {};
  }

  /** Live positions come many at once. */
  #updateSoon() {
    this.#drawing ??= requestAnimationFrame(() => this.#updateLive());
  }

  #updateLive() {
    this.#drawing = null;
    if (!this.#room) return;
    const people = this.#room.sharers.all;
    this.#map.setLive(people);
    this.#tellNumber(people.length);
    if (!this.#parts.list.hidden) this.#parts.people.replaceChildren(...this.#livePeople(people));
  }

  #livePeople(people) {
    return peopleOf(people, (one) => this.#map.show([around(one)], this.#covered()));
  }

  #tellNumber(people) {
    const number = this.#room.places.all.length + people;
    this.#parts.count.textContent = String(number);
    this.#parts.empty.hidden = number > 0;
  }

  #update() {
    const places = this.#room.places.all;
    const present = new Set(places.map(({ message }) => message.id));
    for (const id of this.#shown) {
      if (!present.has(id)) this.#map.remove(id);
    }
    for (const { message, hue, features } of places) {
      if (!this.#shown.has(message.id)) this.#map.add({ id: message.id, type: message.type, hue }, features);
    }
    this.#shown = present;
    if (!this.#parts.list.hidden) this.#fillList();
    this.#updateLive();
  }

  // View

  showAll() {
    const visible = this.#room.places.all.filter(({ message }) => !this.#hidden.has(message.id));
    // A CRS may cover the world, so it counts only if there is nothing else.
    const places = visible.some(({ message }) => message.type !== "crs")
      ? visible.filter(({ message }) => message.type !== "crs")
      : visible;
    this.#map.show([...places.flatMap(geometries), ...this.#room.sharers.all.map(around)], this.#covered());
  }

  /** Goes to a message or one of its features, and shows its details. */
  choose(id, index = undefined) {
    const place = this.#room.places.find(id);
    if (!place) return;
    this.#setVisible(id, true);
    this.#choose([[id, index ?? (place.features.length === 1 ? 0 : undefined)]]);
    this.#map.show(index === undefined ? geometries(place) : [place.features[index].geometry], this.#covered());
  }

  /** The pixels that card and tools cover at each side: top, right, bottom, left. */
  #covered() {
    const { card, tools } = this.#parts;
    if (NARROW.matches) return [0, 0, card.offsetHeight, 0];
    return [0, tools.offsetWidth, 0, card.offsetWidth];
  }

  get extent() {
    return this.#map.extent();
  }

  /** Lets the user pick a place: resolves to [longitude, latitude], or null. */
  async pick() {
    this.#parts.hint.hidden = false;
    const position = await this.#map.pick();
    this.#parts.hint.hidden = true;
    return position;
  }

  // List

  #toggleList() {
    const { list, listToggle } = this.#parts;
    list.hidden = !list.hidden;
    listToggle.ariaExpanded = String(!list.hidden);
    if (list.hidden) return;
    this.#choose([]);
    this.#fillList();
  }

  #fillList() {
    const shown = listOf(this.#room.places.all, {
      isVisible: (id) => !this.#hidden.has(id),
      onVisible: (id, isVisible) => this.#setVisible(id, isVisible),
      onChoose: (id, index) => this.choose(id, index),
    });
    const { list, people } = this.#parts;
    people.replaceChildren(...this.#livePeople(this.#room.sharers.all));
    list.replaceChildren(people, shown);
  }

  #setVisible(id, isVisible) {
    if (isVisible === !this.#hidden.has(id)) return;
    if (isVisible) this.#hidden.delete(id);
    else this.#hidden.add(id);
    this.#map.setVisible(id, isVisible);
  }

  // Selection

  /** Selects the first of the features that were hit, [[id, index], …]. */
  #choose(found) {
    this.#chosen = found.length > 0 ? { found, at: 0 } : null;
    this.#showChosen();
  }

  #showChosen() {
    const { card, list, listToggle } = this.#parts;
    const [id, index] = this.#chosen?.found[this.#chosen.at] ?? [null];
    const place = id === null ? null : this.#room?.places.find(id);
    card.hidden = !place;
    this.#map.mark(id, index);
    this.#setOwn(place?.message);
    if (!place) return;
    list.hidden = true;
    listToggle.ariaExpanded = "false";
    const { found, at } = this.#chosen;
    const others = found.length > 1
      ? [button("secondary small", () => this.#next(), t("map_next", { at: at + 1, count: found.length }))]
      : [];
    const close = button("plain", () => this.#choose([]), "×");
    close.ariaLabel = t("close");
    const head = element("header", {}, element("h2", {}, ...titleOf(place.message)), ...others, close);
    const told = details(place, index, {
      channel: this.#room.channel,
      onZoom: () => this.choose(id, index),
      onMessage: () => this.#goToMessage(id),
    });
    card.replaceChildren(head, ...told);
  }

  #next() {
    this.#chosen.at = (this.#chosen.at + 1) % this.#chosen.found.length;
    this.#showChosen();
  }

  #goToMessage(id) {
    const room = this.#room;
    if (NARROW.matches) this.#parts.close.click();
    room.seek(id);
  }

  // Coordinates

  #point(position) {
    this.#pointer = position;
    const { pointer } = this.#parts;
    pointer.hidden = !position;
    if (!position) return;
    const [longitude, latitude] = position;
    const own = this.#own?.project?.([inWorld(longitude), latitude]);
    pointer.replaceChildren(element("span", {}, `WGS 84 ${lonLat(position.map(rounded))}`));
    if (own) pointer.append(element("span", {}, isolated(this.#own.name), ` ${own.map(written).join(", ")}`));
  }

  /** Shows coordinates in the selected message's CRS from now on, if the browser can compute them. */
  async #setOwn(message) {
    const { crs_wkt: wkt = "", crs_authid: name = "" } = message ?? {};
    if (!wkt || name === WGS84) {
      this.#own = null;
      return;
    }
    const own = { name: name || t("own_crs"), project: null };
    this.#own = own;
    own.project = await this.#projector(wkt).catch(() => null);
    if (this.#own === own) this.#point(this.#pointer);
  }

  #key(event, onClose) {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    if (!this.#parts.hint.hidden) this.#map.cancelPick();
    else if (this.#chosen) this.#choose([]);
    else if (!this.#parts.list.hidden) this.#toggleList();
    else onClose();
  }
}

const geometries = ({ features }) => features.map(({ geometry }) => geometry);

/** Two corners of where somebody may be. */
function around({ x, y, accuracy }) {
  const high = accuracy / METRES;
  const wide = Math.min(high / Math.cos(y * Math.PI / 180), 180);
  return { type: "MultiPoint", coordinates: [[x - wide, y - high], [x + wide, y + high]] };
}

const rounded = (degrees) => Number(degrees.toFixed(5));

/** Formats a coordinate: metres, which are larger numbers, need fewer decimals than degrees. */
const written = (value) => String(Number(value.toFixed(Math.abs(value) > 360 ? 1 : 5)));
