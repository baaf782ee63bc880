/** The ids of messages sent by this browser: an author's name proves nothing, as anybody can use it. */

import { recallJson, remember } from "./storage.js";

const KEY = "gischat.own";
const REMEMBERED = 1_000;

const ids = new Set(recallJson(KEY, []));

export const ownIds = {
  has: (id) => ids.has(id),
  add(id) {
    ids.add(id);
    if (ids.size > REMEMBERED) ids.delete(ids.values().next().value);
    remember(KEY, JSON.stringify([...ids]));
  },
};
