// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// What a notification says and looks like, from what the server has pushed.

import { folderName, language, t } from './i18n.js';
import { sender } from './sender.js';

const look = { icon: 'icons/icon-192.png', badge: 'icons/badge-96.png', lang: language };

// Enough to recognise a mail that is delivered again.
const REMEMBERED = 20;

/**
 * For new mail. There is one notification for each folder: the newest mail is
 * in it, and how many came before it since the user last cleared it.
 *
 * @param mail as in the API's description; all of it but folder may be missing
 * @param {Notification|undefined} shown what there is for this folder by now
 */
export function newMail(mail, shown) {
  const before = shown?.data?.ids ?? [];
  const again = Boolean(mail.id) && before.includes(mail.id);
  const ids = again ? before : [...before, mail.id].slice(-REMEMBERED);
  const count = again ? shown.data.count : (shown?.data?.count ?? 0) + 1;

  const from = sender(mail.from);
  const lines = [mail.subject, mail.snippet].filter(Boolean);
  if (lines.length === 0 && mail.from) lines.push(t('mail.noSubject'));
  if (count > 1) lines.push(t('notification.before', { count: count - 1 }));
  else if (lines.length === 0 && mail.unseen) lines.push(t('notification.unseen', { count: mail.unseen }));
  const name = from.name || t('notification.newMail');
  return {
    // Mail in the inbox is what everybody expects: only another folder is named.
    title: mail.folder && mail.folder !== 'INBOX' ? t('notification.inFolder', { name, folder: folderName(mail.folder) }) : name,
    options: {
      ...look,
      body: lines.join('\n'),
      tag: mailTag(mail),
      renotify: !again,
      timestamp: Date.parse(mail.time) || Date.now(),
      data: { kind: 'mail', id: mail.id, uid: uidOf(mail), ids, count },
    },
  };
}

const uidOf = ({ uidValidity, uid }) => `${uidValidity}/${uid}`;

// What happened to a mail, so that it needs no attention any more.
const WITHDRAWALS = ['messageRead', 'messageTrash', 'messageExpunge'];

/** Whether a message is about a mail that was announced before. */
export const isChange = (mail) => Boolean(mail.event) && mail.event !== 'messageNew';

/**
 * Whether a notification is over because of what happened to a mail: the one
 * it shows was read or removed elsewhere.
 */
export const isOver = (shown, mail) => WITHDRAWALS.includes(mail.event) && shown.data?.uid === uidOf(mail);

export const mailTag = (mail) => `mail:${mail.folder ?? ''}`;

/** For what is about this device: "confirmed", "unconfirmed" or "test". */
export function aboutDevice(kind) {
  return {
    title: t(`notification.${kind}.title`),
    options: { ...look, body: t(`notification.${kind}.text`), tag: 'device', renotify: true, data: { kind: 'device' } },
  };
}
