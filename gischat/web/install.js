/** Lets the page be installed, and open without a network; over plain http a browser allows neither. */

/** Hands the page's own files to a worker that keeps them. */
export async function keepForOffline() {
  if (!navigator.serviceWorker) return;
  try {
    await navigator.serviceWorker.register(/** @type {string} */ (script("web/sw.js")), { scope: "./" });
    const { active } = await navigator.serviceWorker.ready;
    const loaded = performance.getEntriesByType("resource").map(({ name }) => name);
    active.postMessage([new URL(".", location.href).href, ...loaded]);
  } catch {
    // The next visit tries again.
  }
}

/** The worker's address, as a browser that checks scripts' addresses wants it: see the content security policy. */
function script(path) {
  const { trustedTypes } = /** @type {any} */ (globalThis);
  const policy = trustedTypes?.createPolicy("gischat-worker", { createScriptURL: () => path });
  return policy?.createScriptURL(path) ?? path;
}
