/** Dates and times in the reader's language. Clients send their own timestamps, any integer; those that are wrong by
 *  years are not shown. */

import { element } from "./dom.js";
import { locale } from "./i18n.js";

const EARLIEST = Date.UTC(2020);
const AHEAD = 26 * 3_600_000; // milliseconds; a clock in the wrong time zone

/** A message's timestamp as a Date, or null if its clock is wrong. */
function moment(timestamp) {
  const milliseconds = timestamp * 1000;
  return milliseconds >= EARLIEST && milliseconds <= Date.now() + AHEAD ? new Date(milliseconds) : null;
}

/** A message's time of day, with its date as a tooltip; "" if unknown. */
export function time(timestamp) {
  const date = moment(timestamp);
  if (!date) return "";
  const properties = { dateTime: date.toISOString(), title: date.toLocaleString(locale()) };
  return element("time", properties, date.toLocaleTimeString(locale(), { hour: "2-digit", minute: "2-digit" }));
}

/** A message's day: {key} for sorting, {words} for display; null if unknown. */
export function day(timestamp) {
  const date = moment(timestamp);
  if (!date) return null;
  const key = new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  return { key, words: date.toLocaleDateString(locale(), { dateStyle: "full" }) };
}
