// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The list of the user's devices.

import { ago, t, translate } from '../i18n.js';
import { confirm } from './confirm.js';
import { $, announce, copy, onPress, say, show, whileBusy } from './dom.js';
import { explain } from './explain.js';
import { openPreferences } from './preferences.js';
import { muted, summary } from './summary.js';
import * as api from '../api.js';

let subscriptions;
let device;
let timer; // until the next mute is over

// How long a browser can wait, in milliseconds.
const LONGEST = 2 ** 31 - 1;

/** Shows the subscriptions from now on; device is the one that this is. */
export function showDevices(list, own) {
  subscriptions = list;
  device = own;
  subscriptions.addEventListener('change', render);
  device.addEventListener('change', render);
  render();
}

// What is there stays the same element, so that the focus stays where it is.
function render() {
  const { list } = subscriptions;
  const items = new Map([...$('devices').children].map((item) => [item.dataset.id, item]));
  const shown = list.map((subscription) => update(items.get(subscription.id) ?? create(subscription.id), subscription));
  for (const [index, item] of shown.entries()) {
    if ($('devices').children[index] !== item) $('devices').insertBefore(item, $('devices').children[index] ?? null);
  }
  for (const item of [...$('devices').children].slice(shown.length)) item.remove();
  show($('devices'), list.length > 0);
  show($('devices-empty'), list.length === 0);
  const own = subscriptions.find(device.id);
  say($('device-muted'), own && muted(own.preferences));
  clearTimeout(timer);
  const ends = list.map(({ preferences }) => Date.parse(preferences.mutedUntil) - Date.now()).filter((left) => left > 0);
  if (ends.length) timer = setTimeout(render, Math.min(...ends, LONGEST));
}

function update(item, subscription) {
  const { id, name, endpointHost, app, preferences, maxContent } = subscription;
  item.querySelector('.name').textContent = name;
  show(item.querySelector('.own'), id === device.id);
  const failed = subscription.confirmed && subscription.lastDelivery && subscription.lastDelivery.outcome !== 'delivered';
  item.querySelector('.delivery').textContent = delivery(subscription);
  item.classList.toggle('failed', Boolean(failed));
  say(item.querySelector('.reason'), failed && reason(subscription.lastDelivery.outcome));
  item.querySelector('.delivery').title = t('devices.through', { host: endpointHost || app });
  say(item.querySelector('.until'), muted(preferences));
  show(item.querySelector('.mute'), Boolean(muted(preferences)));
  const preferred = summary(preferences, maxContent);
  say(item.querySelector('.prefers'), preferred);
  item.querySelector('.prefer').ariaLabel = [t('devices.prefer'), preferred, name].filter(Boolean).join(', ');
  for (const action of ['unmute', 'test', 'rename', 'remove']) {
    item.querySelector(`.${action}`).ariaLabel = t(`devices.${action}Named`, { name });
  }
  // What can be done with this device is in its own card.
  show(item.querySelector('.test'), subscription.confirmed && id !== device.id);
  show(item.querySelector('.remove'), id !== device.id);
  return item;
}

function delivery({ confirmed, lastDelivery }) {
  if (!confirmed) return t('devices.unconfirmed');
  if (!lastDelivery) return t('devices.nothingYet');
  const time = ago(lastDelivery.time);
  return t(lastDelivery.outcome === 'delivered' ? 'devices.delivered' : 'devices.failed', { time });
}

const REASONS = ['try_again', 'refused', 'misconfigured', 'gone'];

const reason = (outcome) => REASONS.includes(outcome) && t(`devices.reason.${outcome}`);

function create(id) {
  const item = copy('subscription');
  translate(item);
  item.dataset.id = id;
  const button = (name) => item.querySelector(`.${name}`);
  onPress(button('test'), () => attempt(item, async () => {
    await api.test(id);
    tell(item, t('device.testSent'));
  }, { 410: t('device.gone'), 502: t('device.problem.unreachable') }));
  onPress(button('remove'), () => remove(item, id));
  button('prefer').addEventListener('click', () => openPreferences(id));
  onPress(button('unmute'), () => attempt(item, async () => {
    await subscriptions.prefer(id, { mutedUntil: null });
    button('prefer').focus();
    announce(t('devices.unmuted', { name: subscriptions.find(id)?.name }));
  }));
  button('rename').addEventListener('click', () => rename(item, id));
  button('cancel').addEventListener('click', () => endRenaming(item));
  item.querySelector('form').addEventListener('keydown', ({ key }) => key === 'Escape' && endRenaming(item));
  item.querySelector('form').addEventListener('submit', (event) => {
    event.preventDefault();
    whileBusy(button('save'), () => attempt(item, async () => {
      await subscriptions.rename(id, item.querySelector('input').value.trim());
      endRenaming(item);
    }));
  });
  return item;
}

function rename(item, id) {
  item.querySelector('input').value = subscriptions.find(id)?.name ?? '';
  show(item.querySelector('.shows'), false);
  show(item.querySelector('form'));
  item.querySelector('input').select();
}

function endRenaming(item) {
  show(item.querySelector('.shows'));
  show(item.querySelector('form'), false);
  item.querySelector('.rename').focus();
}

async function remove(item, id) {
  const { name } = subscriptions.find(id);
  if (!(await confirm(t('devices.confirm.title', { name }), t('devices.confirm.text'), t('devices.remove'), { danger: true }))) return;
  await attempt(item, async () => {
    await subscriptions.remove(id);
    await device.removed(id);
    $('devices-title').focus();
    announce(t('devices.removed', { name }));
  });
}

async function attempt(item, action, texts) {
  try {
    say(item.querySelector('.problem'), '');
    await action();
  } catch (error) {
    tell(item, explain(error, texts), '.problem');
  }
}

function tell(item, text, where = '.delivery') {
  say(item.querySelector(where), text);
  announce(text);
}
