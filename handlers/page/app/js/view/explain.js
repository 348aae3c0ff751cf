// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// What went wrong, in words.

import { ApiError } from '../api.js';
import { duration, t } from '../i18n.js';

/**
 * The text for what the API threw; everything else is thrown on. Texts has those
 * for statuses that mean something of their own here.
 */
export function explain(error, texts = {}) {
  if (!(error instanceof ApiError)) throw error;
  const { status, retryAfter } = error;
  if (status in texts) return texts[status];
  if (status === 0) return t('error.network');
  if (status === 429) return retryAfter ? t('error.throttledFor', { time: duration(retryAfter) }) : t('error.throttled');
  return [502, 503, 504].includes(status) ? t('error.unavailable') : t('error.server');
}
