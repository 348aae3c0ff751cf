// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// New mail as it comes, over the API's event stream.

import { ApiError, session } from './api.js';

// The position before the oldest mail that the server knows.
export const BEGINNING = '0';

const RETRY = [1_000, 3_000, 10_000, 30_000];

/**
 * Tells with events "mail" and "change" (something happened to one; both with
 * detail, as the API describes it), "current" (what came before is the
 * history), "reset" (some mail was missed; the history follows) and "state"
 * (connecting, live, offline).
 */
export class Stream extends EventTarget {
  state = 'connecting';
  /** Whether the next mail is not of the history. */
  isCurrent = false;

  /** The position after what was told. */
  lastId;

  #source;
  #failures = 0;
  #timer;
  #signal;

  /** Signal ends the stream, which begins after lastId. */
  constructor(signal, lastId) {
    super();
    this.lastId = lastId;
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#close());
  }

  open() {
    this.#close();
    // The browser resumes automatically after a lost connection, but not after a
    // refused one.
    this.isCurrent = this.lastId !== BEGINNING;
    this.#source = new EventSource(`api/events?last-event-id=${encodeURIComponent(this.lastId)}`);
    this.#source.addEventListener('open', () => {
      this.#failures = 0;
      this.#set('live');
    });
    this.#source.addEventListener('error', () => this.#lost());
    for (const type of ['mail', 'change']) {
      this.#source.addEventListener(type, (event) => {
        this.lastId = event.lastEventId;
        this.dispatchEvent(new CustomEvent(type, { detail: JSON.parse(event.data) }));
      });
    }
    this.#source.addEventListener('current', (event) => {
      this.lastId = event.lastEventId;
      this.isCurrent = true;
      this.dispatchEvent(new Event('current'));
    });
    this.#source.addEventListener('reset', (event) => {
      this.lastId = event.lastEventId;
      this.dispatchEvent(new Event('reset'));
      if (!this.isCurrent) { // an instance of an earlier version, which knows no beginning
        this.isCurrent = true;
        return;
      }
      this.lastId = BEGINNING;
      this.open();
    });
  }

  /** Connects at once if there is no connection, as when the page is looked at again. */
  wake() {
    if (!this.#signal.aborted && this.#source?.readyState === EventSource.CLOSED) this.open();
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
  }

  async #lost() {
    this.#set('offline');
    if (this.#source.readyState !== EventSource.CLOSED) return;
    const wait = RETRY[Math.min(this.#failures++, RETRY.length - 1)] * (0.5 + Math.random());
    this.#timer = setTimeout(() => this.open(), wait);
    try {
      await session();
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) return;
      self.dispatchEvent(new Event('unauthorized'));
    }
  }

  #set(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new Event('state'));
  }
}
