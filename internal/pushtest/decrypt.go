// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package pushtest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
)

// Decrypt reads a push message the way a user agent does (RFC 8291): any
// number of records, of any size (RFC 8188). It shares no code with what
// encrypts.
func Decrypt(body []byte, private *ecdh.PrivateKey, auth []byte) ([]byte, error) {
	if len(body) < 21 || len(body) < 21+int(body[20]) {
		return nil, errors.New("the header is cut short")
	}
	salt, size, id := body[:16], int(binary.BigEndian.Uint32(body[16:])), body[21:21+int(body[20])]
	sender, err := ecdh.P256().NewPublicKey(id)
	if err != nil {
		return nil, err
	}
	shared, err := private.ECDH(sender)
	if err != nil {
		return nil, err
	}
	ikm := mac(mac(auth, shared), []byte("WebPush: info\x00"), private.PublicKey().Bytes(), id, []byte{1})
	prk := mac(salt, ikm)
	block, err := aes.NewCipher(mac(prk, []byte("Content-Encoding: aes128gcm\x00\x01"))[:16])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	base := mac(prk, []byte("Content-Encoding: nonce\x00\x01"))[:12]
	if size <= aead.Overhead()+1 {
		return nil, errors.New("the record size is too small")
	}
	var plain []byte
	records := slices.Collect(slices.Chunk(body[21+len(id):], size))
	for i, record := range records {
		nonce := bytes.Clone(base)
		binary.BigEndian.PutUint32(nonce[8:], binary.BigEndian.Uint32(nonce[8:])^uint32(i))
		text, err := aead.Open(nil, nonce, record, nil)
		if err != nil {
			return nil, err
		}
		text = bytes.TrimRight(text, "\x00")
		delimiter := byte(1)
		if i == len(records)-1 {
			delimiter = 2
		}
		if len(text) == 0 || text[len(text)-1] != delimiter {
			return nil, errors.New("the padding is wrong")
		}
		plain = append(plain, text[:len(text)-1]...)
	}
	return plain, nil
}

func mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}
