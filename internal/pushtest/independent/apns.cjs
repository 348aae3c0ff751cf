// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Sends one alert with the package @parse/node-apn, as the JSON of the only argument
// says, and prints the result as JSON.
"use strict";
const apn = require("@parse/node-apn");

const { origin, ca, token, topic, device } = JSON.parse(process.argv[2]);
const provider = new apn.Provider({ address: new URL(origin).hostname, port: Number(new URL(origin).port), ca: [Buffer.from(ca)], token, production: true });
const note = new apn.Notification({ alert: { "loc-key": "NEW_MAIL" }, payload: { message: { "@type": "Test" } } });
note.topic = topic;
note.expiry = 0;
note.collapseId = "folder";
note.pushType = "alert";
provider.send(note, device).then(async ({ sent, failed }) => {
	console.log(JSON.stringify({ sent: sent.length, reason: failed[0]?.response?.reason ?? failed[0]?.error?.message ?? "" }));
	await provider.shutdown();
	process.exit(0);
});
