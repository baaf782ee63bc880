/** The composer: text, picture, and the message replied to. It checks limits; it does not know connection or log. */

import { maxImageLength } from "./api.js";
import { byId, characters, element, isolated } from "./dom.js";
import { takenAt } from "./exif.js";
import { pictureToSend, pictureUrl } from "./files.js";
import { lonLat } from "./geo.js";
import { nodes, t } from "./i18n.js";
import { Completion } from "./mentions.js";
import { forgetLarge, recallJson, recallLarge, remember, rememberLarge } from "./storage.js";

const WARN = 40; // characters left below which their number is shown
const EXIF_BYTES = 2 ** 17; // from a photo's beginning, which contain its GPS position

/** A draft: an unsent message in one channel. It survives a reload. */
export class Draft {
  text = "";
  replyTo = null; // {id, author, excerpt}
  picture = null; // {data, name}: its base64
  reading = null; // the file being read
  #key;

  constructor(key) {
    this.#key = `gischat.draft.${key}`;
    const { text = "", replyTo = null } = recallJson(this.#key, {});
    Object.assign(this, { text, replyTo });
  }

  /** Restores the picture from before a reload. */
  async restore() {
    if (recallJson(this.#key, {}).hasPicture) this.picture ??= (await recallLarge(this.#key)) ?? null;
  }

  get isEmpty() {
    return !this.text.trim() && !this.picture && !this.reading;
  }

  save() {
    const { text, replyTo } = this;
    const hasPicture = Boolean(this.picture);
    remember(this.#key, text || replyTo || hasPicture ? JSON.stringify({ text, replyTo, hasPicture }) : "");
  }

  setPicture(picture) {
    this.picture = picture;
    this.reading = null;
    void (picture ? rememberLarge(this.#key, picture) : forgetLarge(this.#key));
    this.save();
  }

  /** Returns the draft's content and empties it. */
  take() {
    const { text, replyTo, picture } = this;
    Object.assign(this, { text: "", replyTo: null });
    this.setPicture(null);
    return { text: text.trim(), replyTo, picture };
  }

  put({ text, replyTo, picture }) {
    Object.assign(this, { text, replyTo });
    this.setPicture(picture);
  }
}

/** The page's form, which shows the draft of the open channel. */
export class Composer {
  #limits = null;
  #handlers = null;
  #draft = null;
  #text = byId("text");
  #completion;

  constructor() {
    const on = (id, type, listener) => byId(id).addEventListener(type, listener);
    this.#completion = new Completion(this.#text);
    on("composer", "submit", (event) => this.#submit(event));
    on("text", "input", () => this.#write());
    on("text", "keydown", (event) => this.#key(event));
    on("picture", "change", ({ target }) => this.#attach(target.files[0]));
    on("attachment-remove", "click", () => this.#detach());
    on("reply-cancel", "click", () => this.replyTo(null));
    document.addEventListener("paste", (event) => this.#paste(event));
  }

  /**
   * Shows a draft. `limits` is the answer of /rules. Handlers:
   *   onSend({text, replyTo, picture})   the user sends the draft
   *   onProblem(words)                   something cannot be sent, for this reason
   *   names()                            returns the nicknames that can be mentioned
   */
  open(draft, limits, handlers) {
    this.#draft = draft;
    this.#limits = limits;
    this.#handlers = handlers;
    this.#completion.offer(() => handlers.names());
    this.show();
    void draft.restore().then(() => this.#draft === draft && this.#showPicture());
  }

  /** Shows the draft's current content. */
  show() {
    this.#text.value = this.#draft.text;
    this.#showReply();
    this.#showPicture();
  }

  close() {
    this.#draft = null;
    this.#completion.close();
  }

  focus() {
    this.#text.focus();
  }

  replyTo(entry) {
    this.#draft.replyTo = entry && { id: entry.id, author: entry.author, excerpt: entry.excerpt };
    this.#draft.save();
    this.#showReply();
    if (entry) this.focus();
  }

  #showReply() {
    const entry = this.#draft.replyTo;
    byId("reply").hidden = !entry;
    const words = entry ? { name: isolated(entry.author), words: isolated(entry.excerpt) } : {};
    byId("reply-text").replaceChildren(...(entry ? nodes("replying_to", words) : []));
  }

  #submit(event) {
    event.preventDefault();
    if (byId("send").disabled || this.#draft.isEmpty) return;
    const written = this.#draft.take();
    this.show();
    this.#handlers.onSend(written);
  }

  #key(event) {
    if (this.#completion.takes(event)) return;
    if (event.key === "Escape") this.replyTo(null);
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return; // composing: Enter chooses a word
    event.preventDefault();
    byId("composer").requestSubmit();
  }

  #write() {
    this.#draft.text = this.#text.value;
    this.#draft.save();
    this.#measure();
  }

  #measure() {
    const left = this.#limits.max_message_length - characters(this.#text.value.trim());
    byId("length").textContent = left > WARN
      ? ""
      : t(left >= 0 ? "left_to_write" : "too_many", { count: Math.abs(left) });
    byId("length").classList.toggle("wrong", left < 0);
    byId("send").disabled = left < 0 || this.#draft.reading !== null;
    this.#text.style.height = "auto";
    this.#text.style.height = `${this.#text.scrollHeight}px`;
  }

  #paste(event) {
    const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
    if (!file || !this.#draft || byId("composer").hidden) return;
    event.preventDefault();
    void this.#attach(file);
  }

  /** Reads a picture into the draft that is open now, even if another one is open when it has been read. */
  async #attach(file) {
    if (!file) return;
    const draft = this.#draft;
    const { onProblem } = this.#handlers;
    draft.setPicture(null);
    draft.reading = file;
    this.#showPicture();
    const { data, problem } = await this.#read(file);
    const place = await placeOf(file);
    if (draft.reading !== file) return; // removed or replaced meanwhile
    draft.setPicture(data ? { data, name: file.name, place } : null);
    if (problem) onProblem(problem);
    if (this.#draft !== draft) return;
    this.#showPicture();
    if (!problem) this.focus();
  }

  /** The picture as {data}, its base64, or {problem} if it cannot be sent. */
  async #read(file) {
    try {
      const data = await pictureToSend(file, await maxImageLength(), this.#limits.max_image_size);
      return data ? { data } : { problem: t("picture_too_large") };
    } catch {
      return { problem: t("picture_unread") };
    }
  }

  /** Offers to share the place of a photo, since the server removes it from the file. */
  #offerPlace(picture) {
    byId("attachment-place")?.remove();
    if (!picture?.place) return;
    const check = element("input", { type: "checkbox", checked: Boolean(picture.takenAt) });
    check.onchange = () => this.#draft.setPicture({ ...picture, takenAt: check.checked ? picture.place : null });
    const words = t("share_taken_at", { place: lonLat(picture.place.map((degrees) => Number(degrees.toFixed(5)))) });
    const offer = element("label", { id: "attachment-place", className: "check" }, check, " ", words);
    byId("attachment-remove").before(offer);
  }

  #detach() {
    this.#draft.setPicture(null);
    this.#showPicture();
  }

  #showPicture() {
    const { picture, reading } = this.#draft;
    const image = byId("attachment-image");
    URL.revokeObjectURL(image.src);
    const src = preview(picture, reading);
    image.hidden = !src;
    if (src) image.src = src;
    else image.removeAttribute("src");
    byId("attachment").hidden = !picture && !reading;
    this.#offerPlace(picture);
    byId("attachment-text").textContent = reading ? t("reading") : picture?.name ?? "";
    byId("picture").value = ""; // so that the same file can be picked again
    this.#measure();
  }
}

/** Where a photo was taken, [longitude, latitude], or null. */
async function placeOf(file) {
  const start = await file.slice(0, EXIF_BYTES).arrayBuffer().catch(() => new ArrayBuffer(0));
  return takenAt(start);
}

function preview(picture, reading) {
  if (reading) return URL.createObjectURL(reading);
  try {
    return picture && pictureUrl(picture.data);
  } catch {
    return null; // a format that the server can read, but that browsers do not show from raw bytes
  }
}
