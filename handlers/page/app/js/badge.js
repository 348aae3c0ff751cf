// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The number of unseen mails of the inbox, on the icon of the page: what Dovecot
// has counted, so that all devices show the same.

/** What a mail, or a change of one, says about the number; undefined if nothing. */
export const unseenOf = ({ folder, unseen }) => (folder === 'INBOX' ? unseen : undefined);

/** Shows the number on the icon, where the system has that; 0 removes it. */
export async function setBadge(unseen) {
  try {
    await (unseen ? navigator.setAppBadge?.(unseen) : navigator.clearAppBadge?.());
  } catch {
    // There is no icon, as where the page is not installed.
  }
}
