// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// The service worker: what happens while the page is closed.

import { handIn, handInKept, report, ticket } from './js/actions.js';
import * as api from './js/api.js';
import { setBadge, unseenOf } from './js/badge.js';
import { aboutAction, aboutDevice, mailTag, newMail, SUMMARY_TAG, summary, upToDate, withoutMail } from './js/notification.js';
import * as outbox from './js/outbox.js';
import { address } from './js/push.js';
import * as record from './js/record.js';
import { mailURL } from './js/webmail.js';

const { registration, clients } = self;

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(clients.claim()));

// Browsers let a page receive pushes because it shows each: there is no push
// without a notification. They take turns, because each goes on from what the
// one before has left.
let last = Promise.resolve();
const inTurn = (task) => (last = last.catch(() => {}).then(task));

self.addEventListener('push', (event) => {
  event.waitUntil(inTurn(() => receive(read(event))));
  event.waitUntil(sendKept());
});

function read({ data, notification }) {
  // A browser that reads declarative messages itself hands over the notification
  // that it would show, which may be in place of the data.
  if (!data && notification?.data) return { ...notification.data, notification, said: { title: notification.title, body: notification.body } };
  try {
    return data?.json() ?? {};
  } catch {
    return {}; // what cannot be read still means that there is mail
  }
}

async function receive(message) {
  switch (message['@type']) {
    case 'PushVerification':
      return confirm(message);
    case 'Test':
      await show(aboutDevice('test'));
      return tell({ type: 'test', id: message.id });
    case 'Summary':
      return showSummary(message);
    default:
      return showMail(message);
  }
}

const show = ({ title, options }) => registration.showNotification(title, options);

async function showMail(mail) {
  await settle(unseenOf(mail));
  const tag = mailTag(mail);
  const shown = (await registration.getNotifications({ tag })).at(-1);
  if (mail.event && mail.event !== 'messageNew') return change(mail, shown);
  const { title, options } = newMail(mail, shown);
  const stamp = crypto.randomUUID();
  await show({ title, options: { ...options, data: { ...options.data, stamp } } });
  if (!shown) return;
  // Where the browser does not replace what has the same tag automatically.
  for (const other of await registration.getNotifications({ tag })) if (other.data?.stamp !== stamp) other.close();
}

// Something has happened to a mail that was announced before.
async function change(mail, shown) {
  const left = withoutMail(mail, shown);
  if (left) return show(left);
  if (left === null) shown.close();
  return pass();
}

// What came while this device was quiet or muted.
async function showSummary(message) {
  await settle(message.unseen);
  return message.count ? show(summary(message)) : pass();
}

// The number of unseen mails in the inbox. What is shown of the inbox is over when
// there are none.
async function settle(unseen) {
  if (unseen === undefined) return;
  await setBadge(unseen);
  if (unseen > 0) return;
  for (const tag of [mailTag({ folder: 'INBOX' }), SUMMARY_TAG]) for (const over of await registration.getNotifications({ tag })) over.close();
}

// There is no push without a notification: here one that is gone at once.
async function pass() {
  const passing = upToDate();
  await show(passing);
  for (const notification of await registration.getNotifications({ tag: passing.options.tag })) notification.close();
}

// The server wants to hear from this very device before it sends mail to it
// (RFC 8620, 7.2.2).
async function confirm({ pushSubscriptionId: id, verificationCode }) {
  try {
    await api.change(id, { verificationCode });
  } catch (error) {
    // Signed out by now, or no network: the page hands it in when it is opened.
    // A code that is wrong, or of a subscription that is gone, is not kept.
    if (![400, 404].includes(error.status)) await record.save({ code: verificationCode });
    return show(aboutDevice('unconfirmed'));
  }
  await show(aboutDevice('confirmed'));
  return tell({ type: 'confirmed', id });
}

async function tell(message) {
  for (const client of await clients.matchAll({ type: 'window' })) client.postMessage(message);
}

