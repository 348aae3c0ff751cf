// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The list of the latest mails: those of the server's history, and those that
// come while the page is open. It is grouped by days, the newest first.

import { dayName, exactly, folderName, t, timeOfDay } from '../i18n.js';
import { sender } from '../sender.js';
import { $, announce, copy, say, show } from './dom.js';

const LIMIT = 50;

// How many are seen on a phone before the reader asks for all: what comes below
// the list must be found as well.
const FEW = 6;

// Until when its reader has seen the list: what is newer is marked.
const SEEN = 'mailsSeen';

const known = new Set();
let urlOf;

/** To be called once. */
export function prepare() {
  $('mails-all').addEventListener('click', () => showAll($('mails-all').ariaExpanded !== 'true'));
  addEventListener('pagehide', remember);
  document.addEventListener('visibilitychange', () => (document.visibilityState === 'hidden' ? remember() : mark()));
}

/**
 * Shows what the stream brings, and how the stream is, until the signal. The
 * mails lead to where url says, if it says anything.
 */
export function showMails(stream, url, signal) {
  urlOf = url;
  clear();
  stream.addEventListener('mail', ({ detail }) => add(detail, stream.isCurrent));
  stream.addEventListener('change', ({ detail }) => change(detail));
  stream.addEventListener('reset', () => {
    clear(); // of what is in it, much may have been read or removed
    show($('mails-missed'));
  });
  stream.addEventListener('state', () => showState(stream.state));
  showState(stream.state);
  const timer = setInterval(showDays, 30_000);
  signal.addEventListener('abort', () => {
    clearInterval(timer);
    clear();
  });
}

/** The folders of the mails in the list. */
export const folders = () => [...new Set(items().map(({ dataset }) => dataset.mail.split('/').slice(2).join('/')))];

/** Who the newest mail is from, and its subject; undefined if there is none. */
export function newest() {
  const [item] = items();
  return item && { from: item.querySelector('.from').textContent, subject: item.querySelector('.subject').textContent };
}

/** Somebody else may use the page next. */
export const forget = () => localStorage.removeItem(SEEN);

function clear() {
  known.clear();
  $('mails').replaceChildren();
  showAll(false);
  show($('mails-missed'), false);
  arrange();
}

function showState(state) {
  $('stream').dataset.state = state;
  $('stream').textContent = t(`stream.${state}`);
}

const items = () => [...$('mails').querySelectorAll('.mail')];

function add(mail, isNew) {
  if (known.has(mail.id)) return;
  known.add(mail.id);
  const item = copy('mail');
  item.dataset.mail = place(mail);
  const from = sender(mail.from);
  const name = from.name || t('mail.noSender');
  const subject = mail.subject || t(mail.from ? 'mail.noSubject' : 'mail.new');
  const url = urlOf(mail);
  if (url) item.querySelector('.row').href = url;
  item.querySelector('.initial').textContent = initial(from.name);
  item.querySelector('.from').textContent = name;
  item.querySelector('.from').title = from.address;
  item.querySelector('.mark').ariaLabel = t('mails.new');
  item.querySelector('.subject').textContent = subject;
  if (mail.folder !== 'INBOX') say(item.querySelector('.folder'), folderName(mail.folder));
  const time = item.querySelector('time');
  time.dateTime = mail.time;
  time.title = exactly(mail.time);
  time.textContent = timeOfDay(mail.time);
  insert(item, mail.time);
  for (const old of items().slice(LIMIT)) old.remove();
  arrange();
  if (isNew) announce(t('mails.announce', { name, subject }));
}

// Where it belongs by its time: one that was found later is older than others.
function insert(item, time) {
  const name = dayName(time);
  const after = items().find((other) => timeOf(other) <= Date.parse(time));
  let day = [...$('mails').children].find(({ dataset }) => dataset.day === name);
  if (!day) {
    day = copy('day');
    day.dataset.day = name;
    $('mails').insertBefore(day, after?.closest('.day') ?? null);
  }
  day.querySelector('ol').insertBefore(item, day.contains(after) ? after : null);
}

const timeOf = (item) => Date.parse(item.querySelector('time').dateTime);

// Where a mail is, which is what it is called by when something happens to it.
const place = ({ folder, uidValidity, uid }) => `${uidValidity}/${uid}/${folder}`;

// It was read or removed, on another device.
function change(mail) {
  for (const item of items().filter(({ dataset }) => dataset.mail === place(mail))) {
    if (mail.event === 'messageRead') item.classList.add('read');
    if (mail.event === 'messageTrash' || mail.event === 'messageExpunge') item.remove();
  }
  arrange();
}

function arrange() {
  const all = items();
  for (const [index, item] of all.entries()) item.classList.toggle('beyond', index >= FEW);
  for (const day of [...$('mails').children]) if (!day.querySelector('.mail')) day.remove();
  showDays();
  mark();
  show($('mails'), all.length > 0);
  show($('mails-empty'), all.length === 0);
  show($('mails-all'), all.length > FEW);
  sayAll();
}

// Their names change at midnight.
function showDays() {
  for (const day of $('mails').children) {
    const name = dayName(day.querySelector('time').dateTime);
    day.dataset.day = name;
    day.querySelector('h3').textContent = name;
  }
}

function showAll(all) {
  $('mails-all').ariaExpanded = String(all);
  $('mails').classList.toggle('all', all);
  sayAll();
}

function sayAll() {
  const all = $('mails-all').ariaExpanded === 'true';
  $('mails-all').textContent = all ? t('mails.fewer') : t('mails.all', { number: items().length });
}

const seen = () => Number(localStorage.getItem(SEEN)) || 0;

function remember() {
  const newest = items()[0];
  if (newest) localStorage.setItem(SEEN, String(Math.max(seen(), timeOf(newest))));
}

function mark() {
  const until = seen();
  for (const item of items()) show(item.querySelector('.mark'), timeOf(item) > until && !item.matches('.read'));
}

const initial = (name) => [...(name.match(/\p{L}|\p{N}/u)?.[0] ?? '·')][0].toLocaleUpperCase();
