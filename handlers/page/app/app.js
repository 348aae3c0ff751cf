// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The page: who is signed in, and what they see.

import * as api from './js/api.js';
import { setBadge, unseenOf } from './js/badge.js';
import { Device } from './js/device.js';
import { language, t, translate } from './js/i18n.js';
import { obstacle } from './js/platform.js';
import * as record from './js/record.js';
import { SharedStream } from './js/sharedstream.js';
import { Subscriptions } from './js/subscriptions.js';
import { confirm } from './js/view/confirm.js';
import * as deviceView from './js/view/device.js';
import { showDevices } from './js/view/devices.js';
import { $, announce, onPress, say, show } from './js/view/dom.js';
import { explain } from './js/view/explain.js';
import * as mails from './js/view/mails.js';
import * as preferences from './js/view/preferences.js';
import * as signIn from './js/view/signin.js';
import * as trouble from './js/view/trouble.js';
import { mailURL } from './js/webmail.js';
import { handInKept, onMessage } from './js/worker.js';

let config;
let device;
let stream;
let subscriptions;
let session = new AbortController(); // of who is signed in; aborted when they are no more

document.documentElement.lang = language;
translate(document);
trouble.prepare();
deviceView.prepare();
mails.prepare();
preferences.prepare();
signIn.onSignIn((signedIn) => {
  open(signedIn);
  $('device-title').focus();
});
onPress($('sign-out'), signOut);
addEventListener('unauthorized', () => close(t('signIn.ended')));
onMessage(({ type }) => type === 'test' && testArrived());
addEventListener('hashchange', () => config && openMail());
document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && lookedAtAgain());
addEventListener('online', handInKept);
handInKept();
start();

async function start() {
  trouble.close();
  try {
    config = await api.config();
    if (await openMail()) return;
    open(await api.session());
  } catch (error) {
    if (error.status === 401) return close();
    trouble.open({ title: t('trouble.title'), text: explain(error), button: t('trouble.again') }, start);
  }
}

/**
 * Goes on to the webmail, and reports whether it does, if this page was opened by
 * a notification that the browser has shown without the service worker.
 */
async function openMail() {
  const place = new URLSearchParams(location.hash.slice(1));
  if (!place.has('uid')) return false;
  history.replaceState(null, '', location.pathname);
  const { user } = await record.load().catch(() => ({})); // as where there is no secure connection
  const url = mailURL(config, user, { folder: place.get('folder'), uid: Number(place.get('uid')) });
  if (url) location.assign(url);
  return Boolean(url);
}

/** Shows what somebody who is signed in sees. */
function open({ user, notice }) {
  signIn.close();
  say($('user'), user);
  show($('unknown-user'), Boolean(notice));
  show($('account'));
  show($('sign-out'), config.login === 'imap');
  showWebmail(config.webmailURL);
  subscriptions = new Subscriptions();
  session = new AbortController();
  device = new Device(config, user, subscriptions, session.signal);
  stream = new SharedStream(user, session.signal);
  deviceView.showDevice(device);
  showDevices(subscriptions, device);
  preferences.showPreferences(subscriptions, device, user, session.signal);
  showUnseen(stream, session.signal);
  mails.showMails(stream, (mail) => mailURL(config, user, mail), session.signal);
  show($('mails-card'));
  show($('devices-card'), config.kinds.length > 0);
  stream.open();
  device.start();
}

/** Shows how to sign in, and what for, if there is a note. */
function close(note) {
  session.abort();
  show($('account'), false);
  say($('user'), '');
  for (const id of ['unknown-user', 'device', 'mails-card', 'devices-card']) show($(id), false);
  const comesFirst = obstacle() === 'install'; // what is on the home screen has a sign-in of its own
  if (comesFirst) deviceView.showObstacle('install');
  if (note) announce(note);
  if (config.login === 'imap') return comesFirst && !note ? signIn.offer() : signIn.open(note);
  trouble.open({ title: t('signIn.elsewhere.title'), text: t('signIn.elsewhere.text', { host: location.host }), button: t('signIn.elsewhere.button') },
    () => location.reload());
}

async function signOut() {
  if (device.isSubscribed && !(await confirm(t('signOut.title'), t('signOut.text'), t('account.signOut')))) return;
  try {
    if (device.isSubscribed) await device.disable();
    await api.signOut();
    mails.forget();
    setBadge(0);
  } catch (error) {
    say($('device-problem'), explain(error));
    return;
  }
  close();
  $($('sign-in').hidden ? 'device-title' : 'username').focus();
}

function testArrived() {
  deviceView.testArrived();
  subscriptions?.refresh().catch(() => {});
}

function lookedAtAgain() {
  if (session.signal.aborted || !stream) return;
  stream.wake();
  if (config.kinds.length > 0) subscriptions.refresh().catch(() => {});
}

// On the icon, and in the title until the signal.
function showUnseen(from, signal) {
  const title = document.title;
  signal.addEventListener('abort', () => (document.title = title));
  for (const type of ['mail', 'change']) {
    from.addEventListener(type, ({ detail }) => {
      const unseen = unseenOf(detail);
      if (unseen === undefined) return;
      document.title = unseen ? `(${unseen}) ${title}` : title;
      setBadge(unseen);
    });
  }
}

function showWebmail(url) {
  show($('webmail'), Boolean(url));
  if (url) $('webmail').href = url;
}
