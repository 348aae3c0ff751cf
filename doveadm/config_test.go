// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
)

func TestConfigMistakes(t *testing.T) {
	good := func(change func(*doveadm.Config)) doveadm.Config {
		cfg := doveadm.Config{Endpoints: []string{"http://imap1:8080/doveadm/v1"}, APISecret: "geheim"}
		change(&cfg)
		return cfg
	}
	endpoints := func(urls ...string) doveadm.Config {
		return good(func(c *doveadm.Config) { c.Endpoints = urls })
	}
	for name, test := range map[string]struct {
		cfg  doveadm.Config
		want string
	}{
		"no endpoint":      {endpoints(), "no endpoint is given"},
		"no URL":           {endpoints("http://imap1", "http://geheim@%zz"), "endpoint 2 is no URL"},
		"credentials":      {endpoints("http://doveadm:geheim@imap1"), "endpoint 1 has credentials"},
		"another scheme":   {endpoints("imap://imap1"), "http or https"},
		"no scheme":        {endpoints("imap1/doveadm/v1"), "http or https"},
		"no host":          {endpoints("http:///doveadm/v1"), "and a host"},
		"query":            {endpoints("http://imap1/doveadm/v1?key=geheim"), "a query"},
		"twice":            {endpoints("http://imap1/doveadm/v1", "http://imap1:80"), "imap1:80 is given twice"},
		"no secret":        {good(func(c *doveadm.Config) { c.APISecret = "" }), "doveadm_api_key"},
		"two secrets":      {good(func(c *doveadm.Config) { c.Password = "geheim" }), "one of them"},
		"negative number":  {good(func(c *doveadm.Config) { c.TotalConnections = -1 }), "negative"},
		"negative timeout": {good(func(c *doveadm.Config) { c.ReadTimeout = -time.Second }), "negative"},
	} {
		_, err := doveadm.New(test.cfg)
		require.ErrorContains(t, err, test.want, name)
		assert.NotContains(t, err.Error(), "geheim", name)
	}
}

func TestAddresses(t *testing.T) {
	c := newClient(t, doveadm.Config{APISecret: "x", Endpoints: []string{
		"http://imap1", "https://imap1/", "http://imap2:8080/proxy/doveadm/v1", "http://[fd00::1]:8080",
	}})
	var got []string
	for _, e := range c.Endpoints() {
		assert.True(t, e.InService)
		assert.Zero(t, e.Since)
		got = append(got, e.Address)
	}
	assert.Equal(t, []string{"imap1:80", "imap1:443", "imap2:8080", "[fd00::1]:8080"}, got)
}
