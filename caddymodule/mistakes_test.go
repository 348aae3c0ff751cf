// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// good is a configuration without a mistake. Each test makes one.
const good = `{
	skip_install_trust
	dovecot_push {
		queue embedded {
			path QUEUE
		}
		deliver middleware {
			credentials login {env.TEST_OX_PASSWORD}
			reverse_proxy ox1:8009
		}
	}
}
http://127.0.0.1:18008 {
	dovecot_push_guard /internal/* {
		allow private_ranges
	}
	dovecot_push_notify {
		allow private_ranges
		credentials dovecot {env.TEST_NOTIFY_PASSWORD}
	}
}
`

// webpushBefore is where some mistakes put a target of that kind.
const webpushBefore = "deliver middleware {"

const webpushBlock = "deliver webpush {\ncontact postmaster@example.com\n}\n"

// doveadmBefore is where some mistakes put a block doveadm.
const doveadmBefore = webpushBefore

func doveadmBlock(options string) string {
	return "doveadm http://imap1:8080 {\n" + options + "\n}\n" + doveadmBefore
}

func apnsBlock(options string) string {
	return "deliver apns {\nkey {env.TEST_APPLE_KEY}\nkey_id ABC123DEFG\nteam_id DEF123GHIJ\n" + options + "\n}\n"
}

func fcmBlock(options string) string {
	return "deliver fcm {\nservice_account {env.TEST_GOOGLE_ACCOUNT}\n" + options + "\n}\n"
}

// validate does what "caddy validate" does.
func validate(t *testing.T, caddyfile string) error {
	t.Helper()
	caddyfile = strings.ReplaceAll(caddyfile, "QUEUE", filepath.Join(t.TempDir(), "queue"))
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	require.NoError(t, err)
	var cfg caddy.Config
	require.NoError(t, json.Unmarshal(adapted, &cfg))
	return caddy.Validate(&cfg)
}

