// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Sends notifications to Apple's service with the package @parse/node-apn. The only
// argument is JSON: where the service is, and per provider its key, the notification
// and the devices. Prints as JSON the result for each provider.
"use strict";
const apn = require("@parse/node-apn");

const { origin, ca, providers } = JSON.parse(process.argv[2]);
const { hostname, port } = new URL(origin);

async function send({ token, notification, devices }) {
	const provider = new apn.Provider({ address: hostname, port: Number(port), ca: [Buffer.from(ca)], token, production: true });
	const note = new apn.Notification({ alert: { "loc-key": "NEW_MAIL" }, payload: { message: { "@type": "Test" } } });
	const { sent, failed } = await provider.send(Object.assign(note, notification), devices);
	await provider.shutdown();
	const results = {};
	for (const { device } of sent) results[device] = { accepted: true };
	for (const { device, status, response, error } of failed) results[device] = { status, ...response, error: error?.message };
	return results;
}

Promise.all(providers.map(send)).then((results) => {
	console.log(JSON.stringify(results));
	process.exit(0);
});
