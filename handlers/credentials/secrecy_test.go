// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNothingShowsSecrets(t *testing.T) {
	const password = "hunter2"
	hashed := bcrypted(t, "hashed", password)
	pairs := []Pair{plain("plain", password), hashed}
	v := verifier(t, pairs...)
	v.Verify(request("hashed", password), home)

	values := map[string]any{
		"pair": pairs[0], "hashed": pairs[1], "pointer": &pairs[0], "slice": pairs,
		"nested": struct{ P Pair }{pairs[0]}, "verifier": v, "nested verifier": struct{ V *Verifier }{v},
	}
	secrets := []string{password, string(hashed.Hash)}
	for _, s := range [][]byte{[]byte(password), hashed.Hash, v.plain[0].password[:]} {
		for _, verb := range []string{"%v", "%d", "%x", "%X", "%q", "%#v"} {
			secrets = append(secrets, fmt.Sprintf(verb, s))
		}
		secrets = append(secrets, base64.StdEncoding.EncodeToString(s))
	}
	for name, value := range values {
		var shown bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%e", "%t", "%T"} {
			fmt.Fprintf(&shown, verb+"\n", value)
		}
		fmt.Fprintln(&shown, value)
		text, _ := json.Marshal(value)
		shown.Write(text)
		for _, handler := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
			slog.New(handler).Info("m", "value", value)
		}
		for _, secret := range secrets {
			require.NotContains(t, shown.String(), secret, name)
		}
	}
	require.Equal(t, "credentials of plain", fmt.Sprint(pairs[0]))
	require.Equal(t, "credentials of plain", pairs[0].LogValue().String())
}

func TestVerdictString(t *testing.T) {
	require.Equal(t, "missing wrong throttled accepted unknown", fmt.Sprint(Missing, " ", Wrong, " ", Throttled, " ", Accepted, " ", Verdict(9)))
	require.Equal(t, Missing, Result{}.Verdict, "a result nobody filled in lets nobody in")
}
