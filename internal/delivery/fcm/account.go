// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package fcm

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"
	"golang.org/x/sync/singleflight"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
)

// scope is what the service account has to be allowed.
const scope = "https://www.googleapis.com/auth/firebase.messaging"

const (
	// renewEarly is how long before its end an access token is renewed, while it is
	// still used.
	renewEarly = 5 * time.Minute
	// lastUse is how long before its end it is used no more.
	lastUse         = 20 * time.Second
	exchangeTimeout = 15 * time.Second
)

var errAccount = errors.New("service_account must be the JSON file of a service account, from the settings of the Firebase project")

// Account is a service account: it gets the access tokens that identify this server
// to FCM, one for all messages. It is safe for concurrent use.
type Account struct {
	// Project is the ID of the Firebase project.
	Project string
	// KeyID names the key of the account.
	KeyID string
	// TokenURL is where access tokens come from.
	TokenURL string

	config jwt.Config
	client *http.Client
	flight singleflight.Group

	certificates    *http.Client // nil: it is not known where they are
	certificatesURL string

	mu    sync.Mutex
	text  string
	until time.Time
}

// NewAccount reads the JSON file of a service account. Access tokens and certificates
// come from the origins that client is called with. Errors hold nothing of the file.
func NewAccount(file []byte, client func(origin string) (*http.Client, error)) (*Account, error) {
	var is struct {
		Type       string `json:"type"`
		Project    string `json:"project_id"`
		KeyID      string `json:"private_key_id"`
		PrivateKey string `json:"private_key"`
		Email      string `json:"client_email"`
		TokenURI   string `json:"token_uri"`
		Keys       string `json:"client_x509_cert_url"`
	}
	if json.Unmarshal(file, &is) != nil || is.Type != "service_account" || is.Project == "" || is.Email == "" {
		return nil, errAccount
	}
	block, _ := pem.Decode([]byte(is.PrivateKey))
	if block == nil {
		return nil, errAccount
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		return nil, errAccount
	} else if _, ok := key.(*rsa.PrivateKey); !ok {
		return nil, errAccount
	}
	from, err := origin(is.TokenURI)
	if err != nil {
		return nil, err
	}
	a := &Account{
		Project: is.Project, KeyID: is.KeyID, TokenURL: is.TokenURI,
		config: jwt.Config{Email: is.Email, PrivateKey: []byte(is.PrivateKey), PrivateKeyID: is.KeyID, Scopes: []string{scope}, TokenURL: is.TokenURI},
	}
	if a.client, err = client(from); err != nil || is.Keys == "" {
		return a, err
	}
	if from, err = origin(is.Keys); err != nil {
		return nil, err
	}
	a.certificatesURL = is.Keys
	a.certificates, err = client(from)
	return a, err
}

// origin returns that of a URL in the file.
func origin(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return "", errAccount
	}
	return "https://" + u.Host, nil
}

// Close closes the connections that are not in use.
func (a *Account) Close() {
	a.client.CloseIdleConnections()
	if a.certificates != nil {
		a.certificates.CloseIdleConnections()
	}
}

// token returns the current access token. It is renewed some time before it ends,
// by one for all, and used meanwhile.
func (a *Account) token(ctx context.Context) (string, *delivery.Result) {
	a.mu.Lock()
	text, left := a.text, time.Until(a.until)
	a.mu.Unlock()
	if left > renewEarly {
		return text, nil
	}
	done := a.flight.DoChan("", func() (any, error) { return nil, a.renew() })
	if left > lastUse {
		return text, nil
	}
	select {
	case r := <-done:
		if r.Err != nil {
			result := resultOfExchange(r.Err)
			return "", &result
		}
	case <-ctx.Done():
		result := delivery.ResultOfFailure(context.Cause(ctx))
		return "", &result
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.text, nil
}

// drop forgets a token that FCM does not accept.
func (a *Account) drop(refused string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.text == refused {
		a.text, a.until = "", time.Time{}
	}
}

// renew exchanges a signed assertion for a token (RFC 7523).
func (a *Account) renew() error {
	ctx, cancel := context.WithTimeout(context.Background(), exchangeTimeout)
	defer cancel()
	via := &remembers{RoundTripper: a.client.Transport}
	token, err := a.config.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: via, CheckRedirect: a.client.CheckRedirect})).Token()
	switch {
	case via.err != nil: // which the library turns into text
		return via.err
	case err != nil:
		return err
	case token.AccessToken == "":
		return errNoToken
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.text, a.until = token.AccessToken, token.Expiry
	if a.until.IsZero() {
		a.until = time.Now().Add(renewEarly)
	}
	return nil
}

var errNoToken = errors.New("the answer has no access token")

// remembers why a request failed.
type remembers struct {
	http.RoundTripper
	err error
}

// RoundTrip implements http.RoundTripper.
func (r *remembers) RoundTrip(request *http.Request) (resp *http.Response, err error) {
	resp, err = r.RoundTripper.RoundTrip(request)
	r.err = err
	return resp, err
}

// resultOfExchange is what it means that there is no access token.
func resultOfExchange(err error) delivery.Result {
	answered, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		r := delivery.ResultOfFailure(err)
		if r.Reason == "protocol" { // it was an answer, but not a token
			r.Reason, r.Err = "access_token", fmt.Errorf("the answer of Google is no access token: %w", r.Err)
		} else {
			r.Err = fmt.Errorf("getting an access token from Google: %w", r.Err)
		}
		return r
	}
	status := answered.Response.StatusCode
	var said struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal(answered.Body, &said)
	r := delivery.Result{Reason: "access_token", Fault: delivery.FaultOfService}
	why := ""
	switch {
	case said.Error == "invalid_grant":
		r.Outcome, why = delivery.Misconfigured, ": the clock of this machine is wrong, or the key of the service account was deleted"
	case status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout:
		r.Outcome, why = delivery.Misconfigured, ": the service account is disabled, deleted or of another kind"
	}
	r.Err = fmt.Errorf("the service account gets the answer %d %s%s", status, http.StatusText(status), why)
	return r
}
