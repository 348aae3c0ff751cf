// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// What can be done with a mail from its notification.
//
// The server offers it with the mail (actions in its message). Each action has a
// token, which is good for this device, this mail and this action, once.

import * as api from './api.js';
import { t } from './i18n.js';
import * as outbox from './outbox.js';

const KNOWN = ['read', 'archive', 'trash'];

/** As many buttons as this browser shows; Safari shows none. */
const fit = (buttons) => buttons.slice(0, self.Notification?.maxActions ?? 0);

/** The buttons of the notification of a mail. */
export function buttons({ actions }) {
  if (!actions || actions.expires * 1000 <= Date.now()) return [];
  const offered = actions.offer.filter(({ action }) => KNOWN.includes(action));
  return fit(offered.map(({ action }) => ({ action, title: t(`action.${action}`) })));
}

/** What the server wants to have for an action with a mail. */
export function ticket(action, folder, { uid, uidValidity, actions }) {
  const { user, device, expires, offer } = actions;
  return { user, device, action, folder, uidValidity, uid, expires, token: offer.find((o) => o.action === action)?.token };
}

/**
 * Hands in a ticket: now, or later if there is no connection.
 *
 * @returns {Promise<{result: string, undo: object?}>} "done", "kept" (for later), or why
 *   it never will be: "gone" (the mail), "late" or "refused". undo is the ticket that
 *   undoes it.
 */
export async function handIn(ticket) {
  try {
    const { undo } = await api.act(ticket);
    return { result: 'done', undo };
  } catch ({ status }) {
    if (!status || status === 429 || status >= 500) {
      await outbox.keep(ticket);
      return { result: 'kept' };
    }
    // Used before: the answer to an attempt before this one was lost.
    return { result: { 409: 'done', 404: 'gone', 410: 'late' }[status] ?? 'refused' };
  }
}

/** Hands in what was kept, and returns the tickets with their results. */
export async function handInKept() {
  const all = [];
  for (const ticket of await outbox.load()) {
    const { result } = await handIn(ticket);
    if (result === 'kept') break; // there is still no connection
    await outbox.drop(ticket.token);
    all.push({ ticket, result });
  }
  return all;
}

/** What tells the user of the result; about is the title of the mail. */
export function report({ action, undo, token }, result, about) {
  const undoing = !KNOWN.includes(action);
  const back = undoing ? null : (undo ?? (result === 'kept' ? { kept: token } : null));
  const buttons = back ? fit([{ action: 'undo', title: t('action.undo') }]) : [];
  switch (result) {
    case 'done':
      return { title: undoing ? t('action.undone') : t(`action.done.${action}`), body: about, buttons, back };
    case 'kept':
      return { title: t('action.kept.title'), body: t('action.kept.text'), buttons, back };
    default:
      return { title: t('action.failed.title'), body: t(`action.failed.${result}`), buttons, back };
  }
}
