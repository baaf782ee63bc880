/**
 * What this page sends, one message at a time, until the server has answered each.
 *
 * A post is what somebody wrote at once: a picture, its caption and what they reply to stay together. It is
 *   {id, at, replyTo, messages, refused, reason, reasonKey, sentAt}
 *   at         when it was written, sentAt when it first went out (null: never), milliseconds since the epoch
 *   messages   what is not published yet, in the order in which it is sent
 *   refused    it waits for its author: to try again, change or remove it; `reason` says why, in the server's words, or
 *              `reasonKey` in the page's
 *
 * The answer to a message is its echo, known by the id that the page gave it, or a refusal, which names no message:
 * with only one on its way there is no doubt which is meant. After a reconnection the one on its way is sent again
 * under the same id, and the server publishes an id once within ten minutes.
 *
 * The browser keeps all posts, by channel and nickname: whoever holds the nickname is the only one to send them.
 */

import { forgetLarge, recallJson, recallLarge, remember, rememberLarge } from "./storage.js";

const PATIENCE = 45_000; // milliseconds; the server gives a picture up to 30 s
const MAX_TRIES = 4; // connections that ended before there was an answer
export const ID_MEMORY = 570_000; // milliseconds in which the server knows an id again, a little less than its ten minutes
const SMALL = 4_000; // characters; what is larger goes to where large things are kept
// How the server says that it was too often: the wait it asks for is kept, and then the message goes out again.
export const PLEASE_WAIT = /Please wait (\d+) seconds?\./;

export class Outbox {
  #key;
  #posts = [];
  #kept = []; // posts of an earlier page that are being read
  #ready = false; // the line is up and this connection may talk
  #asked = null; // the post whose first message is on its way
  #tries = 0;
  #timer = null;
  #heldUntil = 0;
  #handlers;

  /**
   * `key` tells whose posts these are. Handlers:
   *   send(message)       puts it on the line
   *   onPost(post)        a post is new, or has changed; one without messages is done
   *   onSilence()         no answer: the line may be dead
   */
  constructor(key, handlers) {
    this.#key = `gischat.outbox.${key}`;
    this.#handlers = handlers;
  }

  /** Whether what is written goes out at once. */
  get isReady() {
    return this.#ready;
  }

  /** How many messages are on their way. */
  get pending() {
    return this.#posts.filter(({ refused }) => !refused).reduce((sum, { messages }) => sum + messages.length, 0);
  }

  /** How many posts are neither published nor removed. */
  get unsent() {
    return this.#posts.length;
  }

  /** Takes up what an earlier page has left. What may be published by now, or is no news any more, waits for its
   *  author; `isPublished(id)` knows what has come meanwhile. */
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

  /** Sends a refused post again, at once. */
  retry(id) {
    const post = this.#find(id);
    if (!post) return;
    Object.assign(post, { refused: false, reason: "", reasonKey: "" });
    this.#heldUntil = 0;
    this.#changed(post);
    this.#next();
  }

  /** Takes a post out; returns it, or undefined when it is gone already. */
  remove(id) {
    const post = this.#find(id);
    if (!post) return undefined;
    const taken = { ...post };
    this.#end(post);
    return taken;
  }

  /** The line is ready; what was on its way is sent again. */
  resume() {
    this.#ready = true;
    this.#asked = null;
    this.#changed(...this.#posts);
    this.#next();
  }

  /** The line broke; `told` are the server's words, if it said that what was on its way is not taken. */
  pause(told = "") {
    this.#ready = false;
    clearTimeout(this.#timer);
    if (told || this.#tries >= MAX_TRIES) this.refuse(told);
    this.#asked = null;
    this.#changed(...this.#posts);
  }

  /** The server has broadcast the message of this id. */
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

  /** The server refused what was on its way; returns its post, or undefined when nothing was. */
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

const isKept = new Set(); // ids of messages that are where large things are kept

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

/** A random UUID. `crypto.randomUUID` exists over https only, and many chats run on a plain http LAN. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40; // version 4
  bytes[8] = (bytes[8] & 0x3f) | 0x80; // variant of RFC 9562
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
