// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The sheet with the preferences of a device.
//
// The form has what its user wants, and base is what the server has. Only what
// differs is sent. What is changed elsewhere while the sheet is open is taken
// over, unless it was changed here, too.

import { ApiError } from '../api.js';
import { dayOfWeek, folderName, t, timeOfDay } from '../i18n.js';
import * as wanted from '../preferences.js';
import { confirm } from './confirm.js';
import { $, announce, copy, say, show, whileBusy } from './dom.js';
import { explain } from './explain.js';
import * as mails from './mails.js';
import { showPreview } from './preview.js';
import { folders, muted, quietHours, senders } from './summary.js';

// What quiet hours are at first.
const NIGHT = { start: '22:00', end: '07:00' };

let subscriptions;
let device;
let user;
let edited; // whose preferences are in the form: user, id, name, base, max, content
let isKept = false; // for when its user has signed in again

/** Makes the sheet work. To be called once. */
export function prepare() {
  $('quiet-days').append(...wanted.DAYS.map(dayOption));
  $('preferences-form').addEventListener('submit', (event) => {
    event.preventDefault();
    whileBusy($('preferences-save'), save);
  });
  $('preferences-form').addEventListener('input', ({ target }) => {
    forgive(target.closest('.field, fieldset, details') ?? $('preferences-form'));
    say($('preferences-note'), '');
    arrange();
  });
  $('folder-add').addEventListener('click', addFolder);
  $('folder').addEventListener('keypress', (event) => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    addFolder();
  });
  $('preferences-reset').addEventListener('click', reset);
  $('preferences-cancel').addEventListener('click', close);
  $('preferences').addEventListener('cancel', async (event) => {
    event.preventDefault();
    const isSure = !isEdited() || // it may have been a slip of the finger
      await confirm(t('preferences.discard.title'), t('preferences.discard.text'), t('preferences.discard.button'), { danger: true });
    if (isSure) close();
  });
  $('preferences').addEventListener('close', () => { if (!isKept) edited = undefined; });
}

/** Has the preferences of the devices of a user, until the signal; own is the one that this is. */
export function showPreferences(list, own, of, signal) {
  subscriptions = list;
  device = own;
  user = of;
  if (edited && edited.user !== user) forget();
  subscriptions.addEventListener('change', follow, { signal });
  signal.addEventListener('abort', () => {
    isKept = $('preferences').open;
    $('preferences').close();
  });
}

/** Opens the sheet of a device. */
export function openPreferences(id) {
  const { name, kind = 'webpush', maxContent, preferences } = subscriptions.find(id);
  forget();
  edited = { user, id, name, max: maxContent, base: wanted.essential(preferences) };
  $('preferences-title').textContent = id === device.id ? t('preferences.title') : t('devices.preferNamed', { name });
  show($('preferences-app'), kind !== 'webpush');
  fill(edited.base);
  forgive($('preferences-form'));
  for (const details of $('preferences-form').querySelectorAll('details')) details.open = false;
  $('preferences').showModal();
  $('preferences').scrollTop = 0;
}

function close() {
  const { id } = edited;
  $('preferences').close();
  forget();
  document.querySelector(`[data-id="${CSS.escape(id)}"] .prefer`)?.focus();
}

// What somebody typed is not for the next person who uses the page.
function forget() {
  isKept = false;
  edited = undefined;
  $('preferences-form').reset();
  $('folders').replaceChildren();
  say($('preferences-note'), '');
}

// The server has told what is.
function follow() {
  if (!edited) return;
  const now = subscriptions.find(edited.id);
  if (!now) {
    const { name } = edited;
    close();
    $('devices-title').focus();
    announce(t('devices.removed', { name }));
    return;
  }
  takeOver(wanted.essential(now.preferences));
  if (!isKept) return;
  isKept = false;
  forgive($('preferences-form'));
  $('preferences').showModal();
}

function takeOver(server) {
  const elsewhere = wanted.changed(edited.base, server);
  if (elsewhere.length === 0) return;
  const { form, mistakes } = read();
  const here = [...wanted.changed(edited.base, form), ...mistakes.map(({ member }) => member)];
  for (const name of elsewhere) if (!here.includes(name)) fillers[name](server[name]);
  edited.base = server;
  arrange();
  say($('preferences-note'), t('preferences.changed'));
}

function isEdited() {
  const { form, mistakes } = read();
  return mistakes.length > 0 || wanted.changed(edited.base, form).length > 0;
}

