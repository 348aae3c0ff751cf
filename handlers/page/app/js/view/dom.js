// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The few things that all parts of the page do with the document.

export const $ = (id) => document.getElementById(id);

/** Shows or hides an element. */
export function show(element, visible = true) {
  element.hidden = !visible;
}

/** Sets the text of an element, and hides it if there is none. */
export function say(element, text) {
  element.textContent = text || '';
  show(element, Boolean(text));
}

/** A copy of the content of a template. */
export const copy = (template) => $(template).content.firstElementChild.cloneNode(true);

/** Tells it to who uses a screen reader; the same twice in a row, too. */
export function announce(text) {
  $('announcer').textContent = '';
  setTimeout(() => { $('announcer').textContent = text; }, 100);
}

/**
 * Calls action when the button is pressed. Until it is done the button looks
 * busy and does nothing; it keeps the focus.
 */
export function onPress(button, action) {
  button.addEventListener('click', () => whileBusy(button, action));
}

export async function whileBusy(button, action) {
  if (button.ariaDisabled === 'true') return;
  button.ariaDisabled = 'true';
  try {
    await action();
  } finally {
    button.ariaDisabled = null;
  }
}
