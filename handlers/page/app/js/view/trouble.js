// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The card that stands in for the page when there is nothing else to show.

import { $, onPress, show } from './dom.js';

let again;

export function prepare() {
  onPress($('trouble-again'), () => again());
}

/** Shows the texts, and a button that does action. */
export function open({ title, text, button }, action) {
  $('trouble-title').textContent = title;
  $('trouble-text').textContent = text;
  $('trouble-again').textContent = button;
  again = action;
  show($('trouble'));
  $('trouble-title').focus();
}

export const close = () => show($('trouble'), false);
