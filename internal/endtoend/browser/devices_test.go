// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// other is another device of the user.
func other(confirmed bool, last *subscription.Delivery) *device {
	return &device{ID: "other", Name: "Firefox, Android", EndpointHost: "push.example.org", Confirmed: confirmed, LastDelivery: last, MaxContent: "full"}
}

func TestListOfDevices(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	for _, state := range []struct {
		device *device
		text   string
	}{
		{other(false, nil), "Waiting for its first notification"},
		{other(true, nil), "Nothing delivered yet"},
		{other(true, &subscription.Delivery{Time: time.Now().Add(-3 * time.Hour), Outcome: "delivered"}), "Last delivery 3 hours ago"},
		{other(true, &subscription.Delivery{Time: time.Now().Add(-3 * time.Minute), Outcome: "try_again"}), "Last delivery failed 3 minutes ago"},
	} {
		s.with(func() { s.subscriptions = []*device{state.device} })
		s.open(s.site)
		s.awaitText(".delivery", state.text)
		assert.Equal(t, state.device.Confirmed, s.visible(".subscription .test"), state.text)
		assert.False(t, s.visible(".subscription .own"))
		failed := state.device.LastDelivery != nil && state.device.LastDelivery.Outcome != "delivered"
		assert.Equal(t, failed, s.visible(".failed .reason"), state.text)
	}
}

// The reasons are those that the API has, and one that it may have in future.
func TestFailedDelivery(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	for outcome, text := range map[string]string{
		delivery.TryAgain.String():      "could not be reached",
		delivery.Refused.String():       "refused the notification",
		delivery.Misconfigured.String(): "does not accept notifications from this server",
		delivery.Gone.String():          "does not take notifications any more",
		"unheard of":                    "",
	} {
		s.with(func() {
			s.subscriptions = []*device{other(true, &subscription.Delivery{Time: time.Now(), Outcome: outcome})}
		})
		s.open(s.site)
		s.awaitText(".failed .delivery", "Last delivery failed just now")
		assert.Equal(t, text != "", s.visible(".reason"), outcome)
		assert.Contains(t, eval[string](s.tab, "document.querySelector('.reason').textContent"), text, outcome)
	}
}

func TestRenameDevice(t *testing.T) {
	s := newStage(t, "en")
	s.subscriptions = []*device{other(true, nil)}
	s.signedIn()
	s.click(".rename")
	assert.Equal(t, "Firefox, Android", eval[string](s.tab, "document.activeElement.value"))
	s.keys("Phone" + keyEscape)
	s.awaitText(".subscription h3", "Firefox, Android")
	s.await("document.activeElement.matches('.rename')")

	s.click(".rename")
	s.keys("<b>Mom’s</b> phone" + keyEnter)
	s.awaitText(".subscription h3", "<b>Mom’s</b> phone")
	s.with(func() { assert.Equal(t, "<b>Mom’s</b> phone", s.subscriptions[0].Name) })
	assert.Equal(t, "Rename <b>Mom’s</b> phone", eval[string](s.tab, "document.activeElement.ariaLabel"))

	s.refuse(http.MethodPatch, "/api/subscriptions/other", http.StatusServiceUnavailable, 0)
	s.click(".rename")
	s.keys("Other" + keyEnter)
	s.awaitText(".subscription .problem", "does not answer")
}

func TestRemoveDevice(t *testing.T) {
	s := newStage(t, "en")
	s.subscriptions = []*device{other(true, nil)}
	s.signedIn()
	s.turnedOn()
	s.click("[data-id=other] .remove")
	s.awaitText("#confirm-title", "Remove Firefox, Android?")
	s.keys(keyEscape)
	s.await("document.activeElement.matches('[data-id=other] .remove')")

	s.click("[data-id=other] .remove")
	s.click("#confirm-yes")
	s.await("document.querySelectorAll('.subscription').length === 1")
	assert.Equal(t, "devices-title", s.focused())
	s.awaitText("#announcer", "Firefox, Android is removed.")
	s.awaitState("on")

	// What can be done with this one is in its card.
	assert.Equal(t, []string{"Notifications", "Rename"}, eval[[]string](s.tab, "[...document.querySelectorAll('.subscription .shows button')].filter(e => e.checkVisibility()).map(e => e.innerText.trim())"))
	s.click("#device-off")
	s.awaitState("off")
	assert.True(t, eval[bool](s.tab, "localStorage.getItem('test:push') === null"), "the browser is still subscribed")
	s.with(func() { assert.Empty(t, s.subscriptions) })
}

// Somebody has removed it meanwhile, on another device.
func TestRemoveDeviceThatIsGone(t *testing.T) {
	s := newStage(t, "en")
	s.subscriptions = []*device{other(true, nil)}
	s.signedIn()
	s.awaitVisible(".remove")
	s.with(func() { s.subscriptions = nil })
	s.click(".remove")
	s.click("#confirm-yes")
	s.awaitVisible("#devices-empty")
}

func TestTestOtherDevice(t *testing.T) {
	s := newStage(t, "en")
	s.subscriptions = []*device{other(true, nil)}
	pushed := make(chan string, 1)
	s.push = func(to *device, _ string) { pushed <- to.ID }
	s.signedIn()
	s.click(".subscription .test")
	s.awaitText(".subscription .delivery", "The test is on its way.")
	assert.Equal(t, "other", <-pushed)

	for status, text := range map[int]string{
		http.StatusGone:            "has ended its notifications",
		http.StatusBadGateway:      "could not reach the push service",
		http.StatusTooManyRequests: "Please wait 7 seconds",
	} {
		s.refuse(http.MethodPost, "/api/subscriptions/other/test", status, 7*time.Second)
		s.click(".subscription .test")
		s.awaitText(".subscription .problem", text)
	}
}
