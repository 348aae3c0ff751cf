// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// What could not be handed in yet: tickets of actions (actions.js), until they
// expire. Only the service worker has to do with it. It lies in Cache storage, as the
// record does.

const NAME = 'outbox';
const KEY = new URL('outbox.json', self.registration?.scope ?? self.location.href).href;
const MOST = 50;

const open = () => caches.open(NAME);

/** The tickets that are still good. */
export async function load() {
  const stored = await (await open()).match(KEY);
  const tickets = stored ? await stored.json() : [];
  return tickets.filter(({ expires }) => expires * 1000 > Date.now());
}

// One change after the other: each goes on from what the one before has left.
let last = Promise.resolve();

function change(edit) {
  last = last.catch(() => {}).then(async () => {
    const before = await load();
    const after = edit(before);
    if (after.length !== before.length) await (await open()).put(KEY, new Response(JSON.stringify(after.slice(-MOST))));
    return after.length !== before.length;
  });
  return last;
}

/** Keeps a ticket for later, and asks the browser to say when that is. */
export async function keep(ticket) {
  const isNew = await change((tickets) => (tickets.some(({ token }) => token === ticket.token) ? tickets : [...tickets, ticket]));
  if (isNew) await self.registration.sync?.register(NAME).catch(() => {}); // not every browser has it
}

/** Forgets a ticket, and returns whether it was there. */
export const drop = (token) => change((tickets) => tickets.filter((ticket) => ticket.token !== token));
