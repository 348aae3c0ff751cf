// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// What kind of browser and device this is. Only for what a feature test cannot
// tell: how to explain things, and what to call the device.

const agent = navigator.userAgent;
// An iPad says that it is a Mac, with a touchscreen.
const isIOS = /iPhone|iPad|iPod/.test(agent) || (/Macintosh/.test(agent) && navigator.maxTouchPoints > 1);
const isInstalled = navigator.standalone === true || matchMedia('(display-mode: standalone)').matches;

/**
 * Why this browser cannot be notified, whatever its user wants: "insecure",
 * "install" (on iOS only what is on the home screen can), "unsupported"; or
 * null if it can.
 */
export function obstacle() {
  if (!isSecureContext) return 'insecure';
  if (isIOS && !isInstalled) return 'install';
  const complete = 'serviceWorker' in navigator && 'PushManager' in window && 'Notification' in window && 'caches' in window;
  return complete ? null : 'unsupported';
}

/** Which words tell how to allow notifications again: "ios", "firefox", "android", "chromium" or "safari". */
export function settings() {
  if (isIOS) return 'ios';
  if (/Firefox\//.test(agent)) return 'firefox';
  if (/Android/.test(agent)) return 'android';
  return /Chrome\//.test(agent) ? 'chromium' : 'safari';
}

const BROWSERS = [
  [/Edg(e|A|iOS)?\//, 'Edge'], [/OPR\//, 'Opera'], [/SamsungBrowser\//, 'Samsung Internet'], [/Vivaldi\//, 'Vivaldi'],
  [/Firefox\/|FxiOS\//, 'Firefox'], [/Chrome\/|CriOS\//, 'Chrome'], [/Safari\//, 'Safari'],
];
const SYSTEMS = [[/Android/, 'Android'], [/CrOS/, 'ChromeOS'], [/Windows/, 'Windows'], [/Macintosh/, 'Mac'], [/Linux/, 'Linux']];

const find = (list) => list.find(([pattern]) => pattern.test(agent))?.[1];

/** What its owner may call this device until they rename it, as "Firefox, Android". */
export function deviceName() {
  const system = /iPhone|iPod/.test(agent) ? 'iPhone' : isIOS ? 'iPad' : find(SYSTEMS);
  return [find(BROWSERS), system].filter(Boolean).join(', ') || location.hostname;
}