func TestMistakes(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("TEST_NOTIFY_PASSWORD", "notify-secret")
	t.Setenv("TEST_OX_PASSWORD", "ox-secret")
	t.Setenv("TEST_NETWORKS", "10.0.0.0/8 192.168.0.")
	secretFile := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secretFile, []byte("from-a-file\n"), 0o600))
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(caFile, newCertificate(t), 0o600))

	appleKey, _, err := pushtest.StartAPNs(t).NewKey()
	require.NoError(t, err)
	t.Setenv("TEST_APPLE_KEY", string(appleKey))
	account, _, err := pushtest.StartFCM(t).NewAccount()
	require.NoError(t, err)
	t.Setenv("TEST_GOOGLE_ACCOUNT", string(account))

	for _, test := range []struct{ name, old, mistake, want string }{
		{"none", "", "", ""},
		{"a secret in a file is none", "{env.TEST_NOTIFY_PASSWORD}", "{file." + secretFile + "}", ""},
		{"networks from the environment are none", "allow private_ranges", "allow {env.TEST_NETWORKS}", ""},
		{"literal password", "{env.TEST_NOTIFY_PASSWORD}", "swordfish", "a secret must come from {env.NAME}"},
		{"password replaced too early", "{env.TEST_NOTIFY_PASSWORD}", "{$TEST_NOTIFY_PASSWORD}", "{$NAME} is replaced too early"},
		{"empty variable", "{env.TEST_NOTIFY_PASSWORD}", "{env.TEST_NO_SUCH_VARIABLE}", "empty or cannot be read: {env.TEST_NO_SUCH_VARIABLE}"},
		{"missing file", "{env.TEST_NOTIFY_PASSWORD}", "{file./no/such/file}", "empty or cannot be read"},
		{"broken hash", "{env.TEST_NOTIFY_PASSWORD}", "$2a$14$short", "hash"},
		{"literal password of the middleware", "{env.TEST_OX_PASSWORD}", "swordfish", "a secret must come from"},
		{"no credentials", "credentials dovecot {env.TEST_NOTIFY_PASSWORD}", "", "asks for nothing: add credentials or client_certificate, or write unauthenticated"},
		{"unauthenticated with credentials", "allow private_ranges\n\t\tcredentials", "unauthenticated\n\t\tcredentials", "contradicts"},
		{"certificate mode", "allow private_ranges\n\t\tcredentials", "client_certificate maybe\n\t\tcredentials", "sufficient or required"},
		{"bad network", "allow private_ranges", "allow 10.0.0.0/33", "10.0.0.0/33"},
		{"host name as network", "allow private_ranges", "allow mail.example.com", "mail.example.com"},
		{"path with a wildcard", "dovecot_push_notify {", "dovecot_push_notify /x/* {", "one plain path"},
		{"body larger than the queue takes", "allow private_ranges\n\t\tcredentials", "max_body 64MiB\n\t\tcredentials", "max_body must be at most"},
		{"two targets of one name", "deliver middleware {", "deliver middleware {\nreverse_proxy ox9\n}\ndeliver middleware {", "two targets are named middleware"},
		{"target name", "deliver middleware {", "deliver middleware a.b {", "must be 1 to 64"},
		{"Web Push is none", webpushBefore, "deliver webpush {\ncontact postmaster@example.com\nallow_endpoints 10.0.0.0/8\n}\n" + webpushBefore, ""},
		{"defaults of devices are none", webpushBefore, "device_defaults {\nurgency normal\n}\ndeliver webpush {\ncontact postmaster@example.com\n}\n" + webpushBefore, ""},
		{"defaults without devices", webpushBefore, "device_defaults {\nurgency normal\n}\n" + webpushBefore, "no target delivers to devices"},
		{"actions are none", webpushBefore, webpushBlock + doveadmBlock("api_secret {env.TEST_NOTIFY_PASSWORD}\n}\nactions read {"), ""},
		{"actions as a master user are none", webpushBefore, webpushBlock + "imap imaps://imap1 {\nmaster_user boss {env.TEST_NOTIFY_PASSWORD}\n}\nactions read\n" + webpushBefore, ""},
		{"actions without Dovecot", webpushBefore, webpushBlock + "actions read\n" + webpushBefore, "mails of users cannot be reached without their passwords"},
		{"actions without a master user", webpushBefore, webpushBlock + "imap imaps://imap1\nactions read\n" + webpushBefore, "add a doveadm block, or a master_user"},
		{"actions without devices", webpushBefore, doveadmBlock("api_secret {env.TEST_NOTIFY_PASSWORD}\n}\nactions read {"), "no target delivers to devices"},
		{"Web Push without contact", webpushBefore, "deliver webpush\n" + webpushBefore, "contact is missing"},
		{"contact that is none", webpushBefore, "deliver webpush {\ncontact \"Post Master <postmaster@example.com>\"\n}\n" + webpushBefore, "contact must be mailto:"},
		{"contact without TLS", webpushBefore, "deliver webpush {\ncontact http://example.com\n}\n" + webpushBefore, "contact must be mailto:"},
		{"contact that nobody can write to", webpushBefore, "deliver webpush {\ncontact mailto:someone@localhost\n}\n" + webpushBefore, "is no name of the Internet"},
		{"contact on this machine", webpushBefore, "deliver webpush {\ncontact https://localhost/contact\n}\n" + webpushBefore, "is no name of the Internet"},
		{"messages that are kept for ever", webpushBefore, "deliver webpush {\ncontact postmaster@example.com\nttl 29d\n}\n" + webpushBefore, "ttl must be between"},
		{"exception with a path", webpushBefore, "deliver webpush {\ncontact postmaster@example.com\nallow_endpoints https://a.example/x\n}\n" + webpushBefore, "allow_endpoints: \"https://a.example/x\" is not"},
		{"exception with a password", webpushBefore, "deliver webpush {\ncontact postmaster@example.com\nallow_endpoints http://u:swordfish@10.0.0.1\n}\n" + webpushBefore, "allow_endpoints: \"10.0.0.1\" is not"},
		{"contact with a password", webpushBefore, "deliver webpush {\ncontact https://u:swordfish@localhost\n}\n" + webpushBefore, "contact"},
		{"webhook with a password", webpushBefore, "deliver webhook a https://u:swordfish@host\n" + webpushBefore, "must not hold a user name or password"},
		{"Web Push twice", webpushBefore, strings.Repeat("deliver webpush {\ncontact postmaster@example.com\n}\n", 2) + webpushBefore, "two targets are named webpush"},
		{"apps are none", webpushBefore, apnsBlock("topics com.example.mail") + fcmBlock("") + webpushBefore, ""},
		{"sealed apps are none", webpushBefore, apnsBlock("topics com.example.mail\ncontent full\nsealed") + fcmBlock("content sender\nsealed\nnotification") + webpushBefore, ""},
		{"APNs without topics", webpushBefore, apnsBlock("") + webpushBefore, "topics are missing"},
		{"a topic that is none", webpushBefore, apnsBlock("topics com.example/mail") + webpushBefore, "is no bundle identifier"},
		{"what Apple could read", webpushBefore, apnsBlock("topics com.example.mail\ncontent sender") + webpushBefore, "content sender needs sealed"},
		{"what Apple does not keep", webpushBefore, apnsBlock("topics com.example.mail\nttl 31d") + webpushBefore, "ttl must be between"},
		{"APNs without TLS", webpushBefore, apnsBlock("topics com.example.mail\nendpoint http://127.0.0.1") + webpushBefore, "must be https://host"},
		{"password in the URL of APNs", webpushBefore, apnsBlock("topics com.example.mail\nendpoint https://u:swordfish@127.0.0.1") + webpushBefore, "must be https://host"},
		{"APNs without a key", webpushBefore, strings.Replace(apnsBlock("topics com.example.mail"), "key {env.TEST_APPLE_KEY}\n", "", 1) + webpushBefore, "key: it is missing"},
		{"a literal key", webpushBefore, strings.Replace(apnsBlock("topics com.example.mail"), "{env.TEST_APPLE_KEY}", "swordfish", 1) + webpushBefore, "key: a secret must come from"},
		{"a key that is none", webpushBefore, strings.Replace(apnsBlock("topics com.example.mail"), "TEST_APPLE_KEY", "TEST_OX_PASSWORD", 1) + webpushBefore, "key must be the .p8 file"},
		{"the ID of a key that is none", webpushBefore, strings.Replace(apnsBlock("topics com.example.mail"), "ABC123DEFG", "abc", 1) + webpushBefore, "10 capital letters and digits"},
		{"APNs twice", webpushBefore, strings.Repeat(apnsBlock("topics com.example.mail"), 2) + webpushBefore, "two targets are named apns"},
		{"what Google could read", webpushBefore, fcmBlock("content full") + webpushBefore, "content full needs sealed"},
		{"what Google does not keep", webpushBefore, fcmBlock("ttl 29d") + webpushBefore, "ttl must be between"},
		{"FCM without TLS", webpushBefore, fcmBlock("endpoint http://127.0.0.1") + webpushBefore, "must be https://host"},
		{"password in the URL of FCM", webpushBefore, fcmBlock("endpoint https://u:swordfish@127.0.0.1") + webpushBefore, "must be https://host"},
		{"an account that is none", webpushBefore, strings.Replace(fcmBlock(""), "TEST_GOOGLE_ACCOUNT", "TEST_OX_PASSWORD", 1) + webpushBefore, "service_account must be the JSON file"},
		{"a literal account", webpushBefore, "deliver fcm {\nservice_account swordfish\n}\n" + webpushBefore, "service_account: a secret must come from"},
		{"the DoveAdm connector is none", doveadmBefore, doveadmBlock("api_secret {env.TEST_NOTIFY_PASSWORD}"), ""},
		{"literal API secret", doveadmBefore, doveadmBlock("api_secret swordfish"), "api_secret: a secret must come from"},
		{"empty API secret", doveadmBefore, doveadmBlock("api_secret {env.TEST_NO_SUCH_VARIABLE}"), "api_secret: the secret is empty"},
		{"literal DoveAdm password", doveadmBefore, doveadmBlock("basic_auth doveadm swordfish"), "basic_auth: a secret must come from"},
		{"DoveAdm CA file", doveadmBefore, doveadmBlock("api_secret {env.TEST_NOTIFY_PASSWORD}\nca_file /no/such/file"), "ca_file"},
		{"DoveAdm client certificate", doveadmBefore, doveadmBlock("api_secret {env.TEST_NOTIFY_PASSWORD}\nclient_cert /no/such/file /no/such/file"), "client_cert"},
		{"CA file without TLS", doveadmBefore, doveadmBlock("api_secret {env.TEST_NOTIFY_PASSWORD}\nca_file " + caFile), "there is none"},
		{"negative number of connections", doveadmBefore, doveadmBlock("api_secret {env.TEST_NOTIFY_PASSWORD}\ntotal_connections -1"), "negative"},
		{"DoveAdm URL with credentials", doveadmBefore, strings.Replace(doveadmBlock("api_secret {env.TEST_NOTIFY_PASSWORD}"), "imap1", "doveadm:swordfish@imap1", 1), "has credentials"},
		{"properties file", doveadmBefore, doveadmBlock("properties_file /no/such/file"), "properties_file: open /no/such/file"},
		{"credentials in a NATS URL", "queue embedded {\n\t\t\tpath QUEUE\n\t\t}", "queue nats nats://u:p@n1", "cannot hold credentials"},
		{"NATS CA file", "queue embedded {\n\t\t\tpath QUEUE\n\t\t}", "queue nats nats://n1 {\nca_file /no/such/file\n}", "ca_file"},
		{"NATS durability", "queue embedded {\n\t\t\tpath QUEUE\n\t\t}", "queue nats nats://n1 {\ndurability memory\n}", "durability"},
		{"NATS sync_interval", "queue embedded {\n\t\t\tpath QUEUE\n\t\t}", "queue nats nats://n1 {\nsync_interval often\n}", "sync_interval"},
		{"NATS monitoring", "queue embedded {\n\t\t\tpath QUEUE\n\t\t}", "queue nats nats://n1 {\nmonitoring n1:8222\n}", "monitoring"},
		{"NATS monitoring with a password", "queue embedded {\n\t\t\tpath QUEUE\n\t\t}", "queue nats nats://n1 {\nmonitoring ftp://u:swordfish@n1:8222\n}", "monitoring"},
		{"NATS prefix", "queue embedded {\n\t\t\tpath QUEUE\n\t\t}", "queue nats nats://n1 {\nprefix a.b\n}", "prefix"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := validate(t, strings.Replace(good, test.old, test.mistake, 1))
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Contains(t, err.Error(), test.want)
			for _, secret := range []string{"swordfish", "notify-secret", "ox-secret"} {
				assert.NotContains(t, err.Error(), secret)
			}
		})
	}
}

