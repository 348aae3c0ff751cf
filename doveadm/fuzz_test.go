// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
)

// Whatever comes over the wire, it is results in JSON or an error that says what
// to do.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		`[["doveadmResponse",[],"t"]]`,
		`[["doveadmResponse",[{"username":"a@example.com","value":"user=a"},{"username":"b@example.com","value":""}],"t"]]`,
		`[["doveadmResponse",{"userList":["a@example.com"]},"t"]]`,
		`[["error",{"type":"exitCode", "exitCode":67},"t"]]`,
		`[["error",{"type":"exitCode","exitCode":1},"t"]]`,
		`[["error",{"type":"unAuthorized","exitCode":0},"t"]]`,
		`[["doveadmResponse",[],"t"]["error",{"type":"unknownMethod", "exitCode":0},"u"]]`,
		`[["doveadmResponse",[],"other"]]`, `[[1,2,3]]`, `[[]]`, `{}`, ``, `<html>`,
	} {
		f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + body))
	}
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 29\r\n\r\nCommand ID must be a string"))
	f.Add([]byte("HTTP/1.1 401 Authentication required\r\nContent-Length: 0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"))
	f.Add([]byte("SMTP\r\n"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://imap1/doveadm/v1", nil)
		if err != nil {
			t.Fatal(err)
		}
		status, answer, err := readAnswer(bytes.NewReader(wire), req, 1<<16)
		if err == nil {
			err = statusError(status, answer)
		}
		var results json.RawMessage
		if err == nil {
			results, err = decode(answer)
		}
		switch {
		case err == nil && !json.Valid(results):
			t.Errorf("no JSON: %q", results)
		case err != nil && outcome(err) == "canceled":
			t.Errorf("an error of no kind: %v", err)
		}
	})
}

// A file of properties is read or refused, and its values are in no error.
func FuzzProperties(f *testing.F) {
	f.Add([]byte(propertiesFile))
	f.Add([]byte(PropertyPrefix + "enabled=true\r\n" + PropertyPrefix + "apiSecret=\\u00e9\\\r\n  x\\"))
	f.Add([]byte(PropertyPrefix + "enabled=true\n" + PropertyPrefix + "endpoints.readTimeout=-1"))
	f.Add([]byte("!\\\n= :\f\\"))
	f.Fuzz(func(t *testing.T, content []byte) {
		cfg, unknown, err := ReadProperties(bytes.NewReader(content))
		if err != nil {
			if cfg.APISecret != "" || len(cfg.Endpoints) > 0 {
				t.Error("a configuration and an error")
			}
			return
		}
		if !slices.IsSorted(unknown) {
			t.Error("unknown keys in no order")
		}
		for _, endpoint := range cfg.Endpoints {
			if endpoint == "" {
				t.Error("an endpoint that is empty")
			}
		}
	})
}
