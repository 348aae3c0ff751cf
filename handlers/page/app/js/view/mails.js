// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The list of the mails that have come while the page is open.

import { ago, exactly, folderName, t } from '../i18n.js';
import { sender } from '../sender.js';
import { $, announce, copy, say, show } from './dom.js';

const LIMIT = 50;

const known = new Set();

/** Shows what the stream brings, and how the stream is, until the signal. */
export function showMails(stream, signal) {
  clear();
  stream.addEventListener('mail', ({ detail }) => add(detail));
  stream.addEventListener('change', ({ detail }) => change(detail));
  stream.addEventListener('reset', () => show($('mails-missed')));
  stream.addEventListener('state', () => showState(stream.state));
  showState(stream.state);
  const timer = setInterval(showTimes, 30_000);
  signal.addEventListener('abort', () => {
    clearInterval(timer);
    clear();
  });
}

function clear() {
  known.clear();
  $('mails').replaceChildren();
  show($('mails'), false);
  show($('mails-empty'));
  show($('mails-missed'), false);
}

function showState(state) {
  $('stream').dataset.state = state;
  $('stream').textContent = t(`stream.${state}`);
}

function add(mail) {
  if (known.has(mail.id)) return;
  known.add(mail.id);
  const item = copy('mail');
  item.dataset.mail = place(mail);
  const from = sender(mail.from);
  const name = from.name || t('mail.noSender');
  const subject = mail.subject || t(mail.from ? 'mail.noSubject' : 'mail.new');
  item.querySelector('.initial').textContent = initial(from.name);
  item.querySelector('.from bdi').textContent = name;
  item.querySelector('.from').title = from.address;
  item.querySelector('.subject').textContent = subject;
  if (mail.folder !== 'INBOX') say(item.querySelector('.folder'), folderName(mail.folder));
  const time = item.querySelector('time');
  time.dateTime = mail.time;
  time.title = exactly(mail.time);
  $('mails').prepend(item);
  while ($('mails').children.length > LIMIT) $('mails').lastElementChild.remove();
  show($('mails'));
  show($('mails-empty'), false);
  showTimes();
  announce(t('mails.announce', { name, subject }));
}

// Where a mail is, which is what it is called by when something happens to it.
const place = ({ folder, uidValidity, uid }) => `${uidValidity}/${uid}/${folder}`;

// It was read or removed, on another device.
function change(mail) {
  for (const item of [...$('mails').children].filter(({ dataset }) => dataset.mail === place(mail))) {
    if (mail.event === 'messageRead') item.classList.add('read');
    if (mail.event === 'messageTrash' || mail.event === 'messageExpunge') item.remove();
  }
  show($('mails'), $('mails').children.length > 0);
  show($('mails-empty'), $('mails').children.length === 0);
}

const initial = (name) => [...(name.match(/\p{L}|\p{N}/u)?.[0] ?? '·')][0].toLocaleUpperCase();

function showTimes() {
  for (const time of $('mails').querySelectorAll('time')) time.textContent = ago(time.dateTime);
}
