// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

const (
	// startTimeout bounds the start of Dovecot, which takes a tenth of a second
	// as a rule.
	startTimeout = 30 * time.Second
	// greetingTimeout: a stranger on the port may be silent.
	greetingTimeout = 5 * time.Second
	// startAttempts: another process may take a free port before Dovecot does.
	startAttempts = 5
	// mailID is the uid and gid of mail if the server is started by root. The
	// user need not exist.
	mailID = 5000
)

// errPortTaken tells that Dovecot could not have one of its ports.
var errPortTaken = errors.New("a port is taken")

// Server is a running Dovecot. Its methods may be used concurrently, but for
// Stop, Restart, Remove and Close.
type Server struct {
	installation installation
	settings     settings
	hostDir      string // settings.Dir as this process sees it
	process      *process
}

// New starts a server, which Close must end; the context bounds only the start.
// The error wraps ErrNoSuchVersion if the machine has another version only.
func New(ctx context.Context, cfg Config) (*Server, error) {
	inst, err := findInstallation(ctx, cfg.Version)
	if err != nil {
		return nil, fmt.Errorf("dovecottest: %w", err)
	}
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("dovecottest: %w", err)
	}
	s := &Server{installation: inst}
	if err := s.prepare(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("dovecottest: %w", err), s.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for range startAttempts {
		if err = s.start(ctx); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		err = fmt.Errorf("dovecottest: starting Dovecot %s: %w; its log:\n%s", s.Release(), err, s.Log())
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// prepare makes the server's directory. Its path is short, because the paths of
// Unix sockets are limited to 108 bytes.
func (s *Server) prepare(cfg Config) error {
	hostDir, err := os.MkdirTemp(filepath.Join("/", s.installation.root, "tmp"), "dct")
	if err != nil {
		return err
	}
	s.hostDir = hostDir
	s.settings = settings{
		Config:  cfg,
		Release: s.installation.release,
		Dir:     filepath.Join("/tmp", filepath.Base(hostDir)),
		Name:    filepath.Base(hostDir),
		APIKey:  rand.Text(),
		Drivers: numberDrivers(cfg.Drivers, s.installation.version()),
	}
	// Several users need to get in: Dovecot's own ones and the owner of mail.
	if err := os.Chmod(hostDir, 0o755); err != nil {
		return err
	}
	s.settings.MailUID, s.settings.MailGID = os.Geteuid(), os.Getegid()
	homes := filepath.Join(hostDir, "homes")
	if err := os.Mkdir(homes, 0o755); err != nil {
		return err
	}
	if s.settings.MailUID == 0 {
		s.settings.MailUID, s.settings.MailGID = mailID, mailID
		if err := os.Chown(homes, mailID, mailID); err != nil {
			return err
		}
	}
	var users bytes.Buffer
	if err := writeUsers(&users, s.settings); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(hostDir, "users"), users.Bytes(), 0o644); err != nil {
		return err
	}
	for name, content := range s.settings.Files {
		if err := os.WriteFile(filepath.Join(hostDir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return errors.Join(
		s.adopt(&s.settings.SSLClientCAFile, "client-ca.crt"),
		s.adopt(&s.settings.SSLClientCertFile, "client.crt"),
		s.adopt(&s.settings.SSLClientKeyFile, "client.key"),
	)
}

// adopt copies a file into the server's directory, where Dovecot can read it
// whatever root directory and user it runs with, and changes the path to that.
func (s *Server) adopt(file *string, name string) error {
	if *file == "" {
		return nil
	}
	content, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	*file = s.path(name)
	return os.WriteFile(filepath.Join(s.hostDir, name), content, 0o644)
}

// start runs Dovecot on ports that are free now and waits until it is ready.
func (s *Server) start(ctx context.Context) (err error) {
	for _, port := range []*int{&s.settings.LMTPPort, &s.settings.IMAPPort, &s.settings.DoveAdmPort} {
		if *port, err = freeport.Get(); err != nil {
			return err
		}
	}
	var config bytes.Buffer
	if err := writeConfig(&config, s.installation.version(), s.settings); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.hostDir, "dovecot.conf"), config.Bytes(), 0o644); err != nil {
		return err
	}
	return s.launch(ctx)
}

// launch runs Dovecot with the configuration that was written, and waits until
// it is ready.
func (s *Server) launch(ctx context.Context) (err error) {
	// Made again for every attempt. Every user may write it, since dovecot-lda
	// and doveadm do so with the user whose mail they handle.
	logPath := filepath.Join(s.hostDir, "dovecot.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer log.Close()
	if err := os.Chmod(logPath, 0o666); err != nil {
		return err
	}
	s.process, err = startProcess(s.installation, s.hostDir, log, "dovecot", "-F", "-c", s.path("dovecot.conf"))
	if err != nil {
		return err
	}
	for !s.ready(ctx) {
		select {
		case <-s.process.ended:
			err := s.process.err
			s.process = nil
			if strings.Contains(s.Log(), "Address already in use") {
				return errPortTaken
			}
			return fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), s.Stop())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// ready reports whether this very server answers: Dovecot listens on all its
// ports before it greets on one.
func (s *Server) ready(ctx context.Context) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.LMTPAddr())
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(greetingTimeout))
	greeting, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.Contains(greeting, s.settings.Name)
}

// path returns the path of a file in the server's directory as Dovecot sees it.
func (s *Server) path(name string) string { return filepath.Join(s.settings.Dir, name) }

// LMTPAddr returns host and port of the LMTP service.
func (s *Server) LMTPAddr() string { return loopback(s.settings.LMTPPort) }

// IMAPAddr returns host and port of the IMAP service, which has no TLS.
func (s *Server) IMAPAddr() string { return loopback(s.settings.IMAPPort) }

// DoveAdmURL returns the URL that DoveAdm HTTP API requests are posted to.
func (s *Server) DoveAdmURL() string {
	return "http://" + loopback(s.settings.DoveAdmPort) + "/doveadm/v1"
}

// APIKey returns the key of the DoveAdm HTTP API, not encoded.
func (s *Server) APIKey() string { return s.settings.APIKey }

// Version returns the version that runs.
func (s *Server) Version() Version { return s.installation.version() }

// Release returns the number of the release that runs, such as "2.3.19.1".
func (s *Server) Release() string { return s.installation.release }

// Users returns the accounts of the server.
func (s *Server) Users() []User { return s.settings.Users }

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Log returns what Dovecot has logged. A process of its own writes the log, so
// that a line comes a moment after what it tells of. With debug messages
// Dovecot 2.3 writes the credentials of the drivers into it.
func (s *Server) Log() string {
	log, err := os.ReadFile(filepath.Join(s.hostDir, "dovecot.log"))
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// Stop ends Dovecot and keeps its files: there is nobody at its ports any more,
// but the log can still be read.
func (s *Server) Stop() error {
	if s.process == nil {
		return nil
	}
	err := s.process.stop()
	s.process = nil
	if err != nil {
		return fmt.Errorf("dovecottest: %w", err)
	}
	// The master process is gone. The others die with it, but in their own time.
	for _, port := range []int{s.settings.LMTPPort, s.settings.IMAPPort, s.settings.DoveAdmPort} {
		for deadline := time.Now().Add(stopTimeout); ; time.Sleep(time.Millisecond) {
			conn, err := net.Dial("tcp", loopback(port))
			if err != nil {
				break
			}
			conn.Close()
			if time.Now().After(deadline) {
				return fmt.Errorf("dovecottest: Dovecot still listens on port %d", port)
			}
		}
	}
	return nil
}

// Restart starts Dovecot again after Stop, at the same ports and with the same
// mail. The log begins again.
func (s *Server) Restart(ctx context.Context) error {
	if s.process != nil {
		return errors.New("dovecottest: Dovecot runs")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.launch(ctx); err != nil {
		return fmt.Errorf("dovecottest: starting Dovecot again: %w", err)
	}
	return nil
}

// Remove makes Dovecot forget a user, whose mail stays.
func (s *Server) Remove(user string) error {
	s.settings.Users = slices.DeleteFunc(slices.Clone(s.settings.Users), func(u User) bool { return u.Name == user })
	var users bytes.Buffer
	if err := writeUsers(&users, s.settings); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.hostDir, "users"), users.Bytes(), 0o644)
}

// Close ends Dovecot and removes its files.
func (s *Server) Close() error {
	err := s.Stop()
	if s.hostDir == "" {
		return err
	}
	if _, rmErr := output(asRoot(context.Background(), "rm", "-rf", "--", s.hostDir)); rmErr != nil {
		err = errors.Join(err, fmt.Errorf("dovecottest: removing the server's directory: %w", rmErr))
	}
	return err
}
