/**
 * Translations of the page: `i18n/<language>.json`, one file per language for translators to edit.
 *
 * A sentence is a string, or an object by plural category (https://www.unicode.org/reports/tr35/tr35-numbers.html,
 * "one", "other", …) of its `{count}`. `{name}` is replaced by a value. The server's own messages are in English.
 */

import { recall } from "./storage.js";

export const LANGUAGES = {
  en: "English",
  fr: "Français",
  de: "Deutsch",
  es: "Español",
  it: "Italiano",
  pt: "Português",
};
export const CHOICE = "gischat.language";

let sentences = {};
let language = "en";

const primary = (tag) => tag.split("-")[0].toLowerCase();

/** Loads the chosen language, or else the first of the browser's languages that we have, and fills the page. */
export async function loadLanguage() {
  const wanted = [recall(CHOICE), ...navigator.languages.map(primary), "en"];
  language = wanted.find((tag) => Object.hasOwn(LANGUAGES, tag));
  const response = await fetch(`web/i18n/${language}.json`, { cache: "no-cache" });
  sentences = await response.json();
  document.documentElement.lang = language;
  fill(document);
}

/** The locale for dates: the browser's, if it matches the page's language. */
export const locale = () => navigator.languages.find((tag) => primary(tag) === language) ?? language;

export const currentLanguage = () => language;

/** A sentence as text. @type {(key: string, values?: Record<string, any>) => string} */
export const t = (key, values = {}) => sentence(key, values).replace(/\{(\w+)\}/g, (_, name) => shown(values[name]));

/** A sentence as nodes; its values may be elements. @type {(key: string, values?: Record<string, any>) => any[]} */
export const nodes = (key, values = {}) =>
  sentence(key, values)
    .split(/\{(\w+)\}/)
    .map((part, index) => (index % 2 === 0 ? part : values[part] instanceof Node ? values[part] : shown(values[part])));

/** Fills elements with the sentences they name: data-t is their text, data-t-<attribute> an attribute's. */
export function fill(root) {
  for (const node of root.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const attribute of ["aria-label", "placeholder", "title"]) {
    for (const node of root.querySelectorAll(`[data-t-${attribute}]`)) {
      node.setAttribute(attribute, t(node.getAttribute(`data-t-${attribute}`)));
    }
  }
}

/** @type {(key: string, values: Record<string, any>) => string} */
function sentence(key, { count }) {
  const found = sentences[key] ?? key;
  return typeof found === "string" ? found : found[new Intl.PluralRules(language).select(count)] ?? found.other;
}

const shown = (value) => (typeof value === "number" ? value.toLocaleString(locale()) : String(value ?? ""));
