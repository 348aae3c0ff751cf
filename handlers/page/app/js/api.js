// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The JSON API, which lives beside the page and the service worker. When the
// session turns out to be over, an event "unauthorized" says so to the page.

/** What the server answered instead of what was asked for. */
export class ApiError extends Error {
  /**
   * @param {number} status HTTP status; 0 if there was no answer at all
   * @param {number} retryAfter seconds to wait before the next try, 0 if unknown
   * @param {string} field the invalid member of the request, '' if unknown
   */
  constructor(status, retryAfter = 0, field = '') {
    super(status ? `the server answered ${status}` : 'no answer from the server');
    this.status = status;
    this.retryAfter = retryAfter;
    this.field = field;
  }
}

async function call(method, path, body) {
  const request = {
    method,
    cache: 'no-store',
    headers: { Accept: 'application/json' },
    // A login portal in front of the server answers with a redirect to itself.
    redirect: 'manual',
    signal: AbortSignal.timeout(30_000),
  };
  if (body) {
    request.headers['Content-Type'] = 'application/json';
    request.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(`api/${path}`, request);
  } catch {
    throw new ApiError(0);
  }
  const status = response.type === 'opaqueredirect' ? 401 : response.status;
  if (status === 401 && path !== 'session') self.dispatchEvent(new Event('unauthorized'));
  if (status >= 300) {
    const problem = await response.json().catch(() => null);
    throw new ApiError(status, Number(response.headers.get('Retry-After')) || 0, problem?.field);
  }
  return status === 204 || status === 202 ? null : response.json();
}

const subscription = (id) => `subscriptions/${encodeURIComponent(id)}`;

export const config = () => call('GET', 'config');

export const session = () => call('GET', 'session');
export const signIn = (username, password) => call('POST', 'session', { username, password });
export const signOut = () => call('DELETE', 'session');

export const subscriptions = () => call('GET', 'subscriptions');
export const subscribe = (fields) => call('POST', 'subscriptions', fields);
export const change = (id, fields) => call('PATCH', subscription(id), fields);
export const remove = (id) => call('DELETE', subscription(id));
/** Needs no session: the ticket is the permission. */
export const act = (ticket) => call('POST', 'actions', ticket);
export const test = (id) => call('POST', `${subscription(id)}/test`);
