// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/doveadm/doveadmtest"
)

func Example() {
	client, err := doveadm.New(doveadm.Config{
		Endpoints: []string{"https://imap1.example.com:8080", "https://imap2.example.com:8080"},
		APISecret: os.Getenv("DOVEADM_API_SECRET"),
		Logger:    slog.Default(),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	const key = "/private/vendor/vendor.dovecot/http-notify"
	err = client.MetadataSet(context.Background(), "alice@example.com", key, "user=alice@example.com")
	switch {
	case errors.Is(err, doveadm.ErrUnknownUser):
		log.Print("there is no alice")
	case errors.Is(err, doveadm.ErrUnavailable):
		log.Print("try again later: ", err)
	case err != nil:
		log.Fatal(err)
	}
}

func ExampleClient_MetadataGetMask() {
	server := doveadmtest.NewServer(doveadmtest.Config{Users: []string{"alice@example.com", "bob@example.com"}})
	defer server.Down()
	client, err := doveadm.New(doveadm.Config{Endpoints: []string{server.URL()}, APISecret: server.APISecret()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx := context.Background()
	if err := client.MetadataSet(ctx, "bob@example.com", "/private/comment", "likes cheese"); err != nil {
		log.Fatal(err)
	}
	values, err := client.MetadataGetMask(ctx, "*@example.com", "/private/comment")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(values)
	// Output: map[alice@example.com: bob@example.com:likes cheese]
}

func ExampleClient_Raw() {
	server := doveadmtest.NewServer(doveadmtest.Config{Users: []string{"alice@example.com"}})
	defer server.Down()
	client, err := doveadm.New(doveadm.Config{Endpoints: []string{server.URL()}, APISecret: server.APISecret()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	results, err := client.Raw(context.Background(), "mailboxStatus", map[string]any{
		"user": "alice@example.com", "mailboxMask": []string{"INBOX"}, "field": []string{"messages"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(results))
	// Output: [{"mailbox":"INBOX","messages":"0"}]
}
