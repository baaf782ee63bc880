/**
 * The outbox: sends messages one at a time and waits for the server's answer to each.
 *
 * A post is sent as a whole: a picture, its caption and the reply stay together. It is
 *   {id, at, replyTo, messages, refused, reason, reasonKey, sentAt}
 *   at         when it was written; sentAt when it was first sent (null: never); milliseconds since the epoch
 *   messages   those not yet published, in order
 *   refused    it waits for its author to retry, edit or remove it; `reason` is the server's reason, or `reasonKey` the
 *              key of the page's
 *
 * A message is answered by its echo, recognised by the id that the page gave it, or by a refusal, which names no
 * message: with only one message in flight it is clear which is meant. After a reconnection the message in flight is
 * sent again under the same id; the server publishes an id only once within ten minutes.
 *
 * The browser stores all posts by channel and nickname; only the holder of the nickname sends them.
 */

import { forgetLarge, recallJson, recallLarge, remember, rememberLarge } from "./storage.js";

const PATIENCE = 45_000; // milliseconds; the server gives a picture up to 30 s
const MAX_TRIES = 4; // connections that ended without an answer
export const ID_MEMORY = 570_000; // milliseconds in which the server recognises an id: its ten minutes, less a margin
const SMALL = 4_000; // characters; larger messages are kept in IndexedDB
// The server's advice when a rate limit is exceeded: the message is sent again after that time.
export const PLEASE_WAIT = /Please wait (\d+) seconds?\./;

export class Outbox {
  #key;
  #posts = [];
  #kept = []; // posts of an earlier page that are being restored
  #ready = false; // connected, and allowed to send
  #asked = null; // the post whose first message is in flight
  #tries = 0;
  #timer = null;
  #heldUntil = 0;
  #handlers;

  /**
   * `key` identifies channel and nickname. Handlers:
   *   send(message)       sends it
   *   onPost(post)        a post is new or has changed; one without messages is done
   *   onSilence()         no answer came: the connection may be dead
   */
  constructor(key, handlers) {
    this.#key = `gischat.outbox.${key}`;
    this.#handlers = handlers;
  }

  /** Whether posts are sent at once. */
  get isReady() {
    return this.#ready;
  }

  /** The number of messages in flight or waiting to be sent. */
  get pending() {
    return this.#posts.filter(({ refused }) => !refused).reduce((sum, { messages }) => sum + messages.length, 0);
  }

  /** The number of posts that are neither published nor removed. */
  get unsent() {
    return this.#posts.length;
  }

