// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Where mail is read.

/**
 * The URL of a mail; that of the webmail if not all that it takes is known; null
 * if there is no webmail.
 *
 * @param {{webmailURL: string?, mailURL: string?}} config as in the API's description
 * @param {string|undefined} user whose mail it is
 */
export function mailURL({ webmailURL, mailURL }, user, { folder, uid }) {
  const values = { user, folder, uid: uid || '' };
  let known = Boolean(mailURL);
  const url = mailURL?.replace(/\{(user|folder|uid)\}/g, (_, name) => {
    const value = String(values[name] ?? '');
    if (/^\.{0,2}$/.test(value)) known = false; // dots alone would lead elsewhere
    return encode(value);
  });
  return known ? url : (webmailURL ?? null);
}

// Everything is encoded that means something in any part of a URL (RFC 3986, 2.3).
const encode = (text) => encodeURIComponent(text.toWellFormed?.() ?? text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
