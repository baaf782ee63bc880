/**
 * Storage in the browser. A browser may forbid it, by a setting or in private windows, and it may be full: then values
 * last as long as the page.
 *
 * Small values are written synchronously (localStorage: this browser; sessionStorage: this tab), so that an immediate
 * reload finds them; pictures and layers go to IndexedDB under their message's id.
 */

const unstored = { local: new Map(), session: new Map() };

const read = (kind, key) => {
  if (unstored[kind].has(key)) return unstored[kind].get(key);
  try {
    return (kind === "local" ? localStorage : sessionStorage).getItem(key);
  } catch {
    return null;
  }
};

function write(kind, key, text) {
  unstored[kind].delete(key);
  try {
    const storage = kind === "local" ? localStorage : sessionStorage;
    if (text === null) storage.removeItem(key);
    else storage.setItem(key, text);
  } catch {
    unstored[kind].set(key, text);
  }
}

/** The value that this browser keeps under a key; "" if none. */
export const recall = (key) => read("local", key) ?? "";
export const remember = (key, text) => write("local", key, text || null);

/** The value that this tab keeps under a key; "" if none. */
export const recallInTab = (key) => read("session", key) ?? "";
export const rememberInTab = (key, text) => write("session", key, text || null);

/** A JSON value, or `otherwise` if there is none or it cannot be parsed. */
export function recallJson(key, otherwise, recalled = recall) {
  try {
    return JSON.parse(recalled(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

// Large values

const STORE = "large";
let database;

function opened() {
  database ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("gischat", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return database;
}

async function transact(mode, act) {
  try {
    const transaction = (await opened()).transaction(STORE, mode);
    const request = act(transaction.objectStore(STORE));
    transaction.commit?.();
    return await new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } catch {
    return undefined; // only the page keeps it
  }
}

/** The large value under an id, or undefined. */
export const recallLarge = (id) => transact("readonly", (store) => store.get(id));
export const rememberLarge = (id, value) => transact("readwrite", (store) => store.put(value, id));
export const forgetLarge = (id) => transact("readwrite", (store) => store.delete(id));
