// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The browser's side of a subscription: its own push service.

import { language } from './i18n.js';

const SERVICE_TIMEOUT = 45_000;

/** The push service of the browser did not do its part. */
export class PushServiceError extends Error {}

export const current = (registration) => registration.pushManager.getSubscription();

/** Subscribes with the key of the server; a subscription with another key is replaced. */
export async function subscribe(registration, applicationServerKey) {
  const existing = await current(registration);
  if (existing && !madeWith(existing, applicationServerKey)) await existing.unsubscribe();
  try {
    return await inTime(registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey }));
  } catch (error) {
    if (error.name === 'NotAllowedError') throw error;
    throw new PushServiceError('subscribing', { cause: error });
  }
}

// A browser that cannot reach its push service may wait without an end.
function inTime(promise) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(reject, SERVICE_TIMEOUT, new PushServiceError('no answer'));
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/**
 * What the server has to know of a subscription: where it is, and what its
 * notifications open and speak where no service worker makes them.
 */
export function address(subscription, { scope }) {
  const { endpoint, keys, expirationTime } = subscription.toJSON();
  return { endpoint, keys, expirationTime, page: scope, lang: language };
}

/** Whether the subscription was made with the key, as far as the browser tells. */
export function madeWith(subscription, applicationServerKey) {
  const key = subscription.options?.applicationServerKey;
  return !key || base64url(key) === applicationServerKey.replace(/=+$/, '');
}

function base64url(buffer) {
  const text = btoa(String.fromCharCode(...new Uint8Array(buffer)));
  return text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}
