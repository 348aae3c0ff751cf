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

const store = async (tickets) => (await open()).put(KEY, new Response(JSON.stringify(tickets.slice(-MOST))));

/** Keeps a ticket for later, and asks the browser to say when that is. */
export async function keep(ticket) {
  const tickets = await load();
  if (tickets.some(({ token }) => token === ticket.token)) return;
  await store([...tickets, ticket]);
  await self.registration.sync?.register(NAME).catch(() => {}); // not every browser has it
}

/** Forgets a ticket, and returns whether it was there. */
export async function drop(token) {
  const tickets = await load();
  const left = tickets.filter((ticket) => ticket.token !== token);
  await store(left);
  return left.length < tickets.length;
}
