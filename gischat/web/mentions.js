/** Mentions, `@nickname`: found in messages, and completed while typing. */

import { byId, element, isolated } from "./dom.js";

const ALL = "all"; // everybody, as in QField
const MENTION = /(@[A-Za-z0-9_-]+)/;
const MAX_CHOICES = 8;

/** A text's parts as [words, nickname]; the nickname is "" in parts that are no mention. */
export const mentioned = (text) =>
  text.split(MENTION).map((part, index) => [part, index % 2 === 1 ? part.slice(1) : ""]);

/** Whether a text mentions me. */
export function isFor(text, me) {
  if (!me) return false;
  return mentioned(text).some(([, name]) => name && isMe(name, me));
}

export const isMe = (name, me) => Boolean(me) && [me.toLowerCase(), ALL].includes(name.toLowerCase());

/** The completion list of a text field for words that begin with an at sign; the focus stays in the text. */
export class Completion {
  #field;
  #list = byId("completions");
  #names = () => [];
  #chosen = 0;
  #choices = [];

  constructor(field, signal) {
    this.#field = field;
    field.addEventListener("input", () => this.#update(), { signal });
    field.addEventListener("blur", () => this.close(), { signal });
    field.addEventListener("click", () => this.#update(), { signal });
  }

  /** Offers the nicknames that `names()` returns. */
  offer(names) {
    this.#names = names;
    this.close();
  }

  /** Handles a key press if it is for the list; returns whether it was. */
  takes(event) {
    if (this.#choices.length === 0 || event.isComposing) return false;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) this.#choose((this.#chosen + step + this.#choices.length) % this.#choices.length);
    else if (["Enter", "Tab"].includes(event.key)) this.#insert(this.#choices[this.#chosen]);
    else if (event.key === "Escape") this.close();
    else return false;
    event.preventDefault();
    return true;
  }

  close() {
    this.#choices = [];
    this.#list.hidden = true;
    this.#field.removeAttribute("aria-activedescendant");
  }

  #update() {
    const begun = this.#begun();
    const fits = (name) => begun !== null && name.toLowerCase().startsWith(begun.toLowerCase());
    this.#choices = [...new Set(this.#names()), ALL].filter(fits).slice(0, MAX_CHOICES);
    if (this.#choices.length === 0 || this.#choices[0] === begun) {
      this.close();
      return;
    }
    this.#list.replaceChildren(...this.#choices.map((name, index) => this.#option(name, index)));
    this.#list.hidden = false;
    this.#choose(0);
  }

  #option(name, index) {
    const option = element("li", { id: `completion-${index}`, role: "option" }, "@", isolated(name));
    option.onpointerdown = (event) => {
      event.preventDefault(); // the text keeps the focus
      this.#insert(name);
    };
    return option;
  }

  #choose(index) {
    this.#chosen = index;
    for (const [place, option] of [...this.#list.children].entries()) option.ariaSelected = String(place === index);
    this.#field.setAttribute("aria-activedescendant", `completion-${index}`);
  }

  /** The text between an @ and the cursor; null if the cursor is not in a mention. */
  #begun() {
    const { value, selectionStart } = this.#field;
    return value.slice(0, selectionStart).match(/(?:^|[^A-Za-z0-9_-])@([A-Za-z0-9_-]*)$/)?.[1] ?? null;
  }

  #insert(name) {
    const { value, selectionStart } = this.#field;
    const start = selectionStart - this.#begun().length;
    const rest = value.slice(selectionStart).replace(/^ ?/, " ");
    this.#field.value = value.slice(0, start) + name + rest;
    this.#field.selectionStart = this.#field.selectionEnd = start + name.length + 1;
    this.close();
    this.#field.dispatchEvent(new Event("input"));
  }
}
