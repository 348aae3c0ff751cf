// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"fmt"
	"io"

	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/transform"
)

// charsetReader knows the character sets of the WHATWG Encoding Standard,
// which covers what mail headers are written in.
func charsetReader(charset string, input io.Reader) (io.Reader, error) {
	enc, err := htmlindex.Get(charset)
	if err != nil {
		return nil, fmt.Errorf("character set of an encoded-word: %w", err)
	}
	return transform.NewReader(input, enc.NewDecoder()), nil
}
