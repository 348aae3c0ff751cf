// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Sends messages to Google's service with the package firebase-admin. The only
// argument is JSON: where the service is, and per server its service account and the
// messages. Prints as JSON the results for each server.
"use strict";
const https = require("node:https");
const { initializeApp, cert } = require("firebase-admin/app");
const { getMessaging } = require("firebase-admin/messaging");

const { origin, ca, servers } = JSON.parse(process.argv[2]);
const { hostname, port } = new URL(origin);

// StandInAgent connects to the stand-in instead of Google. The package ignores the
// token_uri of the service account, and its option httpAgent does not apply to the
// token exchange. Therefore this agent becomes the default of the process.
class StandInAgent extends https.Agent {
	createConnection(options, callback) {
		if (!["oauth2.googleapis.com", "fcm.googleapis.com"].includes(options.host)) {
			throw new Error(`${options.host} has no stand-in`);
		}
		// The certificate is valid for this name.
		return super.createConnection({ ...options, host: hostname, port, servername: "example.com", ca }, callback);
	}
}

https.globalAgent = new StandInAgent();

async function send({ account, messages }, index) {
	const app = initializeApp({ credential: cert(account) }, `server ${index}`);
	const results = [];
	for (const { message, dryRun } of messages) {
		results.push(
			await getMessaging(app)
				.send(message, dryRun)
				.then((id) => ({ id }), ({ code, message }) => ({ code, message })),
		);
	}
	return results;
}

Promise.all(servers.map(send)).then((results) => {
	console.log(JSON.stringify(results));
	process.exit(0);
});
