// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// What a notification says and looks like, from what the server has pushed.
//
// There is one notification for each folder. The newest mail is in it, and how
// many came before it since the user last cleared it. Its data has what is
// needed to go on from there:
//
//   mails  the last ones, the newest last: id, uid, uidValidity, title, lines, and
//          what can be done with it (actions)
//   count  of all of them
//   folder where they are

import { buttons } from './actions.js';
import { folderName, language, t } from './i18n.js';
import { sender } from './sender.js';

const look = { icon: 'icons/icon-192.png', badge: 'icons/badge-96.png', lang: language };

const REMEMBERED = 10;

export const SUMMARY_TAG = 'summary';

export const mailTag = ({ folder }) => `mail:${folder ?? ''}`;

/**
 * The notification for new mail.
 *
 * @param mail as in the API's description, with the notification that the server
 *   has declared, and what of it the browser has read (said: title and body); all
 *   of it may be missing
 * @param {Notification|undefined} shown what there is for its folder by now
 */
export function newMail(mail, shown) {
  const { mails = [], count = 0 } = shown?.data ?? {};
  if (mail.id && mails.some(({ id }) => id === mail.id)) return render(mail, mails, count, { renotify: false }); // delivered again
  return render(mail, [...mails, describe(mail)].slice(-REMEMBERED), count + arrived(mail, mails.at(-1)), {
    renotify: true,
    silent: mail.notification?.silent || undefined, // as its user prefers it for this device
    timestamp: Date.parse(mail.time) || Date.now(),
  });
}

// What happens to a mail elsewhere so that it needs no attention any more.
const WITHDRAWALS = ['messageRead', 'messageTrash', 'messageExpunge'];

/**
 * The notification that is left after what happened to a mail: null if it was
 * about this mail alone, undefined if nothing changes.
 */
export function withoutMail(mail, shown) {
  if (!WITHDRAWALS.includes(mail.event)) return undefined;
  const { mails = [], count = 0 } = shown?.data ?? {};
  const left = mails.filter(({ uid, uidValidity }) => uid !== mail.uid || uidValidity !== mail.uidValidity);
  if (left.length === mails.length) return undefined;
  return left.length ? render(mail, left, count - 1, { renotify: false, silent: true }) : null;
}

// How many mails have come with this one: of a burst, the server pushes only
// some, but Dovecot counts all.
function arrived(mail, newest) {
  const counted = mail.uid && newest?.uid && newest.uidValidity === mail.uidValidity;
  return counted ? Math.max(1, mail.uid - newest.uid) : 1;
}

function describe({ id, uid, uidValidity, folder, from, subject, snippet, unseen, said, actions }) {
  if (said) return { id, uid, uidValidity, title: said.title, lines: said.body ? said.body.split('\n') : [], unseen, actions };
  const name = sender(from).name || t('notification.newMail');
  // Mail in the inbox is what everybody expects: only another folder is named.
  const title = folder && folder !== 'INBOX' ? t('notification.inFolder', { name, folder: folderName(folder) }) : name;
  const lines = [subject, snippet].filter(Boolean);
  if (lines.length === 0 && from) lines.push(t('mail.noSubject'));
  return { id, uid, uidValidity, title, lines, unseen, actions };
}

function render(mail, mails, count, options) {
  const { title, lines, unseen } = mails.at(-1);
  const more = [];
  const actions = buttons(mails.at(-1));
  if (count > 1) more.push(t('notification.before', { count: count - 1 }));
  else if (lines.length === 0 && unseen) more.push(t('notification.unseen', { count: unseen }));
  return {
    title,
    options: {
      ...look, ...options, ...(actions.length && { actions }),
      body: [...lines, ...more].join('\n'), tag: mailTag(mail), data: { kind: 'mail', folder: mail.folder, mails, count },
    },
  };
}

/**
 * The notification for what was held back while the device was quiet or muted, as
 * in the API's description.
 */
export function summary({ count, more, from = [], others, time, notification }) {
  const lines = [];
  const names = from.join(', ');
  if (others) lines.push(t('notification.fromOthers', { names, count: others }));
  else if (names) lines.push(t('notification.from', { names }));
  return {
    title: t('notification.summary', { count, more }),
    options: {
      ...look,
      body: lines.join('\n'),
      tag: SUMMARY_TAG,
      renotify: true,
      silent: notification?.silent || undefined,
      timestamp: Date.parse(time) || Date.now(),
      data: { kind: 'mail', folder: 'INBOX' },
    },
  };
}

/** For what is about this device: "confirmed", "unconfirmed" or "test". */
export function aboutDevice(kind) {
  return {
    title: t(`notification.${kind}.title`),
    options: { ...look, body: t(`notification.${kind}.text`), tag: 'device', renotify: true, data: { kind: 'device' } },
  };
}

/** For what was done with a mail, see actions.js, or was not: then it leads to the mail. */
export const aboutAction = ({ title, body, buttons, back }, place) => ({
  title,
  options: { ...look, body, tag: 'action', silent: true, ...(buttons.length && { actions: buttons }), data: { ...place, kind: back ? 'action' : place.kind, back } },
});

/** For a push that leaves nothing to show. */
export const upToDate = () => ({ title: t('notification.upToDate'), options: { ...look, tag: 'up-to-date', silent: true } });
