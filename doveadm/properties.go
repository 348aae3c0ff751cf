// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/properties"
)

// PropertyPrefix begins the properties of the DoveAdm connector of Open-Xchange.
const PropertyPrefix = "com.openexchange.dovecot.doveadm."

// maxProperties bounds a properties file.
const maxProperties = 1 << 20

// ReadProperties reads a configuration from the doveadm.properties of
// Open-Xchange. What the file does not set stays zero, and gets its default from
// [New]: the documented ones, not those in the code of Open-Xchange, which has
// the two timeouts the other way round. Properties with another prefix are
// ignored; unknown are the keys with this prefix that nothing is known about,
// such as those for single calls. Neither they nor the error hold a value.
func ReadProperties(r io.Reader) (cfg Config, unknown []string, err error) {
	content, err := io.ReadAll(io.LimitReader(r, maxProperties+1))
	if err != nil {
		return Config{}, nil, err
	}
	if len(content) > maxProperties {
		return Config{}, nil, fmt.Errorf("it is longer than %d KiB", maxProperties>>10)
	}
	values, err := properties.Parse(content)
	if err != nil {
		return Config{}, nil, err
	}
	read := propertyReader{values: values}
	enabled := read.text("enabled")
	cfg = Config{
		Endpoints:              read.list("endpoints"),
		APISecret:              read.text("apiSecret"),
		TotalConnections:       read.number("endpoints.totalConnections"),
		MaxConnectionsPerRoute: read.number("endpoints.maxConnectionsPerRoute"),
		ReadTimeout:            read.milliseconds("endpoints.readTimeout"),
		ConnectTimeout:         read.milliseconds("endpoints.connectTimeout"),
		CheckInterval:          read.milliseconds("endpoints.checkInterval"),
	}
	for key := range values {
		if strings.HasPrefix(key, PropertyPrefix) && !slices.Contains(read.known, key) {
			unknown = append(unknown, key)
		}
	}
	slices.Sort(unknown)
	if err := errors.Join(read.errs...); err != nil {
		return Config{}, unknown, err
	}
	if !strings.EqualFold(enabled, "true") {
		return Config{}, unknown, fmt.Errorf("%senabled is not true: Open-Xchange does not use its connector either", PropertyPrefix)
	}
	return cfg, unknown, nil
}

// propertyReader looks properties up by what follows the prefix.
type propertyReader struct {
	values map[string]string
	known  []string
	errs   []error
}

func (r *propertyReader) text(name string) string {
	r.known = append(r.known, PropertyPrefix+name)
	value := strings.TrimSpace(r.values[PropertyPrefix+name])
	if err := properties.Check(value); err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s%s: %w", PropertyPrefix, name, err))
		return ""
	}
	return value
}

func (r *propertyReader) list(name string) (list []string) {
	for item := range strings.SplitSeq(r.text(name), ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

func (r *propertyReader) number(name string) int {
	text := r.text(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s%s is no number", PropertyPrefix, name))
	}
	return int(n)
}

func (r *propertyReader) milliseconds(name string) time.Duration {
	return time.Duration(r.number(name)) * time.Millisecond
}