  /** Restores an earlier page's posts. Those that may have been published, or are old, wait for their author;
   *  `isPublished(id)` tells which messages have been received since. */
  async restore(isPublished) {
    this.#kept = recallJson(this.#key, []);
    const found = await Promise.all(this.#kept.map(withLarge));
    this.#kept = [];
    for (const post of found) post.messages = post.messages.filter(({ id }) => !isPublished(id));
    const left = found.filter(({ messages }) => messages.length > 0);
    for (const post of left) {
      if (!post.refused && Date.now() - (post.sentAt ?? post.at) > ID_MEMORY) refuse(post, "", reasonOf(post));
    }
    this.#posts = [...left, ...this.#posts];
    this.#changed(...left);
    this.#next();
  }

  push(post) {
    this.#posts.push(post);
    this.#changed(post);
    this.#next();
  }

  /** Sends a refused post again. */
  retry(id) {
    const post = this.#find(id);
    if (!post) return;
    Object.assign(post, { refused: false, reason: "", reasonKey: "" });
    this.#heldUntil = 0;
    this.#changed(post);
    this.#next();
  }

  /** Removes a post; returns it, or undefined if it is already gone. */
  remove(id) {
    const post = this.#find(id);
    if (!post) return undefined;
    const taken = { ...post };
    this.#end(post);
    return taken;
  }

  /** Connected: starts sending, the message in flight first. */
  resume() {
    this.#ready = true;
    this.#asked = null;
    this.#changed(...this.#posts);
    this.#next();
  }

  /** Disconnected: stops sending; `told` is the server's reason if it refused the message in flight. */
  pause(told = "") {
    this.#ready = false;
    clearTimeout(this.#timer);
    if (told || this.#tries >= MAX_TRIES) this.refuse(told);
    this.#asked = null;
    this.#changed(...this.#posts);
  }

  /** The server has broadcast the message with this id. */
  settle(id) {
    const post = this.#posts.find(({ messages }) => messages.some((message) => message.id === id));
    if (!post) return;
    post.messages = post.messages.filter((message) => message.id !== id);
    void forgetLarge(id);
    if (this.#asked === post) this.#answered();
    if (post.messages.length === 0) this.#end(post);
    else this.#changed(post);
    this.#next();
  }

  /** The server refused the message in flight; returns its post, or undefined if there was none. */
  refuse(reason) {
    const post = this.#asked;
    if (!post) return undefined;
    this.#answered();
    const wait = reason.match(PLEASE_WAIT);
    if (wait) this.#hold(Number(wait[1]) * 1000);
    if (wait) post.reason = reason;
    else refuse(post, reason, reason ? "" : "unconfirmed");
    this.#changed(post);
    this.#next();
    return post;
  }

  #hold(milliseconds) {
    this.#heldUntil = Date.now() + milliseconds;
    setTimeout(() => this.#next(), milliseconds + 50);
  }

  #next() {
    if (!this.#ready || this.#asked || Date.now() < this.#heldUntil) return;
    const post = this.#posts.find(({ refused }) => !refused);
    if (!post) return;
    this.#asked = post;
    this.#tries += 1;
    post.sentAt ??= Date.now();
    post.reason = "";
    this.#save();
    this.#timer = setTimeout(() => this.#unanswered(), PATIENCE);
    this.#handlers.send(post.messages[0]);
  }

  #answered() {
    clearTimeout(this.#timer);
    this.#tries = 0;
    this.#asked = null;
  }

  #unanswered() {
    if (this.#tries < 2) this.#handlers.onSilence();
    else this.refuse("");
  }

  #end(post) {
    for (const { id } of post.messages) void forgetLarge(id);
    if (this.#asked === post) this.#answered();
    this.#posts = this.#posts.filter((other) => other !== post);
    this.#changed({ ...post, messages: [] });
    this.#next();
  }

  #find(id) {
    return this.#posts.find((post) => post.id === id);
  }

  #changed(...posts) {
    this.#save();
    for (const post of posts) this.#handlers.onPost(post);
  }

  #save() {
    const posts = this.#posts.map((post) => ({ ...post, messages: post.messages.map(withoutLarge) }));
    const kept = [...this.#kept, ...posts];
    remember(this.#key, kept.length > 0 ? JSON.stringify(kept) : "");
  }
}

function refuse(post, reason, reasonKey) {
  Object.assign(post, { refused: true, reason, reasonKey });
}

const reasonOf = ({ sentAt }) => (sentAt ? "unconfirmed" : "left_before_sent");

const isKept = new Set(); // ids of messages in IndexedDB

function withoutLarge(message) {
  if (!Object.values(message).some(isLarge)) return message;
  if (!isKept.has(message.id)) void rememberLarge(message.id, message);
  isKept.add(message.id);
  return { id: message.id, large: true };
}

const isLarge = (
  value,
) => (typeof value === "string" ? value.length > SMALL : value !== null && typeof value === "object");

async function withLarge(post) {
  const messages = await Promise.all(
    post.messages.map((message) => (message.large ? recallLarge(message.id) : message)),
  );
  return { ...post, messages: messages.filter(Boolean) };
}

/** A random UUID. `crypto.randomUUID` exists only over https, but many chats run over http in a LAN. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40; // version 4
  bytes[8] = (bytes[8] & 0x3f) | 0x80; // variant of RFC 9562
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
