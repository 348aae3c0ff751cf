// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"

	"github.com/dovecotpush/caddy-dovecot-push/internal/authcache"
)

// appending writes behind the hash it is given, as code does that builds
// something of a hash and a password. With room there, and several requests,
// one would compare the password of another.
type appending struct{}

func (appending) Compare(hashed, plaintext []byte) (bool, error) {
	joined := append(hashed, plaintext...)
	runtime.Gosched()
	return bytes.Equal(joined[:len(hashed)], joined[len(hashed):]), nil
}

// Under load, neither does a wrong password pass nor a right one fail.
func TestConcurrentRequestsDoNotMix(t *testing.T) {
	appended := Pair{Username: "appended", Hash: spare([]byte("right")), Comparer: appending{}}
	v := verifier(t,
		plain("plain", "right"),
		appended,
		argon2ided("argon2ided", "right"), argon2ided("argon2ided", "also"),
		bcrypted(t, "bcrypted", "right"),
	)
	usernames := []string{"plain", "bcrypted", "argon2ided", "appended"}
	v.memory.known = authcache.New(1, 0) // forgets almost at once, so that right passwords are hashed too
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 24 {
				username := usernames[i%len(usernames)]
				// Addresses nobody else has, so that hashes are computed.
				source := netip.AddrFrom4([4]byte{10, byte(worker), byte(i >> 8), byte(i)})
				if got := patiently(v, username, "right", source); got.Verdict != Accepted || got.Username != username {
					t.Errorf("%s with the right password: %v", username, got)
				}
				for _, password := range []string{"wrong", "right!", "Right", fmt.Sprint(worker, i)} {
					if got := patiently(v, username, password, source); got.Verdict != Wrong {
						t.Errorf("%s with a wrong password: %v", username, got)
					}
				}
			}
		})
	}
	wg.Wait()
}

// patiently comes again for as long as a slow machine is busy.
func patiently(v *Verifier, username, password string, source netip.Addr) Result {
	for {
		if got := v.Verify(request(username, password), source); got.Verdict != Busy {
			return got
		}
	}
}
