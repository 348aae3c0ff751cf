// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The card of this device: what its state means, and what can be done.

import { duration, t } from '../i18n.js';
import { settings } from '../platform.js';
import { $, announce, onPress, say, show } from './dom.js';
import { explain } from './explain.js';

const EMBLEMS = { insecure: 'lock', install: 'home', unsupported: 'browser', unavailable: 'bell-off', denied: 'bell-off', on: 'bell-on' };

// What the main button says, in the states in which it is there.
const OFFERS = { off: 'turnOn', late: 'retry', failed: 'retry', asking: 'working', subscribing: 'working' };

const ACTIONS = { off: 'enable', late: 'retry', failed: 'start' };

// The states that go over without anything being done, after a while.
const PASSING = ['starting', 'subscribing', 'confirming'];

// How long a state may last before it is worth a word, in seconds.
const SHORT = 5;

let device;
let shown; // the state that is shown, since when
let since;
let timer;
let arrived; // whether the test has, which may be before the server's answer

/** Makes the buttons work. To be called once. */
export function prepare() {
  onPress($('device-do'), () => device[ACTIONS[device.state]]?.());
  onPress($('device-off'), () => attempt(() => device.disable()));
  onPress($('device-test'), () => attempt(async () => {
    arrived = false;
    await device.test();
    if (!arrived) tell(t('device.testSent'));
  }, { 410: t('device.gone'), 502: t('device.problem.unreachable') }));
}

/** Shows the device from now on. */
export function showDevice(own) {
  device = own;
  device.addEventListener('change', () => {
    render();
    announce([$('device-title'), $('device-text'), $('device-problem')].map((element) => element.textContent).join(' '));
  });
  render();
}

/** Tells somebody who is not signed in what keeps this device from being notified. */
export function showObstacle(state) {
  device = { state };
  render();
}

/** The service worker has got the test. */
export function testArrived() {
  arrived = true;
  tell(t('device.testArrived'));
}

function render() {
  const { state, problem } = device;
  const focused = document.activeElement;
  show($('device'));
  showProgress(state);
  $('device').dataset.state = state;
  $('device-emblem').setAttribute('href', `#icon-${EMBLEMS[state] ?? 'bell'}`);
  $('device-title').textContent = t(`device.${state}.title`);
  say($('device-text'), t(`device.${state}.text`, { host: location.host }));
  $('device-steps').replaceChildren(...steps(state));
  show($('device-steps'), $('device-steps').children.length > 0);
  say($('device-problem'), problem && t(`device.problem.${problem}`));
  say($('device-do'), state in OFFERS && t(`device.${OFFERS[state]}`));
  show($('device-test'), state === 'on');
  show($('device-off'), Boolean(device.isSubscribed));
  say($('device-note'), state === 'off' ? t('device.privacy') : '');
  if ($('device').contains(focused) && focused.hidden) $('device-title').focus();
}

function showProgress(state) {
  if (state !== shown) since = Date.now();
  shown = state;
  clearInterval(timer);
  show($('device-progress'), PASSING.includes(state));
  sayWait();
  if (PASSING.includes(state)) timer = setInterval(sayWait, 1_000);
}

function sayWait() {
  const seconds = Math.floor((Date.now() - since) / 1000);
  say($('device-wait'), PASSING.includes(shown) && seconds >= SHORT && t('device.wait', { time: duration(seconds) }));
}

function steps(state) {
  const keys = {
    install: [['device.install.share', 'share'], ['device.install.add', 'home'], ['device.install.open', 'bell']],
    denied: [[`device.denied.${settings()}`], ['device.denied.back']],
  }[state];
  return (keys ?? []).map(([key, symbol]) => step(t(key), symbol));
}

function step(text, symbol) {
  const item = document.createElement('li');
  item.append(text);
  if (symbol) item.append($('device-symbol').content.cloneNode(true));
  item.querySelector('use')?.setAttribute('href', `#icon-${symbol}`);
  return item;
}

async function attempt(action, texts) {
  say($('device-problem'), '');
  try {
    await action();
  } catch (error) {
    say($('device-problem'), explain(error, texts));
    announce($('device-problem').textContent);
  }
}

function tell(text) {
  say($('device-note'), text);
  announce(text);
}
