/** Registration of the service worker, which makes the page installable and usable offline; requires https. */

/** On a first visit, passes the list of the page's own files to the service worker; later it caches what it fetches. */
export async function keepForOffline() {
  if (!navigator.serviceWorker || navigator.serviceWorker.controller) return;
  try {
    await navigator.serviceWorker.register(/** @type {string} */ (script("web/sw.js")), { scope: "./" });
    const { active } = await navigator.serviceWorker.ready;
    const loaded = performance.getEntriesByType("resource").map(({ name }) => name);
    active.postMessage([new URL(".", location.href).href, ...loaded]);
  } catch {
    // The next visit tries again.
  }
}

/** The service worker's URL as a TrustedScriptURL, which the content security policy requires. */
function script(path) {
  const { trustedTypes } = /** @type {any} */ (globalThis);
  const policy = trustedTypes?.createPolicy("gischat-worker", { createScriptURL: () => path });
  return policy?.createScriptURL(path) ?? path;
}
