/**
 * The service worker: caches the page as an offline shell, so that it opens without a server and shows unsent posts.
 *
 * Network first, so that a new version is used at once; the cached answer is for when the server is down. Only the
 * page's own files are cached, no messages.
 */

const SHELL = "gischat-shell";

const worker = /** @type {any} */ (globalThis);

// The page may be served below a path.
const home = new URL(worker.registration.scope).pathname;

const isShell = ({ pathname, origin }) =>
  origin === location.origin && (pathname === home || pathname.startsWith(`${home}web/`));

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));

// The page sends the list of its files, which it loaded before this worker was active.
worker.addEventListener("message", (event) => event.waitUntil(keep(event.data)));

worker.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method === "GET" && isShell(url)) event.respondWith(answer(event.request, url.pathname));
});

async function keep(urls) {
  const cache = await caches.open(SHELL);
  const wanted = urls.map((url) => new URL(url)).filter(isShell).map(({ pathname }) => pathname);
  await Promise.all(wanted.map((path) => cache.add(path).catch(() => {}))); // failures are retried on the next visit
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
