// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/template"
)

var (
	//go:embed dovecot-2.3.conf.tmpl
	config23 string
	//go:embed dovecot-2.4.conf.tmpl
	config24 string
)

// settings is what the configuration templates see.
type settings struct {
	Config
	Release                         string
	Dir                             string // as Dovecot sees it
	Name                            string // of the instance; greets on LMTP and IMAP
	APIKey                          string
	LMTPPort, IMAPPort, DoveAdmPort int
	MailUID, MailGID                int // of all mail
	Drivers                         []numberedDriver
}

// Debug is the opposite of NoDebugLog.
func (s settings) Debug() bool { return !s.NoDebugLog }

// numberedDriver is a driver as the configuration has it: the second one has the
// number 2, the first one none.
type numberedDriver struct {
	Driver
	Number string
}

func (c *Config) setDefaults() {
	if len(c.Users) == 0 {
		c.Users = []User{{Name: DefaultUser, Password: DefaultPassword}}
	}
	if c.MailFormat == "" {
		c.MailFormat = SDBox
	}
}

// validate finds what would become a different configuration than was meant.
func (c *Config) validate() error {
	for _, user := range c.Users {
		if user.Name == "" || strings.ContainsAny(user.Name+user.Password, ":\n") || strings.Contains(user.Name, "/") {
			return errors.New("a user has an empty name, a colon or a line break in name or password, or a slash in the name")
		}
	}
	if strings.ContainsAny(c.Master.Name+c.Master.Password, " =\n") {
		return errors.New("the name or the password of the master user has a space, an equals sign or a line break")
	}
	for i, driver := range c.Drivers {
		if _, err := url.Parse(driver.URL); err != nil || driver.URL == "" || strings.ContainsAny(driver.URL, " \t\r\n\"") {
			return fmt.Errorf("the URL of driver %d is not valid", i+1)
		}
	}
	if (c.SSLClientCertFile == "") != (c.SSLClientKeyFile == "") {
		return errors.New("a client certificate needs both SSLClientCertFile and SSLClientKeyFile")
	}
	return nil
}

func numberDrivers(drivers []Driver, version Version) []numberedDriver {
	numbered := make([]numberedDriver, len(drivers))
	for i, driver := range drivers {
		if version == V23 {
			// Dovecot 2.3 expands %variables in the value.
			driver.URL = strings.ReplaceAll(driver.URL, "%", "%%")
		}
		numbered[i] = numberedDriver{Driver: driver}
		if i > 0 {
			numbered[i].Number = fmt.Sprint(i + 1)
		}
	}
	return numbered
}

// writeConfig writes dovecot.conf.
func writeConfig(w io.Writer, version Version, s settings) error {
	text := config23
	if version == V24 {
		text = config24
	}
	if err := execute(w, text, s); err != nil {
		return err
	}
	return writeExtraConfig(w, s)
}

func writeExtraConfig(w io.Writer, s settings) error {
	return execute(w, s.ExtraConfig+"\n", s)
}

func execute(w io.Writer, text string, s settings) error {
	functions := template.FuncMap{"retries": func(attempts int) int { return attempts - 1 }}
	tmpl, err := template.New("dovecot.conf").Funcs(functions).Parse(text)
	if err != nil {
		return err
	}
	return tmpl.Execute(w, s)
}

// writeUsers writes the passwd-file.
func writeUsers(w io.Writer, s settings) error {
	for _, user := range s.Users {
		home := cmp.Or(user.AliasOf, user.Name)
		_, err := fmt.Fprintf(w, "%s:{PLAIN}%s:%d:%d::%s/homes/%s::\n", user.Name, user.Password, s.MailUID, s.MailGID, s.Dir, home)
		if err != nil {
			return err
		}
	}
	return nil
}
