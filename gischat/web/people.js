/** Who is here: the registered nicknames, and how many more are incognito. */

import { portrait } from "./avatars.js";
import { byId, element, isolated } from "./dom.js";
import { t } from "./i18n.js";

// What eyes take for the same: the server holds upper and lower case for the same, and so are these.
const LOOKALIKES = { 0: "o", 1: "l", i: "l", "-": "_" };

/** What a nickname looks like: two with the same look may be mistaken for one another. */
export const look = (name) => name.toLowerCase().replace(/[01i-]/g, (character) => LOOKALIKES[character]);

export class People {
  #nicknames = new Set();
  isKnown = false; // whether the server's list has come
  #total = 0;
  #meanwhile = null; // comings and goings since the list was asked for
  #isOpen = false;
  #me;
  #avatars;
  #onList;

  /** `avatars` is a Map nickname -> icon; `onList()` is called whenever the server's list has come. */
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

  /** Takes the server's list. Asked for once per connection and kept by the messages: if everyone asked again
   *  whenever somebody came, a room of a thousand would ask a million times. Without an answer the list is what was
   *  seen of comings and goings. */
  async load(ask) {
    const meanwhile = [];
    this.#meanwhile = meanwhile;
    const nicknames = await ask().catch(() => null);
    if (this.#meanwhile !== meanwhile) return; // a newer request is under way, or nobody looks any more
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

  /** The nicknames that are registered, as far as they are known. */
  get names() {
    return [...this.#nicknames];
  }

  /**
   * Whether an author is who the name says: "" if that name is registered, or it is not known who is; "unregistered", or
   * "lookalike", with the nickname that it looks like, as [verdict, nickname].
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