// An endpoint without the app, and so without a queue, is a mistake.
func TestEndpointWithoutApp(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	err := validate(t, "http://127.0.0.1:18008 {\ndovecot_push_notify {\nunauthenticated\n}\n}\n")
	require.Error(t, err)
	assert.Contains(t, err.Error(), "needs the global option dovecot_push")
}

// Validating opens nothing: not even the directory of the queue is made.
func TestValidateOpensNothing(t *testing.T) {
	data := t.TempDir()
	t.Setenv("XDG_DATA_HOME", data)
	t.Setenv("TEST_NOTIFY_PASSWORD", "notify-secret")
	t.Setenv("TEST_OX_PASSWORD", "ox-secret")
	dir := filepath.Join(t.TempDir(), "queue")
	withDevices := strings.Replace(good, webpushBefore, "deliver webpush {\ncontact postmaster@example.com\n}\n"+webpushBefore, 1)
	require.NoError(t, validate(t, strings.ReplaceAll(withDevices, "QUEUE", dir)))
	assert.NoDirExists(t, dir)
	assert.NoFileExists(t, filepath.Join(data, "caddy", "dovecot_push", "vapid.json"))
	require.NoError(t, validate(t, strings.Replace(good, "queue embedded {\n\t\t\tpath QUEUE\n\t\t}", "queue nats nats://127.0.0.1:1", 1)))
}
