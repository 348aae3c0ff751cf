// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

// serverKey is a VAPID public key.
const serverKey = "BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA_0QTpQtUbVlUls0VJXg7A8u-Ts1XbjhazAkj7I99e8QcYP7DkM"

// pushManager stands in for what Chromium would do with Google's push service:
// subscriptions are at a push service of the test, with keys of their own, and
// outlive the page. Everything else is Chromium's.
const pushManager = `(() => {
	const endpoint = %q; // what the URL of a subscription starts with
	const base64url = b => btoa(String.fromCharCode(...new Uint8Array(b))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
	const bytes = s => Uint8Array.from(atob(s.replaceAll('-', '+').replaceAll('_', '/')), c => c.charCodeAt(0)).buffer;
	const stored = () => JSON.parse(localStorage.getItem('test:push'));
	const subscription = s => s && ({
		endpoint: s.endpoint, expirationTime: null, options: {userVisibleOnly: true, applicationServerKey: bytes(s.applicationServerKey)},
		toJSON: () => ({endpoint: s.endpoint, expirationTime: null, keys: s.keys}),
		unsubscribe: async () => { localStorage.removeItem('test:push'); return true; },
	});
	PushManager.prototype.getSubscription = async () => subscription(stored());
	PushManager.prototype.subscribe = async ({userVisibleOnly, applicationServerKey}) => {
		if (Notification.permission !== 'granted') throw new DOMException('permission denied', 'NotAllowedError');
		if (!userVisibleOnly) throw new DOMException('userVisibleOnly', 'NotAllowedError');
		if (self.testPushServiceIsDown) throw new DOMException('push service error', 'AbortError');
		const before = stored();
		if (before && before.applicationServerKey !== applicationServerKey) throw new DOMException('another key', 'InvalidStateError');
		if (before) return subscription(before);
		const pair = await crypto.subtle.generateKey({name: 'ECDH', namedCurve: 'P-256'}, true, ['deriveBits']);
		const made = {
			endpoint: endpoint + crypto.randomUUID(), applicationServerKey,
			keys: {p256dh: base64url(await crypto.subtle.exportKey('raw', pair.publicKey)), auth: base64url(crypto.getRandomValues(new Uint8Array(16)))},
			privateKey: (await crypto.subtle.exportKey('jwk', pair.privateKey)).d,
		};
		localStorage.setItem('test:push', JSON.stringify(made));
		return subscription(made);
	};
})()`
