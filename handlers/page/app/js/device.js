// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// This device: whether it is notified, and how that changes. It brings together
// what the browser has, what the server has, and what they were last told.

import * as api from './api.js';
import { deviceName, obstacle } from './platform.js';
import * as push from './push.js';
import * as record from './record.js';
import { onMessage, register } from './worker.js';

// A confirmation that takes longer than this is worth a word. It may still come.
const PATIENCE = 60_000;
const LOOK_EVERY = 3_000;

/**
 * The states:
 *
 *   starting     not known yet
 *   failed       cannot be found out
 *   insecure, install, unsupported   see platform.js
 *   unavailable  the server has no Web Push
 *   denied       the user or the browser has blocked notifications
 *   off          may be turned on
 *   asking       the browser asks the user
 *   subscribing  the browser and the server are at it
 *   confirming   the server has sent a confirmation, which has not arrived
 *   late         and takes long
 *   on           notifies
 *
 * In "off" and "failed", problem tells why the last try failed: "dismissed",
 * "service" (the push service did not answer the browser), "unreachable" (nor
 * the server), "limit", "network" or "server". In "off" it may also be that it was
 * the browser that turned it off: "ended", or "forgotten" if that is a guess;
 * otherwise it is null. Each
 * change is told with an event "change".
 */
export class Device extends EventTarget {
  state = 'starting';
  problem = null;
  /** The subscription's id, of which there is one unless the state is an earlier one than "confirming". */
  id = null;

  #config;
  #user;
  #subscriptions;
  #registration;
  #permission;
  #signal;
  #confirmations = new Set(); // the ids of what the service worker has confirmed
  #deadline;
  #timer;

