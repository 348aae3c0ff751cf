// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package apns

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"regexp"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// tokenUse is how long a provider token is used. APNs accepts it for an hour
	// after it was made, by its own clock.
	tokenUse = 45 * time.Minute
	// tokenPause is how long APNs wants to see no other one.
	tokenPause = 20 * time.Minute
)

var (
	errKey   = errors.New("key must be the .p8 file from Apple: a private key of P-256 in PEM (PKCS #8)")
	errIDs   = errors.New("key_id and team_id have 10 capital letters and digits each")
	appleID  = regexp.MustCompile(`^[A-Z0-9]{10}$`)
	errFresh = errors.New("the provider token is too new for another one")
)

// Provider makes the tokens that identify this server to APNs: one for all
// connections, because APNs refuses those who change it often. It is safe for
// concurrent use.
type Provider struct {
	signer jose.Signer
	team   string

	mu   sync.Mutex
	text string
	made time.Time // by the clock that APNs goes by
}

// NewProvider returns the provider with a private key in PEM, its ID, and that of
// the team it belongs to. Errors hold nothing of the key.
func NewProvider(key []byte, keyID, teamID string) (*Provider, error) {
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, errKey
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || private.Curve != elliptic.P256() {
		return nil, errKey
	}
	if !appleID.MatchString(keyID) || !appleID.MatchString(teamID) {
		return nil, errIDs
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: keyID}}, nil)
	if err != nil {
		return nil, err
	}
	return &Provider{signer: signer, team: teamID}, nil
}

// token returns the current token.
func (p *Provider) token() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if age := p.age(); age >= 0 && age < tokenUse { // and not made by a clock that went wrong
		return p.text, nil
	}
	err := p.sign()
	return p.text, err
}

// renew replaces a token that APNs says has expired, unless somebody has done that
// already.
func (p *Provider) renew(expired string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.text != expired:
		return nil
	case p.age() < tokenPause:
		return errFresh
	default:
		return p.sign()
	}
}

// wait is how long it takes until APNs accepts another token.
func (p *Provider) wait() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return min(max(tokenPause-p.age(), time.Minute), tokenPause)
}

// age of the token. p.mu is held.
func (p *Provider) age() time.Duration { return time.Now().Round(0).Sub(p.made) }

// sign makes a token. p.mu is held.
func (p *Provider) sign() error { return p.signAt(time.Now().Round(0)) }

func (p *Provider) signAt(now time.Time) error {
	text, err := jwt.Signed(p.signer).Claims(jwt.Claims{Issuer: p.team, IssuedAt: jwt.NewNumericDate(now)}).Serialize()
	if err == nil {
		p.text, p.made = text, now
	}
	return err
}
