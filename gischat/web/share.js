/** Sharing of places: a layer from a file, the user's position, the map's extent, a point on the map. */

import { button, byId, drawing, element, isolated } from "./dom.js";
import { lonLat, rounded } from "./geo.js";
import { understand, WGS84 } from "./geojsonfile.js";
import { t } from "./i18n.js";

// As written by QGIS
const WGS84_WKT =
  'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG","7030"]],' +
  'AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],UNIT["degree",0.0174532925199433,' +
  'AUTHORITY["EPSG","9122"]],AXIS["Latitude",NORTH],AXIS["Longitude",EAST],AUTHORITY["EPSG","4326"]]';
const IN_WGS84 = { crs_wkt: WGS84_WKT, crs_authid: WGS84 };

const PIN = "M12 21c-4-5-6-8-6-11a6 6 0 0 1 12 0c0 3-2 6-6 11zM12 7.5v5M9.5 10h5";

const LAYER = /\.(geo)?json$/i;
const OTHER_LAYER = /\.(gpkg|zip|shp|kml|kmz|gml|fgb|dxf|gpx|csv|parquet)$/i;
const LOCATING = { enableHighAccuracy: true, timeout: 30_000, maximumAge: 10_000 };
const LONGEST_NAME = 255; // characters, the protocol's limit

export class Share {
  #page; // see below
  #sheet = element("dialog", { className: "sheet", ariaLabel: t("share") });
  #file = element("input", { type: "file", accept: ".geojson,.json,application/geo+json", hidden: true });
  #pending = 0; // number of the last request; answers to earlier ones are ignored

  /** `page` has: room(), the shown one or null; limits(), the answer of /rules; atlas. */
  constructor(page) {
    this.#page = page;
    const open = button("picture", () => this.#offer(), drawing(PIN));
    open.id = "share";
    open.ariaLabel = open.title = t("share");
    byId("picture").before(open);
    this.#file.ariaLabel = t("share_file");
    this.#file.onchange = () => void this.#read(this.#file.files[0]);
    this.#sheet.append(this.#file);
    this.#sheet.onclose = () => this.#pending++;
    document.body.append(this.#sheet);
    this.#listen();
  }

  #listen() {
    const room = byId("room");
    const isFile = (event) => this.#canSend && [...event.dataTransfer.types].includes("Files");
    room.addEventListener("dragover", (event) => {
      if (!isFile(event)) return;
      event.preventDefault();
      room.classList.add("drop-target");
    });
    room.addEventListener("dragleave", () => room.classList.remove("drop-target"));
    room.addEventListener("drop", (event) => {
      room.classList.remove("drop-target");
      const [file] = event.dataTransfer.files;
      if (!isFile(event) || !isLayer(file)) return;
      event.preventDefault();
      void this.#read(file);
    });
    document.addEventListener("paste", (event) => this.#paste(event));
  }

  get #canSend() {
    return Boolean(this.#page.room()?.me);
  }

  #paste(event) {
    if (!this.#canSend || this.#sheet.open) return;
    const file = [...event.clipboardData.files].find(isLayer);
    const text = event.clipboardData.getData("text/plain");
    if (file) void this.#read(file);
    else if (text.trimStart().startsWith("{") && understand(text).geojson) this.#showLayer(text, t("share_pasted"));
    else return;
    event.preventDefault();
  }

  // Steps of the dialog, one at a time

  #show(...nodes) {
    this.#pending++;
    this.#sheet.replaceChildren(element("div", { className: "share-steps" }, ...nodes), this.#file);
    if (!this.#sheet.open) this.#sheet.showModal();
  }

  #offer() {
    const offer = (key, onclick) => button("secondary", onclick, t(key));
    const offers = [
      offer("share_file", () => this.#file.click()),
      offer("share_position", () => void this.#locate()),
      offer("share_live", () => this.#offerLive()),
      offer("share_extent", () => void this.#takeExtent()),
      offer("share_point", () => void this.#takePoint()),
    ];
    const room = this.#page.room();
    this.#show(
      element("h2", {}, t("share_in", { channel: room.channel })),
      element("div", { className: "offers" }, ...offers),
      element("p", { className: "hint" }, t("share_hint")),
      this.#cancel(),
    );
  }

  #cancel() {
    return button("secondary", () => this.#sheet.close(), t("cancel"));
  }

  #problem(words) {
    this.#show(element("p", { role: "alert" }, words), this.#cancel());
  }

  /** Shows what will be shared, [[name, value], …], and sends `message()` if the user confirms. */
  #confirm(title, facts, message, ...more) {
    const room = this.#page.room(); // now, as another room may be shown later
    const list = element(
      "dl",
      {},
      ...facts.flatMap(([name, value]) => [
        element("dt", {}, name),
        element("dd", {}, isolated(String(value))),
      ]),
    );
    const send = button("", () => {
      const made = message();
      if (!made) return;
      this.#sheet.close();
      room.send([made]);
    }, t("share"));
    this.#show(
      element("h2", {}, title),
      list,
      ...more,
      element("div", { className: "choices" }, send, this.#cancel()),
    );
    send.focus();
  }

  // A layer

  async #read(file) {
    this.#file.value = "";
    if (!file) return;
    if (OTHER_LAYER.test(file.name)) {
      this.#problem(t("share_other_format", { name: file.name }));
      return;
    }
    const text = await file.text().catch(() => "");
    this.#showLayer(text, file.name.replace(LAYER, ""));
  }

  #showLayer(text, name) {
    const { geojson, crs, count, problem } = understand(text);
    const most = this.#page.limits().max_geojson_features;
    if (problem) this.#problem(t(problem));
    else if (count > most) this.#problem(t("share_too_many_features", { count, most }));
    else this.#confirmLayer(geojson, crs, count, text.length, name);
  }

  #confirmLayer(geojson, crs, count, size, name) {
    const named = element("input", { id: "share-name", value: name, maxLength: LONGEST_NAME, required: true });
    const inCrs = element("input", {
      id: "share-crs",
      value: crs || "EPSG:",
      pattern: "[A-Za-z]+:[0-9]+",
      required: true,
    });
    const facts = [[t("share_features"), count], [t("share_size"), inBytes(size)]];
    const message = () => {
      if (!named.reportValidity() || !inCrs.reportValidity()) return null;
      const authid = inCrs.value.toUpperCase();
      const place = authid === WGS84 ? IN_WGS84 : { crs_wkt: "", crs_authid: authid };
      return { type: "geojson", layer_name: named.value.trim() || name, geojson, style: null, ...place };
    };
    this.#confirm(t("share_layer"), facts, message, field(named, t("share_name")), field(inCrs, t("share_crs")));
    if (!crs) inCrs.focus();
  }

