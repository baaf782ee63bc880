/** Live positions: where people of a channel are while they want to be seen, and where oneself is. */

import { hue } from "./avatars.js";
import { rounded } from "./geo.js";

const PAUSE = 1_000; // milliseconds between two of one's own
const FRESH = 15; // seconds for which a position is drawn as it is …
const FAINT = 300; // … and after which it is as faint as it gets
const FAINTEST = 0.3;
const LOCATING = { enableHighAccuracy: true, maximumAge: 5_000 };
const DENIED = 1; // GeolocationPositionError.PERMISSION_DENIED

/** How much of its colour a position has that came so many seconds ago. */
export function opacity(seconds) {
  const faded = Math.min(1, Math.max(0, (seconds - FRESH) / (FAINT - FRESH)));
  return 1 - faded * (1 - FAINTEST);
}

/** The people of a channel who share where they are. */
export class Sharers {
  #known = new Map(); // author -> {author, hue, x, y, accuracy, at, endsAt}; the times are this machine's
  #now;
  onChange = () => {};

  constructor(now = () => Date.now()) {
    this.#now = now;
  }

  /** How long it holds is counted from now: the server's clock is not ours. */
  hear({ author, x, y, accuracy, timestamp, until }) {
    const at = this.#now();
    const endsAt = at + (until - timestamp) * 1000;
    if (endsAt > at) this.#known.set(author, { author, hue: hue(author), x, y, accuracy, at, endsAt });
    else this.#known.delete(author);
    this.onChange();
  }

  /** The line was lost: who is still seen comes again with the next. */
  forget() {
    this.#known.clear();
    this.onChange();
  }

  get all() {
    const now = this.#now();
    for (const { author, endsAt } of this.#known.values()) {
      if (endsAt <= now) this.#known.delete(author);
    }
    return [...this.#known.values()].map((one) => ({ ...one, opacity: opacity((now - one.at) / 1000) }));
  }
}

/** One's own position, as long as one shares it: it ends with the connection, which is the tab's. */
export class Own {
  endsAt = 0; // milliseconds; 0: it is not shared
  #handlers;
  #watch = null;
  #position = null;
  #end = null;
  #pause = null;
  #isDue = false;

  /** Handlers: send(message), for which the nickname has to be ours; onChange(); onDenied(). */
  constructor(handlers) {
    this.#handlers = handlers;
  }

  start(minutes) {
    this.stop();
    if (!navigator.geolocation || !globalThis.isSecureContext) {
      this.#handlers.onDenied();
      return;
    }
    this.endsAt = Date.now() + minutes * 60_000;
    this.#end = setTimeout(() => this.stop(), minutes * 60_000);
    this.#watch = navigator.geolocation.watchPosition(({ coords }) => this.#moved(coords), ({ code }) => {
      if (code !== DENIED) return; // it may come yet
      this.stop();
      this.#handlers.onDenied();
    }, LOCATING);
    this.#handlers.onChange();
  }

  stop() {
    if (!this.endsAt) return;
    navigator.geolocation.clearWatch(this.#watch);
    clearTimeout(this.#end);
    clearTimeout(this.#pause);
    this.#pause = null;
    this.endsAt = 0;
    this.say();
    this.#position = null;
    this.#handlers.onChange();
  }

  /** Tells it, or that it is over: also after the line was lost, when the nickname is ours again. */
  say() {
    if (!this.#position) return;
    const timestamp = Math.floor(Date.now() / 1000);
    const until = this.endsAt ? Math.floor(this.endsAt / 1000) : timestamp;
    this.#handlers.send({ type: "live_position", ...this.#position, timestamp, until });
  }

  #moved({ longitude, latitude, accuracy }) {
    this.#position = { x: rounded(longitude), y: rounded(latitude), accuracy: Math.ceil(accuracy) };
    this.#isDue = true;
    if (this.#pause === null) this.#tell();
  }

  #tell() {
    this.#pause = null;
    if (!this.#isDue) return;
    this.#isDue = false;
    this.#pause = setTimeout(() => this.#tell(), PAUSE);
    this.say();
  }
}
