/** The users of a channel: the registered nicknames, and how many more are incognito. */

import { portrait } from "./avatars.js";
import { byId, element, isolated } from "./dom.js";
import { t } from "./i18n.js";

// Characters that look alike; the server already treats upper and lower case as the same.
const LOOKALIKES = { 0: "o", 1: "l", i: "l", "-": "_" };

/** A nickname's look: two nicknames with the same look can be mistaken for each other. */
export const look = (name) => name.toLowerCase().replace(/[01i-]/g, (character) => LOOKALIKES[character]);

export class People {
  #nicknames = new Set();
  isKnown = false; // whether the server's list has been received
  #total = 0;
  #meanwhile = null; // joins and leaves since the list was requested
  #isOpen = false;
  #me;
  #avatars;
  #onList;

  /** `avatars` is a Map nickname -> icon; `onList()` is called whenever the server's list has been received. */
  constructor(me, avatars, onList) {
    this.#me = me;
    this.#avatars = avatars;
    this.#onList = onList;
  }

  open() {
    this.#isOpen = true;
    this.#show();
  }

  close() {
    this.#isOpen = false;
  }

  /** Loads the server's list. It is requested once per connection and then updated by messages: if every client
   *  requested it for each user who joins, a room of a thousand would make a million requests. Without an answer the
   *  list contains only those seen joining. */
  async load(ask) {
    const meanwhile = [];
    this.#meanwhile = meanwhile;
    const nicknames = await ask().catch(() => null);
    if (this.#meanwhile !== meanwhile) return; // superseded by a newer request, or closed
    this.#meanwhile = null;
    if (nicknames) this.#nicknames = new Set(nicknames);
    this.isKnown = nicknames !== null;
    for (const change of meanwhile) change();
    this.#show();
    this.#onList();
  }

  end() {
    this.#meanwhile = null;
    this.close();
  }

  /** The registered nicknames, as far as known. */
  get names() {
    return [...this.#nicknames];
  }

  /**
   * Judges whether an author's name is genuine; returns [verdict, nickname]: "" if it is registered or the list is not
   * known, "unregistered", or "lookalike" with the nickname that it resembles.
   */
  judge(author) {
    if (!this.isKnown || this.#nicknames.has(author)) return ["", ""];
    const like = [...this.#nicknames].find((name) => look(name) === look(author));
    return like ? ["lookalike", like] : ["unregistered", ""];
  }

  came(nickname) {
    this.#change(() => this.#nicknames.add(nickname));
  }

  went(nickname) {
    this.#change(() => this.#nicknames.delete(nickname));
  }

  count(total) {
    this.#total = total;
    this.#show();
  }

  #change(change) {
    this.#meanwhile?.push(change);
    change();
    this.#show();
  }

  #show() {
    if (!this.#isOpen) return;
    const sorted = [...this.#nicknames].sort((a, b) => a.toLowerCase().localeCompare(b.toLowerCase()));
    byId("nicknames").replaceChildren(...sorted.map((name) => this.#item(name)));
    const count = Math.max(0, this.#total - sorted.length);
    byId("incognito").textContent = count > 0 ? t(sorted.length > 0 ? "and_incognito" : "incognito", { count }) : "";
    byId("people-toggle").textContent = t("people", { count: this.#total });
    byId("people-title").textContent = t("people_here", { count: this.#total });
  }

  #item(name) {
    const shown = name === this.#me ? t("you", { name }) : name;
    return element("li", {}, portrait(name, this.#avatars.get(name)), isolated(shown));
  }
}
