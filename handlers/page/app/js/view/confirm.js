// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Asks before something that is not easily undone.

import { $ } from './dom.js';

/** Resolves to whether the user wants it. */
export function confirm(title, text, yes, { danger = false } = {}) {
  const dialog = $('confirm');
  $('confirm-title').textContent = title;
  $('confirm-text').textContent = text;
  $('confirm-yes').textContent = yes;
  $('confirm-yes').classList.toggle('danger', danger);
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}
