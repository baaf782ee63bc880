/** The places of a channel's messages: fetched from the server, which knows every CRS, and cached by the page. */

import { mapSettings, places } from "./api.js";
import { hue } from "./avatars.js";
import { button, element } from "./dom.js";
import { byMessage } from "./feed.js";
import { t } from "./i18n.js";

const PLACED = new Set(["geojson", "crs", "bbox", "position"]);
const MANY = 3; // messages; for more, all places are fetched, which the server has cached
const PAUSE = 150; // milliseconds in which requests are collected
const LONGEST = 500; // messages, as many as the log shows

export class Places {
  #channel;
  #known = new Map(); // id of a message -> {message, hue, features}
  #wanted = new Map(); // id -> {message, node} of messages to be fetched
  #timer = null;
  #onShow;
  onChange = () => {};

  /** `onShow(id)`: the user wants to see a message on the map. */
  constructor(channel, onShow) {
    this.#channel = channel;
    this.#onShow = onShow;
  }

  /** Adds a message, shown as `node`; its place is shown there as soon as it is known. */
  add(message, node) {
    if (!PLACED.has(message.type)) return;
    this.#wanted.set(message.id, { message: withoutData(message), node });
    this.#timer ??= setTimeout(() => void this.#ask(), PAUSE);
  }

  get all() {
    return [...this.#known.values()];
  }

  find(id) {
    return this.#known.get(id);
  }

  async #ask() {
    const wanted = this.#wanted;
    this.#wanted = new Map();
    this.#timer = null;
    const { code } = await mapSettings();
    if (!code) return;
    const since = Math.max(0, Math.min(...[...wanted.values()].map(({ message }) => message.timestamp)));
    const answer = await places(this.#channel, wanted.size > MANY ? null : since).catch(() => null);
    if (!answer) {
      this.#wanted = new Map([...wanted, ...this.#wanted].slice(-LONGEST)); // fetched with the next ones
      return;
    }
    const features = byMessage(answer);
    for (const [id, { message, node }] of wanted) {
      if (features.has(id)) this.#found({ message, hue: hue(message.author), features: features.get(id) }, node);
    }
    this.onChange();
  }

  #found(place, node) {
    const { id } = place.message;
    this.#known.set(id, place);
    if (this.#known.size > LONGEST) this.#known.delete(this.#known.keys().next().value);
    const canvas = element("canvas");
    const shown = button("thumbnail", () => this.#onShow(id), canvas);
    shown.ariaLabel = shown.title = t("show_on_map");
    drawings.set(canvas, place);
    seen.observe(canvas);
    node.querySelector(".body").append(shown);
    node.dispatchEvent(new Event("load")); // it has grown, as by a picture
  }
}

const drawings = new WeakMap(); // canvas of a thumbnail -> the place that it shows

// Thumbnails are drawn when they are first visible, which may be when the user returns to their channel.
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    void draw(target);
  }
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const canvas of document.querySelectorAll(".thumbnail canvas")) seen.observe(canvas);
});

async function draw(canvas) {
  const { drawThumbnail } = await import(new URL("built/thumbnail.js", import.meta.url).href);
  const { features, hue } = drawings.get(canvas);
  drawThumbnail(canvas, features, thumbnailLook(canvas, hue));
}

/** A message without its layer's data, which the server sends again in WGS 84. */
function withoutData(message) {
  const { geojson: _, ...rest } = message;
  return rest;
}

function thumbnailLook(node, hue) {
  const css = getComputedStyle(node);
  const color = (name) => css.getPropertyValue(`--map-${name}`).trim();
  const isDark = color("scheme") === "dark";
  const stroke = `hsl(${hue}, ${isDark ? "70%, 62%" : "72%, 36%"})`;
  const fill = `hsla(${hue}, ${isDark ? "70%, 62%" : "72%, 36%"}, .3)`;
  return { sea: color("sea"), land: color("land"), coast: color("coast"), halo: color("halo"), stroke, fill };
}
