/** Where one writes: the text, a picture, what it replies to. Knows limits, but neither the line nor the log. */

import { maxImageLength } from "./api.js";
import { byId, characters, counted } from "./dom.js";
import { pictureToSend } from "./files.js";

const WARN = 40; // characters left from which on they are counted

export class Composer {
  #limits;
  #handlers;
  #text = byId("text");
  #picture = null; // its base64, as soon as it has been read
  #reading = null; // the file that is being read
  #replyTo = null;
  #listening = new AbortController();

  /**
   * `limits` is the answer of /rules. Handlers:
   *   onSend(message)    {type, …} without id and author
   *   onProblem(words)   why something cannot be sent
   */
  constructor(limits, handlers) {
    this.#limits = limits;
    this.#handlers = handlers;
    const { signal } = this.#listening;
    const on = (id, type, listener) => byId(id).addEventListener(type, listener, { signal });
    on("composer", "submit", (event) => this.#submit(event));
    on("text", "input", () => this.#measure());
    on("text", "keydown", (event) => this.#key(event));
    on("picture", "change", ({ target }) => this.#attach(target.files[0]));
    on("attachment-remove", "click", () => this.#detach());
    on("reply-cancel", "click", () => this.replyTo(null));
    document.addEventListener("paste", (event) => this.#paste(event), { signal });
    this.#text.value = "";
    this.#detach();
    this.replyTo(null);
    this.#measure();
  }

  focus() {
    this.#text.focus();
  }

  replyTo(entry) {
    this.#replyTo = entry;
    byId("reply").hidden = !entry;
    byId("reply-text").textContent = entry ? `Replying to ${entry.author}: ${entry.excerpt}` : "";
    if (entry) this.focus();
  }

  /** Puts a text that could not be delivered back under the hand, unless the next one is already being written. */
  giveBack({ type, text }) {
    if (type !== "text" || this.#text.value !== "") return;
    this.#text.value = text;
    this.#measure();
  }

  close() {
    this.#listening.abort();
    this.#detach();
  }

  #submit(event) {
    event.preventDefault();
    if (byId("send").disabled) return;
    const text = this.#text.value.trim();
    /** @type {Record<string, unknown>[]} */
    const messages = [];
    if (this.#picture) messages.push({ type: "image", image_data: this.#picture });
    if (text) messages.push({ type: "text", text });
    if (messages.length === 0) return;
    if (this.#replyTo) messages.at(-1).in_reply_to_id = this.#replyTo.id;
    for (const message of messages) this.#handlers.onSend(message);
    this.#text.value = "";
    this.#detach();
    this.replyTo(null);
    this.#measure();
  }

  #key(event) {
    if (event.key === "Escape") this.replyTo(null);
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return; // composing: Enter chooses a word
    event.preventDefault();
    byId("composer").requestSubmit();
  }

  #measure() {
    const left = this.#limits.max_message_length - characters(this.#text.value.trim());
    byId("length").textContent = left > WARN ? "" : remaining(left);
    byId("length").classList.toggle("wrong", left < 0);
    byId("send").disabled = left < 0 || this.#reading !== null;
    this.#text.style.height = "auto";
    this.#text.style.height = `${this.#text.scrollHeight}px`;
  }

  #paste(event) {
    const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
    if (!file || byId("composer").hidden) return;
    event.preventDefault();
    this.#attach(file);
  }

  async #attach(file) {
    if (!file) return;
    this.#detach();
    this.#reading = file;
    this.#measure();
    byId("attachment-image").src = URL.createObjectURL(file);
    byId("attachment-text").textContent = "Reading…";
    byId("attachment").hidden = false;
    const { data, problem } = await this.#read(file);
    if (this.#reading !== file) return; // taken away, or replaced, meanwhile
    if (problem) {
      this.#detach();
      this.#handlers.onProblem(problem);
      return;
    }
    this.#reading = null;
    this.#picture = data;
    byId("attachment-text").textContent = file.name;
    this.#measure();
    this.focus();
  }

  /** The picture as {data}, its base64, or the {problem} that keeps it from being sent. */
  async #read(file) {
    try {
      const data = await pictureToSend(file, await maxImageLength(), this.#limits.max_image_size);
      return data ? { data } : { problem: "This picture is too large to be sent. Make it smaller first." };
    } catch {
      return { problem: "This picture could not be read. Please try again." };
    }
  }

  #detach() {
    const image = byId("attachment-image");
    URL.revokeObjectURL(image.src);
    image.removeAttribute("src");
    byId("attachment").hidden = true;
    byId("picture").value = ""; // so that the same file can be picked again
    this.#picture = null;
    this.#reading = null;
    this.#measure();
  }
}

const remaining = (left) => (
  left >= 0
    ? `${counted(left, "character", "characters")} left`
    : `${counted(-left, "character", "characters")} too many`
);