async function save() {
  forgive($('preferences-form'));
  if ($('folder').value.trim() && !$('folders-some').hidden && !addFolder()) return;
  const { form, mistakes } = read();
  if (mistakes.length > 0) return complain(mistakes);
  const { id, base } = edited;
  const change = wanted.change(base, form);
  try {
    if (Object.keys(change).length > 0) await subscriptions.prefer(id, change);
  } catch (error) {
    return refused(error);
  }
  close();
  announce(t('preferences.saved'));
}

async function refused(error) {
  if (error.status === 404) return void subscriptions.refresh().catch((other) => say($('preferences-error'), explain(other))); // it was removed elsewhere
  const mistake = error instanceof ApiError && REFUSED.find(({ field }) => error.field.split('.').includes(field));
  if (mistake) return complain([{ ...mistake, input: $(mistake.input), text: t(mistake.text, mistake) }]);
  say($('preferences-error'), explain(error));
}

// What the server may not take although it looks right here, and where to say so.
const REFUSED = [
  { field: 'content', text: 'preferences.error.content', input: 'preferences-content', where: 'preferences-content-error' },
  { field: 'folders', text: 'preferences.error.folders', max: wanted.MAX_FOLDERS, input: 'folder', where: 'preferences-folders-error' },
  { field: 'onlyFrom', text: 'preferences.error.senders', max: wanted.MAX_SENDERS, input: 'only-from', where: 'only-from-error' },
  { field: 'notFrom', text: 'preferences.error.senders', max: wanted.MAX_SENDERS, input: 'not-from', where: 'not-from-error' },
  { field: 'timeZone', text: 'preferences.error.zone', input: 'quiet-zone', where: 'preferences-quiet-error' },
  { field: 'quietHours', text: 'preferences.error.time', input: 'quiet-start', where: 'preferences-quiet-error' },
];

function complain(mistakes) {
  for (const { text, input, where } of mistakes) {
    say($(where), text);
    input.ariaInvalid = 'true';
    const details = input.closest('details');
    if (details) details.open = true;
  }
  mistakes[0].input.focus();
}

function forgive(part) {
  for (const error of part.querySelectorAll('.error')) say(error, '');
  for (const input of part.querySelectorAll('[aria-invalid]')) input.ariaInvalid = null;
}

function reset() {
  const { content, ...others } = wanted.essential(subscriptions.defaults);
  fill({ ...others, content: wanted.contentsUpTo(edited.max).includes(content) ? content : undefined });
  forgive($('preferences-form'));
  say($('preferences-note'), t('preferences.resetDone'));
}

// What is in the form, as the API has it, and what is wrong in it.
function read() {
  const form = {};
  const mistakes = [];
  for (const [name, reader] of Object.entries(readers)) {
    const wrong = (text, input, where) => mistakes.push({ member: name, text, input, where });
    form[name] = reader(wrong);
  }
  if (wanted.tooManySenders(form.onlyFrom ?? [], form.notFrom ?? [])) {
    mistakes.push({ member: 'onlyFrom', text: t('preferences.error.senders', { max: wanted.MAX_SENDERS }), input: $('only-from'), where: 'only-from-error' });
  }
  return { form: wanted.essential(form), mistakes };
}

const chosen = (name) => $('preferences-form').elements[name].value;

const readers = {
  content() {
    const choice = chosen('content');
    return choice === wanted.contentOf(edited, edited.max) ? edited.content : choice;
  },
  urgency: () => ($('preferences-sound').checked ? undefined : 'normal'),
  mutedUntil() {
    const choice = $('preferences-mute').value;
    return { hour: wanted.inAnHour, morning: wanted.morning }[choice]?.() ?? choice;
  },
  quietHours(wrong) {
    if (!$('quiet-on').checked) return undefined;
    const [start, end] = [$('quiet-start').value, $('quiet-end').value];
    const days = [...$('quiet-days').querySelectorAll(':checked')].map(({ value }) => value);
    if (!start || !end) wrong(t('preferences.error.time'), $(start ? 'quiet-end' : 'quiet-start'), 'preferences-quiet-error');
    else if (days.length === 0) wrong(t('preferences.error.days'), $('quiet-days').querySelector('input'), 'preferences-quiet-error');
    return { start, end, days, timeZone: $('quiet-zone').value };
  },
  onlyFrom: (wrong) => readSenders('only-from', wrong),
  notFrom: (wrong) => readSenders('not-from', wrong),
  folders(wrong) {
    if (chosen('folders') !== 'some') return undefined;
    const names = [...$('folders').querySelectorAll(':checked')].map(({ value }) => value);
    if (names.length === 0) wrong(t('preferences.error.folder'), $('folders').querySelector('input'), 'preferences-folders-error');
    if (wanted.tooManyFolders(names)) wrong(t('preferences.error.folders', { max: wanted.MAX_FOLDERS }), $('folder'), 'preferences-folders-error');
    return names;
  },
};

