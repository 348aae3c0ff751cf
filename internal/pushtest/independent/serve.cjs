// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Starts the push service of the package web-push-testing in this process, on
// the port that is its argument. The package's own command makes a daemon.
"use strict";
const { PushApiModel } = require("web-push-testing/src/PushApiModel.js");
const WebPushTestingServer = require("web-push-testing/src/server.js");

new WebPushTestingServer(new PushApiModel(), Number(process.argv[2])).startServer();

// Nobody keeps it running: it ends with the pipe that it was given.
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
