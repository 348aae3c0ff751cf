// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The form to sign in with.

import * as api from '../api.js';
import { t } from '../i18n.js';
import { $, say, show, whileBusy } from './dom.js';
import { explain } from './explain.js';

/** Calls signedIn with the session, each time that somebody has signed in. */
export function onSignIn(signedIn) {
  const form = $('sign-in-form');
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    whileBusy($('sign-in-button'), async () => {
      fail('');
      const { username, password } = form.elements;
      try {
        const session = await api.signIn(username.value.trim(), password.value);
        form.reset();
        reveal(false);
        signedIn(session);
      } catch (error) {
        fail(explain(error, { 401: t('signIn.wrong') }));
        password.select();
        password.focus();
      }
    });
  });
  say($('sign-in-server'), t('signIn.server', { host: location.host }));
  $('sign-in-here').addEventListener('click', () => {
    open();
    $('username').focus();
  });
  $('reveal').addEventListener('click', () => reveal($('password').type === 'password'));
}

/** Shows the form, with a note why it is there, if there is one. */
export function open(note) {
  say($('sign-in-note'), note);
  show($('sign-in'));
  show($('sign-in-here'), false);
}

/** Shows how to get to the form, where something else comes first. */
export const offer = () => show($('sign-in-here'));

export function close() {
  fail('');
  show($('sign-in-here'), false);
  show($('sign-in'), false);
}

function fail(text) {
  $('sign-in-error').textContent = text;
  for (const id of ['username', 'password']) $(id).ariaInvalid = text ? 'true' : null;
}

function reveal(visible) {
  $('password').type = visible ? 'text' : 'password';
  $('reveal').ariaPressed = String(visible);
}