  /** Signal tells when the user has signed out. */
  constructor(config, user, subscriptions, signal) {
    super();
    this.#config = config;
    this.#user = user;
    this.#subscriptions = subscriptions;
    this.#signal = signal;
    signal.addEventListener('abort', () => clearTimeout(this.#timer));
    onMessage(({ type, id }) => {
      if (type === 'confirmed') this.#confirmed(id);
      if (type === 'renewed') this.start();
    }, signal);
  }

  get isSubscribed() {
    return ['confirming', 'late', 'on'].includes(this.state);
  }

  get #webmail() {
    const { webmailURL, mailURL } = this.#config;
    return { webmailURL, mailURL };
  }

  /** Finds out how things are, and mends what does not fit together. */
  async start() {
    const reason = this.#config.applicationServerKey ? obstacle() : 'unavailable';
    if (reason) {
      this.#set(reason);
      if (this.#config.kinds.length > 0) await this.#subscriptions.refresh().catch(() => {}); // there may be other devices
      return;
    }
    await this.#watchPermission();
    try {
      this.#registration = await register();
    } catch {
      return this.#set('unsupported'); // such as one without modules in service workers
    }
    try {
      await this.#compare();
    } catch (error) {
      return this.#set('failed', problem(error));
    }
  }

  async #compare() {
    const [known, subscription] = await Promise.all([record.load(), push.current(this.#registration), this.#subscriptions.refresh()]);
    const own = this.#own(known);
    if (!own || Notification.permission !== 'granted') return this.#giveUp(known, own, subscription);
    this.id = own.id;
    await record.save({ id: own.id, user: this.#user, ...this.#webmail });
    try {
      await this.#renew(known, subscription);
    } catch (error) {
      if (error.name !== 'NotAllowedError') throw error;
      return this.#giveUp(known, own, subscription); // this browser subscribes for a touch of the user only
    }
    if (known.code) await this.#handIn(known.code);
    return this.#await();
  }

  // This device in the list of the user: the one that is remembered, or, if all of
  // that is lost, the one that has the name of this browser.
  #own(known) {
    if (known.user) return known.user === this.#user ? this.#subscriptions.find(known.id) : undefined;
    return isLost(known) ? this.#subscriptions.ofClient(localStorage.getItem('deviceClientId')) : undefined;
  }

  // What was removed from elsewhere, is of another user, or is no longer allowed. The
  // user is told if it was not they who did it.
  async #giveUp(known, own, subscription) {
    this.id = null;
    await subscription?.unsubscribe();
    await record.forget();
    if (own) await this.#subscriptions.remove(own.id);
    const ended = own || known.ended === this.#user;
    if (ended) await record.save({ ended: this.#user });
    if (Notification.permission === 'denied') return this.#set('denied');
    return this.#set('off', ended ? 'ended' : this.#isForgotten(known) ? 'forgotten' : null);
  }

  // Whether notifications seem to have been on, in a browser whose data was cleared.
  #isForgotten(known) {
    const name = deviceName();
    return isLost(known) && Notification.permission === 'granted' && this.#subscriptions.list.some((other) => other.confirmed && other.name === name);
  }

  /** Turns notifications on. To be called by a touch or a key of the user. */
  async enable() {
    this.#set('asking');
    const permission = await Notification.requestPermission();
    if (permission === 'denied') return this.#set('denied');
    if (permission !== 'granted') return this.#set('off', 'dismissed');
    this.#set('subscribing');
    try {
      const subscription = await push.subscribe(this.#registration, this.#config.applicationServerKey);
      await this.#tell(subscription);
    } catch (error) {
      return this.#set('off', problem(error));
    }
    return this.#await();
  }

  /** Turns notifications off. Throws ApiError if the server cannot be told. */
  async disable() {
    clearTimeout(this.#timer);
    await this.#subscriptions.remove(this.id);
    await this.#drop();
    this.#set('off');
  }

  /** Starts over, when a confirmation does not come. */
  async retry() {
    try {
      await this.disable();
    } catch (error) {
      return this.#set('late', problem(error));
    }
    return this.enable();
  }

  /** Has the server send a test. */
  test() {
    return api.test(this.id);
  }

  /** Looks whether this device was removed from the list. */
  async removed(id) {
    if (id !== this.id) return;
    clearTimeout(this.#timer);
    await this.#drop();
    this.#set('off');
  }

  async #tell(subscription) {
    const address = push.address(subscription, this.#registration);
    const { id } = await api.subscribe({ name: deviceName(), deviceClientId: deviceClientId(), ...address });
    this.id = id;
    await record.save({ id, user: this.#user, told: JSON.stringify(address), ...this.#webmail, ended: undefined, off: undefined });
    await this.#subscriptions.refresh();
  }

  async #drop() {
    this.id = null;
    await (await push.current(this.#registration))?.unsubscribe();
    await record.forget();
    await record.save({ off: true });
  }

  // The browser may have changed or ended the subscription or its keys, or the
  // server its own, without the service worker having been able to do something about
  // it; and the page may speak another language since.
  async #renew(known, subscription) {
    const { applicationServerKey } = this.#config;
    const isGood = subscription && push.madeWith(subscription, applicationServerKey);
    const renewed = isGood ? subscription : await push.subscribe(this.#registration, applicationServerKey);
    const address = push.address(renewed, this.#registration);
    if (JSON.stringify(address) === known.told) return;
    await api.change(this.id, address);
    await record.save({ told: JSON.stringify(address) });
    await this.#subscriptions.refresh();
  }

  async #handIn(verificationCode) {
    try {
      await api.change(this.id, { verificationCode });
    } catch (error) {
      if (error.status !== 400) throw error; // not the newest: that one may still come
    }
    await record.save({ code: undefined });
    await this.#subscriptions.refresh();
  }

  // Waits for the service worker to confirm the subscription, if it has not
  // been faster than the answer to subscribing.
  #await() {
    if (this.#confirmations.has(this.id) || this.#subscriptions.find(this.id)?.confirmed) return this.#set('on');
    this.#deadline = Date.now() + PATIENCE;
    this.#set('confirming');
    this.#look();
  }

  async #look() {
    clearTimeout(this.#timer);
    await this.#subscriptions.refresh().catch(() => {});
    if (this.#signal.aborted || (this.state !== 'confirming' && this.state !== 'late')) return;
    if (this.#subscriptions.find(this.id)?.confirmed) return this.#set('on');
    if (this.state === 'confirming' && Date.now() > this.#deadline) this.#set('late');
    this.#timer = setTimeout(() => this.#look(), LOOK_EVERY);
  }

  #confirmed(id) {
    this.#confirmations.add(id);
    if (id !== this.id || !this.isSubscribed) return;
    clearTimeout(this.#timer);
    this.#subscriptions.refresh().catch(() => {});
    this.#set('on');
  }

  async #watchPermission() {
    if (this.#permission) return;
    this.#permission = await navigator.permissions?.query({ name: 'notifications' }).catch(() => null);
    this.#permission?.addEventListener('change', () => {
      if (this.state !== 'asking' && this.state !== 'subscribing') this.start();
    }, { signal: this.#signal });
  }

  #set(state, problem = null) {
    if (this.#signal.aborted) return;
    if (state === this.state && problem === this.problem) return;
    this.state = state;
    this.problem = problem;
    this.dispatchEvent(new Event('change'));
  }
}

// Whether there is nothing: it was never on, or the browser's data was cleared.
const isLost = (known) => Object.keys(known).length === 0;

function problem(error) {
  if (error instanceof push.PushServiceError) return 'service';
  if (!(error instanceof api.ApiError)) {
    reportError(error);
    return 'server';
  }
  if (error.status === 0) return 'network';
  if (error.status === 409) return 'limit';
  return [400, 410, 502].includes(error.status) ? 'unreachable' : 'server';
}

// Names this browser to the server for as long as its user lets it: a
// subscription that is made again takes the place of the one before.
function deviceClientId() {
  const id = localStorage.getItem('deviceClientId') ?? crypto.randomUUID();
  localStorage.setItem('deviceClientId', id);
  return id;
}