function readSenders(id, wrong) {
  const list = wanted.senders($(id).value);
  const mistake = list.find((text) => !wanted.isSender(text));
  if (mistake) wrong(t('preferences.error.sender', { text: mistake }), $(id), `${id}-error`);
  return list;
}

function fill(preferences) {
  for (const [name, filler] of Object.entries(fillers)) filler(preferences[name]);
  arrange();
}

const fillers = {
  content(value) {
    edited.content = value;
    const allowed = wanted.contentsUpTo(edited.max);
    for (const radio of $('preferences-content').querySelectorAll('input')) {
      show(radio.closest('label'), allowed.includes(radio.value));
      radio.checked = radio.value === wanted.contentOf(edited, edited.max);
    }
    show($('preferences-content'), allowed.length > 1);
  },
  urgency(value) {
    $('preferences-sound').checked = value !== 'normal';
  },
  mutedUntil(value) {
    const morning = wanted.morning();
    const time = timeOfDay(morning);
    const isTomorrow = new Date(morning).getDate() !== new Date().getDate();
    const options = [
      ['', t('preferences.mute.off')],
      value !== 'forever' && [value, muted({ mutedUntil: value })],
      ['hour', t('preferences.mute.hour')],
      ['morning', isTomorrow ? t('preferences.mute.morning', { time }) : t('preferences.mute.thisMorning', { time })],
      ['forever', t('preferences.mute.forever')],
    ].filter((option) => option?.[1]);
    $('preferences-mute').replaceChildren(...options.map(([choice, text]) => new Option(text, choice)));
    $('preferences-mute').value = value ?? '';
  },
  quietHours(value) {
    const { start, end, days = [], timeZone = Intl.DateTimeFormat().resolvedOptions().timeZone } = value ?? NIGHT;
    $('quiet-on').checked = Boolean(value);
    $('quiet-start').value = start;
    $('quiet-end').value = end;
    for (const day of $('quiet-days').querySelectorAll('input')) day.checked = days.length === 0 || days.includes(day.value);
    const zones = new Set([timeZone, 'UTC', ...Intl.supportedValuesOf('timeZone')]);
    $('quiet-zone').replaceChildren(...[...zones].sort().map((zone) => new Option(zone)));
    $('quiet-zone').value = timeZone;
  },
  onlyFrom: (list = []) => { $('only-from').value = list.join('\n'); },
  notFrom: (list = []) => { $('not-from').value = list.join('\n'); },
  folders(list = []) {
    for (const radio of $('preferences-form').elements.folders) radio.checked = radio.value === (list.length ? 'some' : 'all');
    const known = new Set(['INBOX', ...mails.folders().sort(), ...list]);
    $('folders').replaceChildren(...[...known].map((name) => folderOption(name, list.length ? list.includes(name) : name === 'INBOX')));
  },
};

function dayOption(day, index) {
  const option = copy('day-option');
  const input = option.querySelector('input');
  input.value = day;
  input.ariaLabel = dayOfWeek(index, 'long');
  option.querySelector('span').textContent = dayOfWeek(index, 'short');
  return option;
}

function folderOption(name, isChecked) {
  const option = copy('option');
  Object.assign(option.querySelector('input'), { value: name, checked: isChecked });
  option.querySelector('span').textContent = folderName(name);
  return option;
}

// Reports whether it was added.
function addFolder() {
  const name = $('folder').value.trim();
  if (!wanted.isFolder(name)) {
    complain([{ text: t('preferences.error.name'), input: $('folder'), where: 'preferences-folders-error' }]);
    return false;
  }
  const known = [...$('folders').querySelectorAll('input')].find(({ value }) => value === name);
  if (known) known.checked = true;
  else $('folders').append(folderOption(name, true));
  $('folder').value = '';
  announce(t('preferences.folders.added', { name }));
  arrange();
  return true;
}

// What follows from what is in the form.
function arrange() {
  const { form, mistakes } = read();
  const isRight = (name) => !mistakes.some(({ member }) => member === name);
  show($('quiet-hours'), $('quiet-on').checked);
  show($('folders-some'), chosen('folders') === 'some');
  value('preferences-quiet', isRight('quietHours') && (form.quietHours ? quietHours(form.quietHours) : t('preferences.quiet.none')));
  value('preferences-senders', isRight('onlyFrom') && isRight('notFrom') && (senders(form) || t('preferences.senders.all')));
  value('preferences-folders', isRight('folders') && (folders(form) || t('preferences.folders.all')));
  showPreview({ content: wanted.contentOf(form, edited.max), isSilent: form.urgency === 'normal' }, mails.newest());
}

const value = (id, text) => { $(id).querySelector('.value').textContent = text || ''; };
