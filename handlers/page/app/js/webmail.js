// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Where mail is read.

/** The URL of a mail in the webmail, or null if there is no webmail. */
export function mailURL({ webmailURL }) {
  return webmailURL ?? null;
}
