/** Who is here: the registered nicknames, and how many more are incognito. */

import { byId, counted, element } from "./dom.js";

export class People {
  #nicknames = new Set();
  #total = 0;
  #meanwhile = null; // comings and goings since the list was asked for
  #me;

  constructor(me) {
    this.#me = me;
    this.#show();
  }

  /** Takes the server's list. Asked for once per connection and kept by the messages: if everyone asked again
   *  whenever somebody came, a room of a thousand would ask a million times. Without an answer the list is what was
   *  seen of comings and goings. */
  async load(ask) {
    const meanwhile = [];
    this.#meanwhile = meanwhile;
    const nicknames = await ask().catch(() => this.#nicknames);
    if (this.#meanwhile !== meanwhile) return; // a newer request is under way, or nobody looks any more
    this.#nicknames = new Set(nicknames);
    this.#meanwhile = null;
    for (const change of meanwhile) change();
    this.#show();
  }

  close() {
    this.#meanwhile = null;
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
    const sorted = [...this.#nicknames].sort((a, b) => a.toLowerCase().localeCompare(b.toLowerCase()));
    byId("nicknames").replaceChildren(...sorted.map((name) => this.#item(name)));
    const incognito = Math.max(0, this.#total - sorted.length);
    byId("incognito").textContent = incognito > 0 ? `${sorted.length > 0 ? "and " : ""}${incognito} incognito` : "";
    const people = counted(this.#total, "person", "people");
    byId("people-toggle").textContent = people;
    byId("people-title").textContent = `${people} here`;
  }

  #item(name) {
    return element("li", {}, portrait(name), element("span", {}, name === this.#me ? `${name} (you)` : name));
  }
}

/** A round initial in a colour that is always the same for one nickname. */
export function portrait(name) {
  const node = element("span", { className: "portrait", ariaHidden: "true" }, [...name][0].toUpperCase());
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 360;
  node.style.setProperty("--hue", hash);
  return node;
}
