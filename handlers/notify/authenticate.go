// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"fmt"
	"net/http"
	"net/netip"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/credentials"
)

// authenticate returns nil for a request that may go on. Whatever it does not
// know is refused.
func (h *Handler) authenticate(r *http.Request, source netip.Addr) *refusal {
	verified := r.TLS != nil && len(r.TLS.VerifiedChains) > 0
	switch h.ClientCertificate {
	case CertificateIgnored:
		switch {
		case h.Credentials != nil:
			return h.verify(r, source)
		case h.Unauthenticated:
			return nil
		}
	case CertificateSufficient:
		switch {
		case verified:
			return nil
		case h.Credentials != nil:
			return h.verify(r, source)
		default:
			return refusedNoCertificate
		}
	case CertificateRequired:
		switch {
		case !verified:
			return refusedNoCertificate
		case h.Credentials != nil:
			return h.verify(r, source)
		default:
			return nil
		}
	}
	return refusedUnconfigured
}

func (h *Handler) verify(r *http.Request, source netip.Addr) *refusal {
	switch res := h.Credentials.Verify(r, source); res.Verdict {
	case credentials.Accepted:
		return nil
	case credentials.Missing:
		return refusedMissing
	case credentials.Throttled:
		seconds := roundUp(res.Wait)
		return &refusal{
			result: Throttled, status: http.StatusTooManyRequests, retryAfter: seconds,
			problem: fmt.Sprintf("too many wrong credentials came from this address: wait %d s", seconds),
		}
	case credentials.Busy:
		return refusedBusy
	default:
		return refusedWrong
	}
}