self.addEventListener('notificationclick', (event) => {
  event.notification.close();
  const data = event.notification.data ?? {};
  event.waitUntil(event.action ? act(event.action, data) : open(data));
});

// The notification is about several mails, and the newest is the one that is named:
// it is this one. The others are left.
async function act(action, data) {
  if (action === 'undo') return takeBack(data);
  const { folder, mails } = data;
  const mail = mails.at(-1);
  await inTurn(() => showOthers({ event: 'messageRead', folder, ...mail }, data));
  const chosen = ticket(action, folder, mail);
  const { result, undo } = await handIn(chosen);
  return say(aboutAction(report({ ...chosen, undo }, result, mail.title), { kind: 'mail', folder, mails: [mail] }), result);
}

async function showOthers(mail, data) {
  const came = (await registration.getNotifications({ tag: mailTag(mail) })).at(-1); // meanwhile
  const left = withoutMail(mail, came ?? { data });
  if (left) return show(left);
  if (left === null) came?.close();
}

async function takeBack({ back, folder, mails }) {
  const undone = { action: 'undone' };
  const about = mails.at(-1).title;
  if (back.kept) {
    const dropped = await outbox.drop(back.kept);
    return say(aboutAction(report(undone, dropped ? 'done' : 'late', about), { kind: 'mail', folder, mails }), 'done');
  }
  const { result } = await handIn(back);
  return say(aboutAction(report(undone, result, about), { kind: 'mail', folder, mails }), result);
}

const SAID = 8_000;

// What is done needs no attention: it closes automatically.
async function say(notification, result) {
  const stamp = crypto.randomUUID();
  notification.options.data.stamp = stamp;
  await show(notification);
  if (result !== 'done') return;
  await new Promise((resolve) => setTimeout(resolve, SAID));
  await closeSaid((data) => data.stamp === stamp);
}

async function closeSaid(which) {
  for (const shown of await registration.getNotifications({ tag: 'action' })) if (which(shown.data)) shown.close();
}

// Without a connection, what was chosen waits for one: until the browser says that
// there is one, the next mail, or until the page is opened.
self.addEventListener('message', (event) => event.data === 'outbox' && event.waitUntil(sendKept()));
self.addEventListener('sync', (event) => event.tag === 'outbox' && event.waitUntil(sendKept().then(async () => {
  if ((await outbox.load()).length) throw new Error('not yet'); // the browser tries again
})));

let sending;
const sendKept = () => (sending ??= handInAndSay().finally(() => (sending = undefined)));

async function handInAndSay() {
  for (const { ticket, result } of await handInKept()) {
    if (result === 'done') await closeSaid(({ back }) => back?.kept === ticket.token);
    else await say(aboutAction(report(ticket, result), { kind: 'mail', folder: ticket.folder, mails: [ticket] }), result);
  }
}

// Mail is read in the webmail, if there is one; all else is in the page. Of
// several mails it is the newest, which is the one that is named.
async function open({ kind, folder, mails }) {
  const known = kind === 'mail' ? await record.load() : {};
  const url = new URL(mailURL(known, known.user, { folder, ...mails?.at(-1) }) ?? './', registration.scope).href;
  const windows = await clients.matchAll({ type: 'window', includeUncontrolled: true });
  const there = windows.find((client) => client.url.startsWith(url));
  return there ? there.focus() : clients.openWindow(url);
}

// The browser has changed the subscription, or wants it to be made again.
self.addEventListener('pushsubscriptionchange', (event) => event.waitUntil(renew(event.newSubscription)));

async function renew(subscription) {
  const { id } = await record.load();
  if (!id) return;
  if (!subscription) {
    const { applicationServerKey } = await api.config();
    subscription = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey });
  }
  const renewed = address(subscription, registration);
  await api.change(id, renewed); // if this fails, the page does it when it is opened
  await record.save({ told: JSON.stringify(renewed) });
  await tell({ type: 'renewed', id });
}
