// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The request that stands in docs/webhooks.md is signed with the secret that
// stands there, and the code that stands there verifies it.
func TestVerifyingAsDocumented(t *testing.T) {
	t.Parallel()
	page := read(t, "docs", "webhooks.md")
	secret := regexp.MustCompile("whsec_[A-Za-z0-9+/]{43}=").FindString(page)
	require.NotEmpty(t, secret)
	request := regexp.MustCompile("(?s)```http\n(.*?)\n```").FindStringSubmatch(page)
	require.NotNil(t, request)
	head, body, _ := strings.Cut(request[1], "\n\n")
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(head, "\n", "\r\n") + "\r\nHost: hooks\r\n\r\n")))
	require.NoError(t, err)
	wh, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	require.NoError(t, wh.VerifyIgnoringTimestamp([]byte(body), r.Header))

	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node: internal/pushtest/install.sh installs it")
	}
	code := regexp.MustCompile("(?s)```js\n(.*?)```").FindStringSubmatch(page)
	require.NotNil(t, code)
	script := code[1] + `
const { secret, headers, body, now } = JSON.parse(process.argv[1]);
const changed = { ...headers, "webhook-id": "x" };
const two = { ...headers, "webhook-signature": "v1,eA== v2,x x " + headers["webhook-signature"] };
console.log(JSON.stringify([
  verify(secret, headers, body, now), verify(secret, two, body, now),
  verify(secret, headers, body), verify(secret, headers, body + " ", now), verify(secret, changed, body, now), verify("whsec_eA==", headers, body, now),
]));`
	headers := make(map[string]string)
	for name := range r.Header {
		headers[strings.ToLower(name)] = r.Header.Get(name)
	}
	argument, err := json.Marshal(map[string]any{"secret": secret, "headers": headers, "body": body, "now": 1795453000000 + 1000})
	require.NoError(t, err)
	run := exec.Command(node, "--input-type=module", "--eval", script, string(argument))
	out, err := run.Output()
	require.NoError(t, err, run.Stderr)
	assert.JSONEq(t, "[true,true,false,false,false,false]", string(out))
}
