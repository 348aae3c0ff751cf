// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package sealed encrypts messages for one device, as Web Push does (RFC 8291, with
// the content encoding aes128gcm of RFC 8188): only the device can read them, and
// not the service that carries them.
package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes of RFC 8188 and RFC 8291, in bytes.
const (
	// MaxBody is what a push service must accept (RFC 8030, section 7.2), and
	// the size of the single record of a message.
	MaxBody = 4096
	// MaxPlaintext is the part of it that is left for the message itself.
	MaxPlaintext = MaxBody - Overhead
	// Overhead is how much longer a message becomes.
	Overhead = headerSize + 1 + tagSize

	saltSize   = 16
	authSize   = 16
	publicSize = 65 // an uncompressed point of P-256
	keySize    = 16
	nonceSize  = 12
	tagSize    = 16
	headerSize = saltSize + 4 + 1 + publicSize
)

// lastRecord delimits the plaintext of the last record from its padding.
const lastRecord = 2

// Errors of [Seal].
var (
	ErrTooLong = errors.New("the message is longer than a push service takes")
	ErrKeys    = errors.New("the keys of the subscription are unusable")
)

// Seal encrypts a message for the device with the given keys (RFC 8291): public is
// its point of P-256, auth its authentication secret. The sender's key pair and the
// salt are generated for this message only. It is [Overhead] bytes longer.
func Seal(plaintext, public, auth []byte) ([]byte, error) {
	sender, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	var salt [saltSize]byte
	_, _ = rand.Read(salt[:]) // never fails
	return seal(plaintext, public, auth, sender, salt)
}

// seal is Seal with a given key pair and salt.
func seal(plaintext, public, auth []byte, sender *ecdh.PrivateKey, salt [saltSize]byte) ([]byte, error) {
	if len(plaintext) > MaxPlaintext {
		return nil, fmt.Errorf("%w: %d bytes, the most is %d", ErrTooLong, len(plaintext), MaxPlaintext)
	}
	device, err := ecdh.P256().NewPublicKey(public)
	if err != nil || len(auth) != authSize {
		return nil, ErrKeys
	}
	shared, err := sender.ECDH(device)
	if err != nil {
		return nil, ErrKeys
	}
	key, nonce, err := derive(shared, auth, public, sender.PublicKey().Bytes(), salt[:])
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	body := make([]byte, 0, headerSize+len(plaintext)+1+tagSize)
	body = append(body, salt[:]...)
	body = binary.BigEndian.AppendUint32(body, MaxBody)
	body = append(body, publicSize)
	body = append(body, sender.PublicKey().Bytes()...)
	record := append(body[headerSize:], plaintext...)
	record = append(record, lastRecord)
	record = aead.Seal(record[:0], nonce, record, nil)
	return body[:headerSize+len(record)], nil
}

// derive returns the key and the nonce of the record (RFC 8291, section 3.4).
func derive(shared, auth, device, sender, salt []byte) (key, nonce []byte, err error) {
	info := make([]byte, 0, len("WebPush: info\x00")+2*publicSize)
	info = append(info, "WebPush: info\x00"...)
	info = append(info, device...)
	info = append(info, sender...)
	ikm, err := hkdf.Key(sha256.New, shared, auth, string(info), sha256.Size)
	if err != nil {
		return nil, nil, err
	}
	prk, err := hkdf.Extract(sha256.New, ikm, salt)
	if err != nil {
		return nil, nil, err
	}
	if key, err = hkdf.Expand(sha256.New, prk, "Content-Encoding: aes128gcm\x00", keySize); err != nil {
		return nil, nil, err
	}
	nonce, err = hkdf.Expand(sha256.New, prk, "Content-Encoding: nonce\x00", nonceSize)
	return key, nonce, err
}
