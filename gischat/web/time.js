/** Moments in the reader's words. Clients may send their own timestamp, and any integer is one: a clock that is wrong
 *  by years tells nothing. */

import { element } from "./dom.js";
import { locale } from "./i18n.js";

const EARLIEST = Date.UTC(2020);
const AHEAD = 26 * 3_600_000; // milliseconds; a clock in the wrong time zone

/** The moment of a message, or null where its clock is wrong. */
function moment(timestamp) {
  const milliseconds = timestamp * 1000;
  return milliseconds >= EARLIEST && milliseconds <= Date.now() + AHEAD ? new Date(milliseconds) : null;
}

/** A message's time of day, its date when one points at it; "" when unknown. */
export function time(timestamp) {
  const date = moment(timestamp);
  if (!date) return "";
  const properties = { dateTime: date.toISOString(), title: date.toLocaleString(locale()) };
  return element("time", properties, date.toLocaleTimeString(locale(), { hour: "2-digit", minute: "2-digit" }));
}

/** The day of a message: {key} sorts, {words} are read; null when unknown. */
export function day(timestamp) {
  const date = moment(timestamp);
  if (!date) return null;
  const key = new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  return { key, words: date.toLocaleDateString(locale(), { dateStyle: "full" }) };
}
