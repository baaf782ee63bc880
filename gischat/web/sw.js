/**
 * The offline shell: the page opens without a server, shows what is not sent, and says that it is not connected.
 *
 * The server's own answer comes first, so a new version is seen at once; what it answered last is for when it is away.
 * Nothing but the page's own files is kept: what people say is not.
 */

const SHELL = "gischat-shell";

const worker = /** @type {any} */ (globalThis);

// The page may live below a path.
const home = new URL(worker.registration.scope).pathname;

const isShell = ({ pathname, origin }) =>
  origin === location.origin && (pathname === home || pathname.startsWith(`${home}web/`));

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));

// The page tells what it is made of: it was loaded before there was anybody to see it.
worker.addEventListener("message", (event) => event.waitUntil(keep(event.data)));

worker.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method === "GET" && isShell(url)) event.respondWith(answer(event.request, url.pathname));
});

async function keep(urls) {
  const cache = await caches.open(SHELL);
  const wanted = urls.map((url) => new URL(url)).filter(isShell).map(({ pathname }) => pathname);
  await Promise.all(wanted.map((path) => cache.add(path).catch(() => {}))); // what fails is tried with the next visit
}

async function answer(request, path) {
  const cache = await caches.open(SHELL);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(path, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(path);
    if (kept) return kept;
    throw error;
  }
}
