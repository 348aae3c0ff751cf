// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecotconfig"
	"github.com/dovecotpush/caddy-dovecot-push/internal/network"
)

// dovecotConfigFlags are the flags of dovecot-config.
type dovecotConfigFlags struct {
	version, url                  string
	passwordFile                  string
	caFile, clientCert, clientKey string
	userFromMetadata, actions     bool
	doveadm, keyFile, register    string
	imapFrom                      []string
	printCA                       bool
}

func dovecotConfigCommand() *cobra.Command {
	f := new(dovecotConfigFlags)
	cmd := &cobra.Command{
		Use:   "dovecot-config --dovecot <version> --url <url>",
		Short: "Prints the configuration for Dovecot",
		Long: `
Prints the configuration with which Dovecot reports new mail to the notify
endpoint and allows users to be registered. Put it into
/etc/dovecot/conf.d/99-push.conf. The command itself changes nothing.

Secrets are read from files. Without --password-file, the placeholder SECRET is
printed instead of the password. The DoveAdm API, through which users are
registered, is configured only if its key is given with --doveadm-key-file:
Dovecot has a single key, and a new one would lock out other users of DoveAdm.

With --print-ca it prints the certificate of the CA that "tls internal" uses
instead: the file for --ca-file. It is read from the running Caddy.`,
		Example: `  caddy dovecot-push dovecot-config --dovecot 2.3 \
    --url https://dovecot@push.internal.example:8009/preliminary/http-notify/v1/notify \
    --password-file /etc/caddy/notify-password \
    --doveadm 10.0.0.5:8080 --doveadm-key-file /etc/caddy/doveadm-secret
  caddy dovecot-push dovecot-config --print-ca > /etc/dovecot/push-ca.crt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.printCA {
				c, err := newClient(cmd)
				if err != nil {
					return err
				}
				return c.printCA()
			}
			settings, err := f.read(cmd.InOrStdin())
			if err != nil {
				return err
			}
			return dovecotconfig.Write(cmd.OutOrStdout(), settings)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.version, "dovecot", "", "The version of Dovecot: 2.2, 2.3 or 2.4")
	flags.StringVar(&f.url, "url", "", "The URL of the notify endpoint, with the user name: https://dovecot@host:8009 (default path "+adminapi.DefaultPath+")")
	flags.StringVar(&f.passwordFile, "password-file", "", "The file with the password for the endpoint (- is standard input)")
	flags.StringVar(&f.caFile, "ca-file", "/etc/dovecot/push-ca.crt", "Where Dovecot finds the CA of the endpoint's certificate")
	flags.StringVar(&f.clientCert, "client-cert", "", "A client certificate for Dovecot to show, on its machine")
	flags.StringVar(&f.clientKey, "client-key", "", "The key of that certificate")
	flags.BoolVar(&f.userFromMetadata, "user-from-metadata", false, "Report the name in the METADATA entry instead of the login, for Open-Xchange")
	flags.StringVar(&f.doveadm, "doveadm", "", "Where the DoveAdm API listens, for registration (default 127.0.0.1:8080); needs --doveadm-key-file")
	flags.StringVar(&f.keyFile, "doveadm-key-file", "", "The file with the key of the DoveAdm API; without it none is configured")
	flags.StringVar(&f.register, "register", "on_subscribe", "Who is registered: with \"all\" the DoveAdm API may list the users")
	flags.BoolVar(&f.actions, "actions", false, "Let the DoveAdm API mark and move mails, for the option actions")
	flags.StringSliceVar(&f.imapFrom, "imap-from", nil, "Register over IMAP METADATA from these networks, in place of the DoveAdm API")
	flags.BoolVar(&f.printCA, "print-ca", false, "Print the certificate of Caddy's internal CA instead")
	_ = cmd.RegisterFlagCompletionFunc("dovecot", cobra.FixedCompletions([]string{"2.2", "2.3", "2.4"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("register", cobra.FixedCompletions([]string{"on_subscribe", "all", "off"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// read makes settings of the flags.
func (f *dovecotConfigFlags) read(stdin io.Reader) (dovecotconfig.Settings, error) {
	s := dovecotconfig.Settings{
		Version: dovecotconfig.Version(f.version), CAFile: f.caFile,
		ClientCert: f.clientCert, ClientKey: f.clientKey,
		UserFromMetadata: f.userFromMetadata, DoveAdm: f.doveadm, AllUsers: f.register == "all", Actions: f.actions,
	}
	if f.version == "" || f.url == "" {
		return s, errors.New("--dovecot and --url are needed, such as: --dovecot 2.3 --url https://dovecot@push.internal.example:8009" + adminapi.DefaultPath)
	}
	u, err := endpointURL(f.url, f.passwordFile, stdin)
	if err != nil {
		return s, err
	}
	s.URL = u
	if s.DoveAdmKey, err = readSecretFile(f.keyFile, stdin); err != nil {
		return s, fmt.Errorf("--doveadm-key-file: %w", err)
	}
	switch {
	case s.DoveAdmKey != "" && s.DoveAdm == "":
		s.DoveAdm = "127.0.0.1:8080"
	case s.DoveAdm != "" && s.DoveAdmKey == "":
		return s, errors.New("--doveadm needs --doveadm-key-file, the file with its key: make one with openssl rand -hex 32")
	}
	switch f.register {
	case "on_subscribe", "all":
	case "off":
		s.DoveAdm = ""
	default:
		return s, fmt.Errorf("--register is on_subscribe, all or off, not %q", f.register)
	}
	for _, text := range f.imapFrom {
		prefix, err := network.Parse(text)
		if err != nil {
			return s, fmt.Errorf("--imap-from: %w; %s", err, network.Forms)
		}
		s.IMAPFrom = append(s.IMAPFrom, prefix)
		s.DoveAdm = ""
	}
	return s, nil
}

// endpointURL is the URL of the notify endpoint with the credentials in it.
func endpointURL(text, passwordFile string, stdin io.Reader) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("--url is not a URL") // which may hold a password
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = adminapi.DefaultPath
	}
	if _, given := u.User.Password(); given {
		return nil, errors.New("a password on the command line is visible to everybody on this machine: leave it out of --url and use --password-file")
	}
	if u.User == nil {
		u.User = url.User("dovecot")
	}
	password, err := readSecretFile(passwordFile, stdin)
	if err != nil {
		return nil, fmt.Errorf("--password-file: %w", err)
	}
	if password != "" {
		u.User = url.UserPassword(u.User.Username(), password)
	}
	return u, nil
}

// maxSecret bounds a secret that is read from standard input, in bytes.
const maxSecret = 1 << 20

// readSecretFile reads a secret without the line break at its end. No file is
// no secret.
func readSecretFile(path string, stdin io.Reader) (string, error) {
	var (
		content []byte
		err     error
	)
	switch path {
	case "":
		return "", nil
	case "-":
		content, err = io.ReadAll(io.LimitReader(stdin, maxSecret))
	default:
		content, err = os.ReadFile(path)
	}
	secret := strings.TrimRight(string(content), "\r\n")
	if err == nil && secret == "" {
		err = errors.New("it is empty")
	}
	return secret, err
}

// printCA prints the root certificate of Caddy's internal CA.
func (c *client) printCA() error {
	resp, err := adminRequest(c.address, http.MethodGet, "/pki/ca/local", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var ca struct {
		Root string `json:"root_certificate"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&ca); err != nil {
		return fmt.Errorf("reading the answer of the admin API: %w", err)
	}
	_, err = io.WriteString(c.out, ca.Root)
	return err
}
