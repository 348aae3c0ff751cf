// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The service worker, as the page sees it.

// The one string that may become code, and only to become the worker.
const urls = self.trustedTypes?.createPolicy('worker', { createScriptURL: () => 'sw.js' });

/** Installs or updates the service worker, and resolves when it is active. */
export async function register() {
  await navigator.serviceWorker.register(urls?.createScriptURL('') ?? 'sw.js', { type: 'module', updateViaCache: 'none' });
  return navigator.serviceWorker.ready;
}

/** Lets the worker hand in what it could not before, see outbox.js. */
export const handInKept = () => navigator.serviceWorker?.ready.then(({ active }) => active.postMessage('outbox'));

/**
 * Calls listener, until the signal, with what the worker tells: {type:
 * "confirmed", id}, {type: "test", id} or {type: "renewed", id}.
 */
export function onMessage(listener, signal) {
  navigator.serviceWorker?.addEventListener('message', ({ data }) => listener(data), { signal });
  navigator.serviceWorker?.startMessages();
}
