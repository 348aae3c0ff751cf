// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strings"
	"sync"
)

// Header fields of Standard Webhooks 1.0, as net/http spells them.
const (
	idHeader        = "Webhook-Id"
	timestampHeader = "Webhook-Timestamp"
	signatureHeader = "Webhook-Signature"
)

// Bounds of a secret in Standard Webhooks 1.0, in bytes.
const minSecret, maxSecret = 24, 64

var errSecret = errors.New("a secret is whsec_ and 24 to 64 bytes in base64, such as: " +
	`echo "whsec_$(openssl rand -base64 32)"`)

// ParseSecret parses a secret in the form of Standard Webhooks 1.0: whsec_ and
// the key in base64. The error does not contain it.
func ParseSecret(s string) ([]byte, error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(s), "whsec_")
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret {
		return nil, errSecret
	}
	return key, nil
}

// signer computes HMAC-SHA256 with one key, which is prepared once.
type signer struct{ pool sync.Pool }

func newSigner(key []byte) *signer {
	return &signer{pool: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

// sum signs the parts, one after another.
func (s *signer) sum(to, body []byte, parts ...string) []byte {
	h := s.pool.Get().(hash.Hash)
	defer s.pool.Put(h)
	h.Reset()
	for _, p := range parts {
		_, _ = io.WriteString(h, p)
	}
	_, _ = h.Write(body)
	return h.Sum(to)
}

// sign sets the header fields of both kinds of signature. timestamp is the time
// of the attempt, in seconds since 1970: receivers refuse old ones.
func (t *Target) sign(header http.Header, id, timestamp string, body []byte) {
	header[idHeader] = []string{id}
	header[timestampHeader] = []string{timestamp}
	var sum [sha256.Size]byte
	if len(t.signers) > 0 {
		line := make([]byte, 0, len(t.signers)*48)
		for i, s := range t.signers {
			if i > 0 {
				line = append(line, ' ')
			}
			line = append(line, "v1,"...)
			line = base64.StdEncoding.AppendEncode(line, s.sum(sum[:0], body, id, ".", timestamp, "."))
		}
		header[signatureHeader] = []string{string(line)}
	}
	if t.signature != nil {
		digest := t.signature.sum(sum[:0], body, "v1:", timestamp, ":")
		header[t.signed] = []string{"t=" + timestamp + ",v1=" + hex.EncodeToString(digest)}
	}
}
