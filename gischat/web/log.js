/**
 * The messages in sight: the newest at the bottom, which stays in sight unless somebody scrolled up to read.
 *
 * What comes is shown with the next frame, and what comes together is laid out once: each element that were appended
 * by itself would have the whole log laid out anew.
 */

import { button, byId, element } from "./dom.js";
import { release } from "./files.js";
import { t } from "./i18n.js";
import { day } from "./time.js";

const LONGEST = 500; // elements; a page that is open for weeks must not grow for ever
const REMEMBERED = 2_000; // ids of what was said; after a reconnection the history comes again
const NEAR = 60; // pixels from the bottom that count as being there
const BUDGET = 25; // milliseconds of a frame for making elements; what is left follows in the next
const HIDDEN_PAUSE = 200; // milliseconds; a page that nobody sees has no frames

export class Log {
  #root = element("div", { className: "log", role: "log", tabIndex: 0, ariaLabel: t("messages") });
  #newest = button("newest", () => this.follow(), t("new_messages"));
  #waiting = []; // {make, timestamp} of what is to be shown, or {update} of what is
  #isScheduled = false;
  #seen = new Set();
  #lastDay = null; // the key of the newest day that has a line
  #entries = new Map(); // id -> {id, author, excerpt, …, node} of what somebody wrote and is still in sight
  #posts = new Map(); // id -> element of a post that is not sent yet
  #atBottom = true;
  #scrollTop = 0;
  #resized = new ResizeObserver(() => this.#atBottom && this.#toBottom());

  constructor() {
    this.#newest.hidden = true;
    this.#root.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#root.addEventListener("load", () => this.#atBottom && this.#toBottom(), true); // a picture got its height
  }

  /** Puts the log on the page. */
  open() {
    this.#root.id = "log";
    this.#newest.id = "newest";
    byId("talk").prepend(this.#root, this.#newest);
    if (this.#atBottom) this.#toBottom();
    else this.#root.scrollTop = this.#scrollTop;
    this.#resized.observe(this.#root); // a keyboard comes up, a window is turned
  }

  /** Takes it off the page, as it is. */
  close() {
    this.#resized.disconnect();
    this.#root.remove();
    this.#newest.remove();
  }

  /** Gives back what its pictures hold. */
  end() {
    this.close();
    release(this.#root);
  }

  focus() {
    this.#root.focus();
  }

  /** Whether what was said under this id has come before, though it may be out of sight by now. */
  hasShown(id) {
    return this.#seen.has(id);
  }

  /** Notes that what was said under this id has come. */
  note(id) {
    this.#seen.add(id);
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value);
  }

  /** Shows what `make()` returns, {node, entry} or null, below the others, and its day where a new one begins. */
  add(make, timestamp) {
    this.#wait({ make, timestamp });
  }

  /** Shows what somebody has written here and is not published: `make()` returns its element, or null when it is done.
   *  It stays where it was written; of an earlier page (`isRestored`) it stays below all that is older. */
  put(id, make, { isRestored = false, timestamp = 0 } = {}) {
    this.#wait({ update: () => this.#put(id, make(), isRestored, timestamp) });
  }

  /** What somebody wrote under this id, {id, author, excerpt, …, node}, or undefined when it is no longer here. */
  find(id) {
    return this.#entries.get(id);
  }

  /** The newest entry for which `isMeant(entry)`, or undefined. */
  findLast(isMeant) {
    return [...this.#entries.values()].reverse().find(isMeant);
  }

  /** Brings the message of this id into sight; whether it is here. */
  reveal(id) {
    const node = this.#entries.get(id)?.node;
    if (!node) return false;
    this.#atBottom = false;
    node.scrollIntoView({ block: "center" });
    node.focus({ preventScroll: true });
    this.#scrolled(); // it may be the last one
    return true;
  }

  /** Does something with the log as soon as all that has come is shown. */
  afterwards(act) {
    this.#wait({ update: act });
  }

  /** Back to the newest messages, and there until somebody scrolls up again. */
  follow() {
    this.#atBottom = true;
    this.#newest.hidden = true;
    this.#toBottom();
  }

  #wait(item) {
    this.#waiting.push(item);
    if (!this.#isScheduled) this.#schedule();
  }

  #schedule() {
    this.#isScheduled = true;
    if (document.hidden || !this.#root.isConnected) setTimeout(() => this.#flush(), HIDDEN_PAUSE);
    else requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    this.#isScheduled = false;
    const end = performance.now() + BUDGET;
    // Of what came while nobody looked, only what fits is made at all.
    const isLate = this.#waiting.length > LONGEST;
    if (isLate) {
      this.#waiting = this.#waiting.filter(({ update }, index) => update || index >= this.#waiting.length - LONGEST);
    }
    let added = false;
    while (this.#waiting.length > 0 && performance.now() < end) {
      const { make, timestamp, update } = this.#waiting.shift();
      update?.();
      const shown = make?.();
      if (shown) this.#show(shown, timestamp);
      added ||= Boolean(shown);
    }
    while (this.#root.childElementCount > LONGEST + this.#posts.size) this.#dropOldest();
    if (this.#atBottom) this.#toBottom();
    else if (added) this.#newest.hidden = false;
    if (this.#waiting.length > 0) this.#schedule();
  }

  #show({ node, entry }, timestamp) {
    const place = this.#placeFor(timestamp);
    const today = day(timestamp);
    if (today && (this.#lastDay === null || today.key > this.#lastDay)) {
      this.#lastDay = today.key;
      this.#root.insertBefore(element("h2", { className: "day" }, today.words), place);
    }
    if (entry) {
      node.dataset.id = entry.id;
      this.#entries.set(entry.id, { ...entry, node });
    }
    node.tabIndex = -1; // a quotation can put the focus on it
    this.#root.insertBefore(node, place);
  }

  /** Before which element a message comes: at the end, but before what an earlier page has left and is newer. */
  #placeFor(timestamp) {
    let place = null;
    for (
      let last = this.#root.lastElementChild;
      last?.dataset.restored > timestamp;
      last = last.previousElementSibling
    ) {
      place = last;
    }
    return place;
  }

  #put(id, node, isRestored, timestamp) {
    const before = this.#posts.get(id);
    if (node) {
      node.tabIndex = -1;
      if (isRestored) node.dataset.restored = timestamp;
      else if (before?.dataset.restored) node.dataset.restored = before.dataset.restored;
      this.#posts.set(id, node);
      const hasFocus = before?.contains(document.activeElement);
      if (before) before.replaceWith(node);
      else this.#root.append(node);
      if (hasFocus) node.focus({ preventScroll: true });
    } else {
      this.#posts.delete(id);
      before?.remove();
    }
    if (before) release(before);
  }

  #dropOldest() {
    const oldest = this.#root.querySelector(":scope > :not(.unsent)");
    this.#entries.delete(oldest.dataset.id);
    release(oldest);
    oldest.remove();
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.#root;
    if (!this.#root.isConnected) return;
    const near = scrollHeight - scrollTop - clientHeight < NEAR;
    // A picture that just got its height puts the bottom out of reach as well: only going up means to stay up.
    this.#atBottom = near || (this.#atBottom && scrollTop >= this.#scrollTop);
    this.#scrollTop = scrollTop;
    if (this.#atBottom) this.#newest.hidden = true;
  }

  #toBottom() {
    if (this.#root.isConnected) this.#root.scrollTop = this.#root.scrollHeight;
  }
}
