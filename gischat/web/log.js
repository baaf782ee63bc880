/** The messages in sight: the newest at the bottom, which stays in sight unless somebody scrolled up to read. */

import { byId, element } from "./dom.js";
import { release } from "./files.js";
import { day } from "./render.js";

const LONGEST = 500; // elements; a page that is open for weeks must not grow for ever
const REMEMBERED = 2_000; // ids of what was said; after a reconnection the history comes again
const NEAR = 60; // pixels from the bottom that count as being there

export class Log {
  #root = byId("log");
  #button = byId("newest");
  #seen = new Set();
  #day = null;
  #entries = new Map(); // id -> {id, author, excerpt, node} of what somebody wrote and is still in sight
  #atBottom = true;
  #scrollTop = 0;
  #resized = new ResizeObserver(() => this.#atBottom && this.#toBottom());
  #listening = new AbortController();

  constructor() {
    const { signal } = this.#listening;
    this.#root.addEventListener("scroll", () => this.#scrolled(), { signal, passive: true });
    this.#button.addEventListener("click", () => this.follow(), { signal });
    this.#resized.observe(this.#root); // a keyboard comes up, a window is turned
  }

  /** Whether what was said under this id has been shown, though it may be out of sight by now. */
  hasShown(id) {
    return this.#seen.has(id);
  }

  /** Shows a message's element below the others, and its day where a new one begins.
   *  @param {{node: HTMLElement, entry?: {id: string, author: string, excerpt: string}}} shown
   *  @param {number} timestamp */
  add({ node, entry }, timestamp) {
    const today = day(timestamp);
    if (today !== this.#day) this.#append(element("h2", { className: "day" }, today));
    this.#day = today;
    if (entry) this.#remember(entry, node);
    this.#append(node);
    if (!this.#atBottom) this.#button.hidden = false;
  }

  /** What somebody wrote under this id, {id, author, excerpt, node}, or undefined when it is no longer here. */
  find(id) {
    return this.#entries.get(id);
  }

  /** Back to the newest messages, and there until somebody scrolls up again. */
  follow() {
    this.#atBottom = true;
    this.#button.hidden = true;
    this.#toBottom();
  }

  #remember(entry, node) {
    node.dataset.id = entry.id;
    this.#entries.set(entry.id, { ...entry, node });
    this.#seen.add(entry.id);
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value);
  }

  close() {
    this.#listening.abort();
    this.#resized.disconnect();
    release(this.#root);
    this.#root.replaceChildren();
    this.#button.hidden = true;
  }

  #append(node) {
    node.tabIndex = -1; // a quotation can put the focus on it
    this.#root.append(node);
    this.#resized.observe(node); // pictures get their height later
    while (this.#root.childElementCount > LONGEST) this.#dropOldest();
    if (this.#atBottom) this.#toBottom();
  }

  #dropOldest() {
    const oldest = this.#root.firstElementChild;
    this.#resized.unobserve(oldest);
    this.#entries.delete(oldest.dataset.id);
    release(oldest);
    oldest.remove();
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.#root;
    const near = scrollHeight - scrollTop - clientHeight < NEAR;
    // A picture that just got its height puts the bottom out of reach as well: only going up means to stay up.
    this.#atBottom = near || (this.#atBottom && scrollTop >= this.#scrollTop);
    this.#scrollTop = scrollTop;
    if (this.#atBottom) this.#button.hidden = true;
  }

  #toBottom() {
    this.#root.scrollTop = this.#root.scrollHeight;
  }
}
