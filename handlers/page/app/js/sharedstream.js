// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// One stream for all tabs with the page: the leader, which has a lock, is
// connected and tells the others. Browsers open no more than six connections to
// a site over HTTP/1.1, and a stream of each tab would use them up.

import { BEGINNING, Stream } from './stream.js';

// How long the leader may take to answer. A browser may have suspended its tab.
const PATIENCE = 3_000;

// As many as the server remembers.
const REMEMBERED = 256;

// Is aborted when one of the signals is. What browsers have for it is newer than iOS 16.4.
function either(...signals) {
  const controller = new AbortController();
  for (const signal of signals) {
    if (signal.aborted) controller.abort();
    signal.addEventListener('abort', () => controller.abort(), { signal: controller.signal });
  }
  return controller.signal;
}

/** Tells the same as a Stream, in each tab. */
export class SharedStream extends EventTarget {
  state = 'connecting';
  isCurrent = false;

  #name;
  #signal;
  #channel;
  #stream; // of the leader
  #log = []; // for tabs that are opened later
  #lastId = BEGINNING;
  #asking;
  #leaving;
  #here; // the signal of this tab: signed out, or left

  /** User is who is signed in; signal ends it. */
  constructor(user, signal) {
    super();
    this.#name = `stream ${new URL('./', document.baseURI).pathname} ${user}`;
    this.#signal = signal;
  }

  open() {
    this.#here = this.#signal;
    if (!navigator.locks) return this.#lead(this.#signal); // there is no secure connection
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.addEventListener('message', ({ data }) => this.#hear(data));
    this.#signal.addEventListener('abort', () => {
      clearTimeout(this.#asking);
      this.#channel.close();
    });
    // A page that was left may be kept for when its reader goes back.
    addEventListener('pagehide', () => this.#leave(), { signal: this.#signal });
    addEventListener('pageshow', ({ persisted }) => persisted && this.#join(), { signal: this.#signal });
    this.#join();
  }

  #join() {
    this.#leaving = new AbortController();
    this.#here = either(this.#signal, this.#leaving.signal);
    this.#apply({ signal: this.#here });
    this.#ask();
  }

  #leave() {
    this.#answered();
    this.#leaving.abort();
  }

  /** Connects at once if there is no connection, as when the page is looked at again. */
  wake() {
    if (this.#here.aborted) return;
    if (this.#stream) this.#stream.wake();
    else this.#ask();
  }

  async #apply(options) {
    const here = this.#here;
    const leading = new AbortController();
    try {
      await navigator.locks.request(this.#name, options, () => this.#lead(either(here, leading.signal)));
    } catch (error) {
      if (error.name !== 'AbortError') throw error;
      leading.abort(); // another tab has taken the lock
      if (!here.aborted) this.#apply({ signal: here });
    }
  }

  // Is the leader until the signal, and lets go of the lock then.
  #lead(signal) {
    if (signal.aborted || this.#stream) return undefined;
    this.#answered();
    const stream = new Stream(signal, this.#lastId);
    this.#stream = stream;
    for (const type of ['mail', 'change', 'current', 'reset']) {
      stream.addEventListener(type, ({ detail }) => {
        const { lastId, isCurrent } = stream;
        this.#tell({ type, detail, lastId, isCurrent });
      });
    }
    stream.addEventListener('state', () => this.#tell({ type: 'state', state: stream.state }));
    stream.open();
    return new Promise((resolve) => {
      signal.addEventListener('abort', () => {
        this.#stream = null;
        resolve();
      });
    });
  }

  #tell(message) {
    if (this.#here.aborted) return;
    this.#channel?.postMessage(message);
    this.#take(message);
  }

  #ask() {
    this.#answered();
    this.#channel?.postMessage({ type: 'ask' });
    this.#asking = setTimeout(() => this.#apply({ steal: true }), PATIENCE);
  }

  #answered() {
    clearTimeout(this.#asking);
    this.#asking = null;
  }

  #hear(message) {
    if (message.type === 'ask') {
      if (!this.#stream) return;
      const { state, isCurrent } = this;
      this.#channel.postMessage({ type: 'answer', log: this.#log, lastId: this.#lastId, state, isCurrent });
    } else if (message.type === 'answer') {
      if (this.#asking) this.#catchUp(message);
    } else if (!this.#stream) {
      this.#take(message);
    }
  }

  #catchUp({ log, lastId, state, isCurrent }) {
    this.#answered();
    this.#log = [];
    for (const { type, detail } of log) this.#take({ type, detail, lastId, isCurrent: false });
    this.#take({ type: 'state', state });
    if (isCurrent) this.#take({ type: 'current', lastId, isCurrent });
  }

  #take({ type, detail, lastId, isCurrent, state }) {
    if (type === 'state') {
      this.state = state;
    } else {
      this.#lastId = lastId;
      this.isCurrent = isCurrent;
      if (type === 'reset') this.#log = [];
      if (detail) this.#log = [...this.#log, { type, detail }].slice(-REMEMBERED);
    }
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
