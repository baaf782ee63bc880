/** A websocket that reconnects automatically. */

const FIRST_DELAY = 1_000; // milliseconds
const LONGEST_DELAY = 30_000;
const GOODBYE_PAUSE = 300; // milliseconds within which a close follows the `uncompliant` with its reason
const TOO_FAST_DELAY = 60_000;
// Close codes of RFC 6455 §7.4.1
const ABNORMAL = 1006;
const POLICY_VIOLATION = 1008; // mostly: we may not join this channel, so a retry would not help
const TOO_LARGE = 1009;
// … except with these reasons, where the connection was at fault
const TIMED_OUT = "No answer to our ping.";
const TOO_SLOW = "Too slow: what was sent to you was not read.";
const SLOW_UPLOAD = "A message has begun, and makes no progress.";
const TOO_FAST = "You went on sending too fast after you were told to wait.";
const WORTH_RETURNING = [TIMED_OUT, TOO_SLOW, SLOW_UPLOAD, TOO_FAST];

/** Exponential backoff with jitter, so that a thousand clients of a restarted server do not reconnect at once. */
function delayBefore(attempt) {
  const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** attempt);
  return longest * (0.5 + Math.random() / 2);
}

/** Whether the server closed because of the message in flight, which it would refuse again. */
const isAboutMessage = (code, reason) => code === TOO_LARGE || reason === SLOW_UPLOAD;

export class Connection {
  #url;
  #handlers;
  #socket = null;
  #timer = null;
  #attempt = 0;
  #told = null; // an `uncompliant` that may be the reason of a close
  #toldTimer = null;

  /**
   * Connects at once, to `url()`. Handlers:
   *   onOpen()                  connected or reconnected
   *   onMessage(message)        a parsed message
   *   onLost(seconds, refused)  the connection broke; the next attempt is in `seconds`; `refused` is the
   *                             server's reason if it refused the message in flight, else ""
   *   onConnecting()            that attempt begins
   *   onRefused(reason)         the server rejects us for good
   */
  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
    addEventListener("online", this.#retryNow);
    document.addEventListener("visibilitychange", this.#retryNow);
    addEventListener("offline", this.restart);
    this.#connect();
  }

  /** Sends a message; without a connection it is lost, which `onLost` has reported or will report. */
  send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  /** Abandons a connection that seems dead and reconnects; its own `close` event might take minutes. */
  restart = () => {
    if (this.#timer !== null) return; // already abandoned
    this.#abandon();
    this.#closed({ code: ABNORMAL, reason: "" });
  };

  close() {
    clearTimeout(this.#timer);
    removeEventListener("online", this.#retryNow);
    document.removeEventListener("visibilitychange", this.#retryNow);
    removeEventListener("offline", this.restart);
    this.#abandon();
  }

  #abandon() {
    this.#goodbye();
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  #connect() {
    this.#handlers.onConnecting();
    this.#timer = null;
    const socket = new WebSocket(this.#url());
    this.#socket = socket;
    socket.onopen = () => this.#handlers.onOpen();
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = (event) => this.#closed(event);
  }

  /** Before closing, the server sends the reason in a last `uncompliant`, which refuses no message of ours. */
  #receive(data) {
    this.#deliver(this.#goodbye()); // it was not the last message
    const message = JSON.parse(data);
    if (message.type === "uncompliant") {
      this.#told = message;
      this.#toldTimer = setTimeout(() => this.#deliver(this.#goodbye()), GOODBYE_PAUSE);
    } else {
      this.#deliver(message);
    }
  }

  #deliver(message) {
    if (!message) return;
    this.#attempt = 0; // not before: a server that accepts and closes at once must not be hammered
    this.#handlers.onMessage(message);
  }

  /** Returns and clears the `uncompliant` that may be the reason of a close. */
  #goodbye() {
    const told = this.#told;
    clearTimeout(this.#toldTimer);
    this.#told = null;
    return told;
  }

  #closed({ code, reason }) {
    const told = this.#goodbye()?.reason ?? reason;
    if (code === POLICY_VIOLATION && !WORTH_RETURNING.includes(reason)) {
      this.close();
      this.#handlers.onRefused(told);
      return;
    }
    const delay = reason === TOO_FAST ? TOO_FAST_DELAY : delayBefore(this.#attempt++);
    this.#handlers.onLost(Math.ceil(delay / 1000), isAboutMessage(code, reason) ? told : "");
    this.#timer = setTimeout(() => this.#connect(), delay);
  }

  /** Reconnects without waiting for the delay, when the network is back or the page is visible again. */
  #retryNow = () => {
    if (this.#timer === null || document.hidden) return;
    clearTimeout(this.#timer);
    this.#connect();
  };
}
