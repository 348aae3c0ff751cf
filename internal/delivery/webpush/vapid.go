// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Key is a key pair that identifies this server to push services (VAPID, RFC
// 8292). A subscription belongs to the key that the browser was given when it
// subscribed. Messages signed with other keys are refused.
type Key struct {
	// Created is when it was made, to the second.
	Created time.Time

	private *ecdsa.PrivateKey
	public  string
}

// NewKey makes a key pair.
func NewKey(now time.Time) (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return keyOf(private, now.UTC().Truncate(time.Second))
}

func keyOf(private *ecdsa.PrivateKey, created time.Time) (*Key, error) {
	public, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	return &Key{Created: created, private: private, public: base64.RawURLEncoding.EncodeToString(public)}, nil
}

// Public returns the public key as browsers accept it as applicationServerKey:
// an uncompressed point in base64url. It is also the name of the key.
func (k *Key) Public() string { return k.public }

// storedKey has the members that other tools for VAPID keys use.
type storedKey struct {
	PublicKey  string    `json:"publicKey"`
	PrivateKey string    `json:"privateKey"`
	Created    time.Time `json:"created"`
}

var errKey = errors.New("it is no VAPID key: publicKey and privateKey must be a pair of P-256 in base64url")

// MarshalJSON includes the private key: the result is a secret.
func (k *Key) MarshalJSON() ([]byte, error) {
	private, err := k.private.Bytes()
	if err != nil {
		return nil, err
	}
	return json.Marshal(storedKey{
		PublicKey: k.public, PrivateKey: base64.RawURLEncoding.EncodeToString(private), Created: k.Created,
	})
}

// UnmarshalJSON reads the result of MarshalJSON. Errors hold nothing of it.
func (k *Key) UnmarshalJSON(b []byte) error {
	var stored storedKey
	if json.Unmarshal(b, &stored) != nil {
		return errKey
	}
	scalar, err := base64.RawURLEncoding.DecodeString(stored.PrivateKey)
	if err != nil {
		return errKey
	}
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		return errKey
	}
	key, err := keyOf(private, stored.Created)
	if err != nil || key.public != stored.PublicKey {
		return errKey
	}
	*k = *key
	return nil
}

// String hides the private key.
func (k *Key) String() string { return "VAPID key " + k.public }

// tokenHeader is the same for every token: {"typ":"JWT","alg":"ES256"}.
var tokenHeader = base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":"ES256"}`))

// token returns a JWT (RFC 7515, RFC 7519) that is valid for one push service,
// given by its origin, until it expires.
func (k *Key) token(origin, contact string, expires time.Time) (string, error) {
	claims, err := json.Marshal(struct {
		Audience string `json:"aud"`
		Expires  int64  `json:"exp"`
		Subject  string `json:"sub"`
	}{origin, expires.Unix(), contact})
	if err != nil {
		return "", err
	}
	signed := tokenHeader + "." + base64.RawURLEncoding.EncodeToString(claims)
	hash := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, hash[:])
	if err != nil {
		return "", fmt.Errorf("signing a VAPID token: %w", err)
	}
	var signature [64]byte // both numbers with leading zeros, RFC 7518, section 3.4
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature[:]), nil
}
