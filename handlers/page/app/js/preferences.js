// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// What a device prefers to be notified of, as the API describes it.

const MEMBERS = ['content', 'urgency', 'folders', 'onlyFrom', 'notFrom', 'quietHours', 'mutedUntil'];

/** The days of the week. */
export const DAYS = ['mo', 'tu', 'we', 'th', 'fr', 'sa', 'su'];

// The bounds of the server.
export const MAX_FOLDERS = 20;
const MAX_FOLDERS_SIZE = 1024;
export const MAX_SENDERS = 50;
const MAX_SENDERS_SIZE = 2048;

const CONTENTS = ['thin', 'sender', 'full'];

/** How much of a mail a device may get, the least first; nothing if nothing delivers to it. */
export const contentsUpTo = (max) => CONTENTS.slice(0, CONTENTS.indexOf(max) + 1);

/** How much of a mail a device gets. */
export function contentOf({ content }, max) {
  const allowed = contentsUpTo(max);
  return allowed.includes(content) ? content : allowed.at(-1);
}

/** Whether a device is muted. */
export const isMuted = ({ mutedUntil }, now = Date.now()) => mutedUntil === 'forever' || Date.parse(mutedUntil) > now;

/** Preferences without what says the same as nothing, so that they can be compared. */
export function essential({ content, urgency, folders, onlyFrom, notFrom, quietHours, mutedUntil }, now = Date.now()) {
  return {
    content,
    urgency: urgency === 'high' ? undefined : urgency,
    folders: listed(folders),
    onlyFrom: listed(onlyFrom),
    notFrom: listed(notFrom),
    quietHours: quietHours && {
      start: quietHours.start,
      end: quietHours.end,
      days: quietHours.days?.length < DAYS.length ? listed(DAYS.filter((day) => quietHours.days.includes(day))) : undefined,
      timeZone: quietHours.timeZone,
    },
    mutedUntil: isMuted({ mutedUntil }, now) ? mutedUntil : undefined,
  };
}

const listed = (list) => (list?.length ? list : undefined);

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** The members that differ, both being essential. */
export const changed = (before, after) => MEMBERS.filter((name) => !same(before[name], after[name]));

/** What makes before to after, as the API takes it. */
export const change = (before, after) => Object.fromEntries(changed(before, after).map((name) => [name, after[name] ?? null]));

/** The senders in a text: one a line, or with commas. */
export const senders = (text) => [...new Set(text.toLowerCase().split(/[\s,;]+/).filter(Boolean))];

const UNSAFE = /[\p{Cc}\p{Bidi_Control}]/u;

/** Whether the server takes it: an address, or @ and a domain. */
export const isSender = (text) => /@[^@]+$/.test(text) && !/[ <>()[\],;:\\"]/.test(text) && !UNSAFE.test(text);

/** Whether the server takes it as the name of a folder. */
export const isFolder = (name) => name !== '' && !UNSAFE.test(name);

/** Whether there are too many senders, in all lists together. */
export const tooManySenders = (...lists) => tooMany(lists.flat(), MAX_SENDERS, MAX_SENDERS_SIZE);

export const tooManyFolders = (folders) => tooMany(folders, MAX_FOLDERS, MAX_FOLDERS_SIZE);

const tooMany = (list, max, maxSize) => list.length > max || new TextEncoder().encode(list.join('')).length > maxSize;

/** In an hour, as the API takes it. */
export const inAnHour = (now = Date.now()) => timestamp(now + 3600_000);

/** Seven o'clock tomorrow; of people who are still up, that of the same night. */
export function morning(now = new Date()) {
  const days = now.getHours() < 4 ? 0 : 1;
  return timestamp(new Date(now.getFullYear(), now.getMonth(), now.getDate() + days, 7));
}

const timestamp = (time) => new Date(time).toISOString().replace(/\.\d+/, '');
