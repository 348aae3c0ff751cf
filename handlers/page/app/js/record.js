// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// What the page and the service worker both know about this device. It lies in
// Cache storage, which both can read, under a URL that nothing else asks for.
//
//   id          of the subscription, as the server names it
//   user        whom it belongs to
//   told        what the server was last told, see push.js, as JSON
//   off         whether the user turned notifications off
//   ended       the user whose notifications it was the browser that ended
//   code        a confirmation that could not be handed in yet
//   webmailURL, mailURL   where a touch on a notification leads, see webmail.js

const CACHE = 'device';
const KEY = new URL('device.json', self.registration?.scope ?? document.baseURI).href;

export async function load() {
  const stored = await (await caches.open(CACHE)).match(KEY);
  return stored ? stored.json() : {};
}

/** Adds the fields to what is there. */
export async function save(fields) {
  const record = { ...(await load()), ...fields };
  await (await caches.open(CACHE)).put(KEY, new Response(JSON.stringify(record)));
  return record;
}

export async function forget() {
  await (await caches.open(CACHE)).delete(KEY);
}
