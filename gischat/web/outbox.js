/**
 * What this page sends, one message at a time, until the server has answered each.
 *
 * The answer to a message is its echo, known by the id that the page gave it, or a refusal, which names no message:
 * with only one on its way there is no doubt which is meant. After a reconnection the one on its way is sent again
 * under the same id, and the server publishes an id once.
 */

const PATIENCE = 45_000; // milliseconds; the server gives a picture up to 30 s

export class Outbox {
  #queue = [];
  #ready = false; // the line is up and this connection may talk
  #asked = false; // the first of the queue is on its way
  #tries = 0;
  #timer = null;
  #handlers;

  /**
   * Handlers:
   *   send(message)        puts it on the line
   *   onChange(count)      how many wait for their answer
   *   onSilence()          no answer: the line may be dead
   *   onGivenUp(message)   no answer on a second line either
   */
  constructor(handlers) {
    this.#handlers = handlers;
  }

  push(message) {
    this.#queue.push(message);
    this.#next();
  }

  /** The line is ready; what was on its way is sent again. */
  resume() {
    this.#ready = true;
    this.#asked = false;
    this.#next();
  }

  /** The line broke. */
  pause() {
    this.#ready = false;
    clearTimeout(this.#timer);
  }

  /** The server has broadcast the message of this id. */
  settle(id) {
    if (this.#queue[0]?.id === id) this.#drop();
  }

  /** The server refused what was on its way; returns it, or undefined when nothing was. */
  refuse() {
    return this.#asked ? this.#drop() : undefined;
  }

  #next() {
    this.#handlers.onChange(this.#queue.length);
    if (!this.#ready || this.#asked || this.#queue.length === 0) return;
    this.#asked = true;
    this.#tries += 1;
    this.#timer = setTimeout(() => this.#unanswered(), PATIENCE);
    this.#handlers.send(this.#queue[0]);
  }

  #drop() {
    clearTimeout(this.#timer);
    this.#tries = 0;
    this.#asked = false;
    const message = this.#queue.shift();
    this.#next();
    return message;
  }

  #unanswered() {
    if (this.#tries < 2) this.#handlers.onSilence();
    else this.#handlers.onGivenUp(this.#drop());
  }
}

/** A random UUID. `crypto.randomUUID` exists over https only, and many chats run on a plain http LAN. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40; // version 4
  bytes[8] = (bytes[8] & 0x3f) | 0x80; // variant of RFC 9562
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