  // Places

  async #locate() {
    if (!navigator.geolocation || !globalThis.isSecureContext) {
      this.#problem(t("share_not_located"));
      return;
    }
    this.#show(element("p", { role: "status" }, t("share_locating")), this.#cancel());
    const asked = this.#pending;
    const found = await new Promise((resolve) => {
      navigator.geolocation.getCurrentPosition(({ coords }) => resolve(coords), () => resolve(null), LOCATING);
    });
    if (asked !== this.#pending) return;
    if (!found) {
      this.#problem(t("share_not_located"));
      return;
    }
    const { longitude, latitude, accuracy } = found;
    this.#confirmPosition(t("share_position"), [longitude, latitude], [[
      t("share_accuracy"),
      `± ${Math.ceil(accuracy)} m`,
    ]]);
  }

  #offerLive() {
    const { live } = this.#page.room();
    const choice = (key, minutes) => button("secondary", () => this.#shareLive(live, minutes), t(key));
    this.#show(
      element("h2", {}, t("live_for")),
      element(
        "div",
        { className: "offers" },
        choice("live_quarter", 15),
        choice("live_hour", 60),
        choice("live_day", 480),
      ),
      element("p", { className: "hint" }, t("live_hint")),
      this.#cancel(),
    );
  }

  #shareLive(live, minutes) {
    this.#sheet.close();
    live.start(minutes);
  }

  async #takePoint() {
    this.#sheet.close();
    const found = await this.#page.atlas.pick();
    if (found && this.#canSend) this.#confirmPosition(t("share_point"), found);
  }

  #confirmPosition(title, position, more = []) {
    const [x, y] = position.map(rounded);
    this.#confirm(title, [["lon, lat", lonLat([x, y])], ...more], () => ({ type: "position", ...IN_WGS84, x, y }));
  }

  async #takeExtent() {
    const { atlas } = this.#page;
    if (!atlas.extent) {
      this.#sheet.close();
      await atlas.open();
      if (atlas.extent) this.#page.room()?.notice(t("share_extent_first"));
      return;
    }
    const [xmin, ymin, xmax, ymax] = atlas.extent.map(rounded);
    const facts = [[t("share_from"), lonLat([xmin, ymin])], [t("share_to"), lonLat([xmax, ymax])]];
    this.#confirm(t("share_extent"), facts, () => ({ type: "bbox", ...IN_WGS84, xmin, xmax, ymin, ymax }));
  }
}

/** A position as a message, sent with a photo taken there. */
export function positionMessage(position) {
  const [x, y] = position.map(rounded);
  return { type: "position", ...IN_WGS84, x, y };
}

const isLayer = (file) => Boolean(file) && (LAYER.test(file.name) || OTHER_LAYER.test(file.name));

function field(input, words) {
  const label = element("label", { htmlFor: input.id }, words);
  return element("div", { className: "field" }, label, input);
}

function inBytes(size) {
  return size < 1e6 ? `${Math.ceil(size / 1e3)} kB` : `${(size / 1e6).toFixed(1)} MB`;
}
