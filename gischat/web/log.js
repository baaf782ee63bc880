/**
 * The message log: the newest messages at the bottom, to which it scrolls unless the user has scrolled up.
 *
 * Messages are rendered in batches, once per animation frame: each element appended by itself would cause a layout of
 * the whole log.
 */

import { button, byId, element } from "./dom.js";
import { release } from "./files.js";
import { t } from "./i18n.js";
import { day } from "./time.js";

const LONGEST = 500; // elements; a page that is open for weeks must not grow for ever
const REMEMBERED = 2_000; // message ids; the history is sent again after a reconnection
const NEAR = 60; // pixels from the bottom that count as the bottom
const BUDGET = 25; // milliseconds per frame for making elements; the rest follows in the next frame
const HIDDEN_PAUSE = 200; // milliseconds; a hidden page has no frames

export class Log {
  #root = element("div", { className: "log", role: "log", tabIndex: 0, ariaLabel: t("messages") });
  #newest = button("newest", () => this.follow(), t("new_messages"));
  #waiting = []; // {make, timestamp} of messages to be shown, or {update}
  #isScheduled = false;
  #seen = new Set();
  #lastDay = null; // the key of the newest day with a line
  #entries = new Map(); // id -> {id, author, excerpt, …, node} of users' messages that are still in the log
  #posts = new Map(); // id -> element of an unsent post
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
    this.#resized.observe(this.#root); // an on-screen keyboard opens, a phone is turned
  }

  /** Removes the log from the page, unchanged. */
  close() {
    this.#resized.disconnect();
    this.#root.remove();
    this.#newest.remove();
  }

  /** Closes the log for good and frees its pictures. */
  end() {
    this.close();
    release(this.#root);
  }

  focus() {
    this.#root.focus();
  }

  /** Whether the message with this id has been received, even if it is no longer in the log. */
  hasShown(id) {
    return this.#seen.has(id);
  }

  /** Records that the message with this id has been received. */
  note(id) {
    this.#seen.add(id);
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value);
  }

  /** Appends the result of `make()`, {node, entry} or null, with a line for its day if a new one begins. */
  add(make, timestamp) {
    this.#wait({ make, timestamp });
  }

  /** Shows or updates an unpublished post: `make()` returns its element, or null when it is done. It stays where it was
   *  first shown; if restored from an earlier page (`isRestored`), it stays below all older messages. */
  put(id, make, { isRestored = false, timestamp = 0 } = {}) {
    this.#wait({ update: () => this.#put(id, make(), isRestored, timestamp) });
  }

  /** The entry of a message, {id, author, excerpt, …, node}, or undefined if it is no longer in the log. */
  find(id) {
    return this.#entries.get(id);
  }

  /** The newest entry for which `isMeant(entry)`, or undefined. */
  findLast(isMeant) {
    return [...this.#entries.values()].reverse().find(isMeant);
  }

  /** Scrolls to a message; returns whether it is in the log. */
  reveal(id) {
    const node = this.#entries.get(id)?.node;
    if (!node) return false;
    this.#atBottom = false;
    node.scrollIntoView({ block: "center" });
    node.focus({ preventScroll: true });
    this.#scrolled(); // it may be the last message
    return true;
  }

  /** Calls `act` as soon as all received messages are shown. */
  afterwards(act) {
    this.#wait({ update: act });
  }

  /** Scrolls to the newest messages and stays there until the user scrolls up. */
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
    // Of the messages received while the page was hidden, only those that fit are made.
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
    node.tabIndex = -1; // a quotation can move the focus to it
    this.#root.insertBefore(node, place);
  }

  /** The element before which a message is inserted: null for the end, or a restored post that is newer. */
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
    // A picture that just got its height moves the bottom away, too, so only scrolling up counts as leaving it.
    this.#atBottom = near || (this.#atBottom && scrollTop >= this.#scrollTop);
    this.#scrollTop = scrollTop;
    if (this.#atBottom) this.#newest.hidden = true;
  }

  #toBottom() {
    if (this.#root.isConnected) this.#root.scrollTop = this.#root.scrollHeight;
  }
}
