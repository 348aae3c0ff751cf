// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Who a mail is from, out of its From header as the server decoded it.

/**
 * @param {string|undefined} from such as 'Bob <bob@example.net>'
 * @returns {{name: string, address: string}} either may be empty
 */
export function sender(from) {
  const text = (from ?? '').trim();
  const parts = /^(.*?)\s*<([^<>]*)>$/s.exec(text);
  if (!parts) return { name: text, address: '' };
  const address = parts[2].trim();
  const name = unquote(parts[1].trim());
  return name ? { name, address } : { name: address, address: '' };
}

const unquote = (text) => (/^".*"$/s.test(text) ? text.slice(1, -1).replace(/\\(.)/gs, '$1') : text);
