// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// What a notification will look like.

import { t } from '../i18n.js';
import { newMail } from '../notification.js';
import { $, show } from './dom.js';

/**
 * Shows it, of a mail like the newest: with how much of it, and whether it makes
 * no sound.
 */
export function showPreview({ content, isSilent }, newest = { from: t('preferences.sample.from'), subject: t('preferences.sample.subject') }) {
  const mail = { folder: 'INBOX', unseen: 3 };
  if (content === 'sender' || content === 'full') Object.assign(mail, newest);
  if (content === 'full') mail.snippet = t('preferences.sample.text');
  const { title, options } = newMail(mail);
  tell('preview-title', title);
  tell('preview-text', options.body);
  show($('preview-silent'), isSilent);
}

// Screen readers read what is set again, even if it is the same.
function tell(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}
