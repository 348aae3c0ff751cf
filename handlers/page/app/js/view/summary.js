// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// What a device prefers, in few words.

import { clockTime, dayOfWeek, daysUntil, exactly, folderName, t, timeOfDay } from '../i18n.js';
import { DAYS, contentOf, contentsUpTo, isMuted } from '../preferences.js';

// As many names as a line has room for; more are counted.
const FEW = 2;

/** All of it in one line, but for a mute; '' if there is nothing to tell. */
export function summary(preferences, max) {
  const content = contentOf(preferences, max);
  const text = [
    preferences.quietHours && t('preferences.says.quiet', { time: quietHours(preferences.quietHours) }),
    folders(preferences),
    senders(preferences),
    content !== contentsUpTo(max).at(-1) && t(`preferences.says.${content}`),
    preferences.urgency === 'normal' && t('preferences.says.silent'),
  ].filter(Boolean).join(', ');
  return text.replace(/^./u, (letter) => letter.toLocaleUpperCase());
}

/** Which folders, if not all. */
export function folders({ folders = [] }) {
  if (folders.length > FEW) return t('preferences.says.folders', { count: folders.length });
  return folders.length ? t('preferences.says.only', { names: folders.map(isolated).join(', ') }) : '';
}

// Whatever the direction of a name is, what is around it stays in its place.
const isolated = (folder) => `\u2068${folderName(folder)}\u2069`;

/** Which senders, if not all. */
export function senders({ onlyFrom = [], notFrom = [] }) {
  return [
    onlyFrom.length && t('preferences.says.onlyFrom', { count: onlyFrom.length }),
    notFrom.length && t('preferences.says.notFrom', { count: notFrom.length }),
  ].filter(Boolean).join(', ');
}

/** Quiet hours: the time, the days, and the time zone if that is another one. */
export function quietHours({ start, end, days, timeZone }) {
  const time = `${clockTime(start)}–${clockTime(end)}`.replaceAll(' ', '\u00a0');
  const isElsewhere = timeZone !== Intl.DateTimeFormat().resolvedOptions().timeZone;
  const more = [days?.length && named(days), isElsewhere && timeZone].filter(Boolean).join(', ');
  return more ? `${time} (${more})` : time;
}

// Days in a row by the first and the last, such as "Mon–Fri".
function named(days) {
  const runs = [];
  for (const [index, day] of DAYS.entries()) {
    if (!days.includes(day)) continue;
    if (runs.at(-1)?.at(-1) === index - 1) runs.at(-1).push(index);
    else runs.push([index]);
  }
  const short = (index) => dayOfWeek(index, 'short');
  return runs.map((run) => (run.length > 2 ? `${short(run[0])}–${short(run.at(-1))}` : run.map(short).join(', '))).join(', ');
}

/** Until when a device is muted; '' if it is not. */
export function muted(preferences) {
  if (!isMuted(preferences)) return '';
  const { mutedUntil } = preferences;
  if (mutedUntil === 'forever') return t('preferences.muted.forever');
  const days = daysUntil(mutedUntil);
  if (days > 1) return t('preferences.muted.later', { time: exactly(mutedUntil) });
  return t(`preferences.muted.${days ? 'tomorrow' : 'today'}`, { time: timeOfDay(mutedUntil) });
}
