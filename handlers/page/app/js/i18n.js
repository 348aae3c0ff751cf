// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The language of the page and of the notifications: the first one of the
// browser's that there is a catalogue for. A new language is a catalogue and a
// line here.

import de from './catalog/de.js';
import en from './catalog/en.js';
import es from './catalog/es.js';
import fr from './catalog/fr.js';
import it from './catalog/it.js';
import nl from './catalog/nl.js';
import pl from './catalog/pl.js';

const catalogs = { en, de, es, fr, it, nl, pl };

const isKnown = (tag) => tag.split('-')[0] in catalogs;
const preferred = navigator.languages?.find(isKnown) ?? 'en';

export const language = preferred.split('-')[0];

// The region of the preferred language decides how times look.
const plural = new Intl.PluralRules(language);
const relative = new Intl.RelativeTimeFormat(preferred, { numeric: 'auto' });
const clock = new Intl.DateTimeFormat(preferred, { timeStyle: 'short' });
const day = new Intl.DateTimeFormat(preferred, { weekday: 'long', day: 'numeric', month: 'long' });
const dayAndTime = new Intl.DateTimeFormat(preferred, { dateStyle: 'medium', timeStyle: 'short' });

/**
 * The text for a key. With a count among the values, the form of the key for
 * it: "key.one", "key.other", and others where the language has them. With more,
 * the count is the least that there is: "100+".
 */
export function t(key, values = {}) {
  const form = 'count' in values ? `${key}.${plural.select(values.count)}` : key;
  const text = catalogs[language][form] ?? catalogs[language][`${key}.other`] ?? form;
  return text.replace(/\{(\w+)\}/g, (_, name) => (name === 'count' && values.more ? `${values.count}+` : (values[name] ?? '')));
}

/** Fills in what data-t and data-t-LABEL say, as in data-t-aria-label="key". */
export function translate(root) {
  for (const element of root.querySelectorAll('[data-t]')) element.textContent = t(element.dataset.t);
  for (const element of root.querySelectorAll('[data-t-label]')) element.setAttribute('aria-label', t(element.dataset.tLabel));
}

const UNITS = [['minute', 60], ['hour', 3600], ['day', 86400]];

/** How long ago, up to a week; the date before that. */
export function ago(time, now = Date.now()) {
  const seconds = Math.max(0, (now - new Date(time)) / 1000);
  if (seconds < 45) return t('time.now');
  if (seconds > 7 * 86400) return exactly(time);
  const [unit, size] = UNITS.findLast(([, size]) => seconds >= size) ?? UNITS[0];
  return relative.format(-Math.max(1, Math.floor(seconds / size)), unit);
}

/** A length of time, such as "2 minutes". */
export function duration(seconds) {
  const [unit, size] = seconds < 120 ? ['second', 1] : UNITS.findLast(([, size]) => seconds >= size);
  return new Intl.NumberFormat(preferred, { style: 'unit', unit, unitDisplay: 'long' }).format(Math.ceil(seconds / size));
}

export const timeOfDay = (time) => clock.format(new Date(time));

/** A time of the day such as 22:00, as people write it. */
export function clockTime(text) {
  const [hours, minutes] = text.split(':');
  return timeOfDay(new Date(2024, 0, 1, hours, minutes));
}

/** The name of a day of the week, 0 being Monday; style is "short" or "long". */
export const dayOfWeek = (index, style) => new Intl.DateTimeFormat(preferred, { weekday: style }).format(new Date(2024, 0, 1 + index));

/** How many midnights there are until then. */
export const daysUntil = (time, now = new Date()) => Math.round((midnight(new Date(time)) - midnight(now)) / 86400_000); // a day may have 23 hours

/** The day of a time, as a heading: "Today", "Yesterday", or its date. */
export function dayName(time, now = new Date()) {
  const days = daysUntil(time, now);
  const name = days === 0 || days === -1 ? relative.format(days, 'day') : day.format(new Date(time));
  return name.replace(/^./u, (letter) => letter.toLocaleUpperCase(preferred));
}

const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate());

export const exactly = (time) => dayAndTime.format(new Date(time));

/** The name of a folder as people know it. */
export const folderName = (folder) => (folder === 'INBOX' ? t('folder.inbox') : folder);
