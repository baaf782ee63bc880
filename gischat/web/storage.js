/**
 * What the page keeps in the browser. A browser may forbid storage, by setting or in private windows, and storage may
 * be full: then what is kept lasts as long as the page.
 *
 * Small things are written at once (localStorage: this browser; sessionStorage: this tab), so that a reload a moment
 * later finds them; pictures and layers go to IndexedDB under the id of their message.
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

/** What this browser keeps under a key; "" when nothing. */
export const recall = (key) => read("local", key) ?? "";
export const remember = (key, text) => write("local", key, text || null);

/** What this tab keeps under a key; "" when nothing. */
export const recallInTab = (key) => read("session", key) ?? "";
export const rememberInTab = (key, text) => write("session", key, text || null);

/** A kept value of any shape, or `otherwise` where there is none that can be read. */
export function recallJson(key, otherwise, recalled = recall) {
  try {
    return JSON.parse(recalled(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

// Large things

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
    return undefined; // kept by the page alone
  }
}

/** What is kept under an id, or undefined. */
export const recallLarge = (id) => transact("readonly", (store) => store.get(id));
export const rememberLarge = (id, value) => transact("readwrite", (store) => store.put(value, id));
export const forgetLarge = (id) => transact("readwrite", (store) => store.delete(id));
