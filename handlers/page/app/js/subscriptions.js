// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The subscriptions of the user, on whatever device, as the server has them.

import * as api from './api.js';

/** Tells with an event "change" that list is another one. */
export class Subscriptions extends EventTarget {
  list = [];
  /** The preferences of a new device. */
  defaults = {};

  /** Asks the server. */
  async refresh() {
    const { subscriptions, defaults = {} } = await api.subscriptions();
    this.list = subscriptions;
    this.defaults = defaults;
    this.dispatchEvent(new Event('change'));
    return this.list;
  }

  find(id) {
    return this.list.find((subscription) => subscription.id === id);
  }

  /** The one of a browser that names itself so. */
  ofClient(deviceClientId) {
    return deviceClientId ? this.list.find((subscription) => subscription.deviceClientId === deviceClientId) : undefined;
  }

  async rename(id, name) {
    await api.change(id, { name });
    await this.refresh();
  }

  /** Changes the preferences that are given. */
  async prefer(id, preferences) {
    const answer = await api.change(id, { preferences });
    this.list = this.list.map((subscription) => (subscription.id === id ? answer : subscription));
    this.dispatchEvent(new Event('change'));
  }

  async remove(id) {
    try {
      await api.remove(id);
    } catch (error) {
      if (error.status !== 404) throw error; // somebody was faster
    }
    await this.refresh();
  }
}
