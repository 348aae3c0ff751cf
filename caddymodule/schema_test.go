// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	generate "github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// schemaFile is published with each release. It is written by
//
//	go test ./caddymodule -run TestSchema -update
var schemaFile = filepath.Join("..", "docs", "schema.json")

// The schema is that of the config structs, and everything that the adapter makes
// is valid by it.
func TestSchema(t *testing.T) {
	want := schemaOfConfig(t)
	if *update {
		require.NoError(t, os.WriteFile(schemaFile, want, 0o600))
	}
	got, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run the test with -update")

	check := schemaOf(t, got)
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	require.NoError(t, err)
	valid := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		_, adapted, _ := strings.Cut(string(content), separator)
		if !strings.HasPrefix(adapted, "{") {
			continue // an error
		}
		valid++
		assert.NoError(t, check(adapted), file)
	}
	assert.Greater(t, valid, 10)

	for text, wrong := range map[string]string{
		`{"apps":{"dovecot_push":{"queue":{"max_age":"24h"}}}}`:                                                          "",
		`{"apps":{"dovecot_push":{"queues":{}}}}`:                                                                        "queues",
		`{"apps":{"dovecot_push":{"queue":{"max_age":true}}}}`:                                                           "max_age",
		`{"apps":{"dovecot_push":{"deliver":[{"target":"of_another_module","x":1}]}}}`:                                   "",
		`{"apps":{"dovecot_push":{"deliver":[{"target":"webhook","name":"a","url":"b","users":"c"}]}}}`:                  "users",
		`{"apps":{"dovecot_push":{"deliver":[{"name":"a"}]}}}`:                                                           "target",
		`{"apps":{"http":{"servers":{"a":{"routes":[{"handle":[{"handler":"dovecot_push_notify","max_body":"1"}]}]}}}}}`: "max_body",
		`{"apps":{"http":{"servers":{"a":{"routes":[{"handle":[{"handler":"dovecot_push_guard","path":[]}]}]}}}}}`:       "path",
		`{"apps":{"http":{"servers":{"a":{"routes":[{"handle":[{"handler":"static_response","path":[]}]}]}}}}}`:          "",
	} {
		err := check(text)
		if wrong == "" {
			assert.NoError(t, err, text)
		} else {
			assert.ErrorContains(t, err, wrong, text)
		}
	}
}

// schemaOfConfig describes a configuration of Caddy: our app and handlers in
// full, everything else as it comes.
func schemaOfConfig(t *testing.T) []byte {
	t.Helper()
	r := &generate.Reflector{
		Anonymous: true, RequiredFromJSONSchemaTags: true,
		Mapper: func(typ reflect.Type) *generate.Schema {
			switch typ {
			case reflect.TypeFor[caddy.Duration]():
				return &generate.Schema{OneOf: []*generate.Schema{{Type: "string"}, {Type: "integer"}}}
			case reflect.TypeFor[json.RawMessage]():
				return generate.TrueSchema
			}
			return nil
		},
	}
	require.NoError(t, r.AddGoComments(reflect.TypeFor[App]().PkgPath(), "."))
	definitions := generate.Definitions{}
	define := func(typ reflect.Type) string {
		s := r.ReflectFromType(typ)
		maps.Copy(definitions, s.Definitions)
		return strings.TrimPrefix(s.Ref, "#/$defs/")
	}
	ref := func(name string) *generate.Schema { return &generate.Schema{Ref: "#/$defs/" + name} }
	app := define(reflect.TypeFor[App]())

	// guests are the modules of a namespace that are ours: what has the name in the
	// inline key is what the module says.
	guests := func(namespace, key string) (choices []*generate.Schema) {
		for _, info := range caddy.GetModules(namespace) {
			typ := reflect.TypeOf(info.New()).Elem()
			if !strings.HasPrefix(typ.PkgPath(), reflect.TypeFor[App]().PkgPath()) {
				continue
			}
			name := define(typ)
			is := &generate.Schema{Const: info.ID.Name()}
			definitions[name].Properties.Set(key, is)
			match := &generate.Schema{Type: "object", Required: []string{key}, Properties: generate.NewProperties()}
			match.Properties.Set(key, is)
			choices = append(choices, &generate.Schema{If: match, Then: ref(name)})
		}
		require.NotEmpty(t, choices, namespace)
		return choices
	}
	deliver, ok := definitions[app].Properties.Get("deliver")
	require.True(t, ok)
	deliver.Items = &generate.Schema{Type: "object", Required: []string{"target"}, AllOf: guests("dovecot_push.targets", "target")}

	anything := &generate.Schema{AllOf: guests("http.handlers", "handler"), Items: ref("anything"), AdditionalProperties: ref("anything")}
	definitions["anything"] = anything
	apps := &generate.Schema{Type: "object", Properties: generate.NewProperties(), AdditionalProperties: ref("anything")}
	apps.Properties.Set("dovecot_push", ref(app))
	root := &generate.Schema{
		Version: generate.Version, ID: "https://github.com/dovecotpush/caddy-dovecot-push/releases/latest/download/schema.json",
		Title: "Caddy with the dovecot_push modules", Type: "object", Properties: generate.NewProperties(), Definitions: definitions,
	}
	root.Properties.Set("apps", apps)
	text, err := json.MarshalIndent(root, "", "\t")
	require.NoError(t, err)
	return append(text, '\n')
}

// schemaOf returns what checks a JSON text by a schema.
func schemaOf(t *testing.T, schema []byte) func(text string) error {
	t.Helper()
	parsed, err := validator.UnmarshalJSON(strings.NewReader(string(schema)))
	require.NoError(t, err)
	c := validator.NewCompiler()
	require.NoError(t, c.AddResource("schema.json", parsed))
	compiled, err := c.Compile("schema.json")
	require.NoError(t, err)
	return func(text string) error {
		instance, err := validator.UnmarshalJSON(strings.NewReader(text))
		require.NoError(t, err)
		return compiled.Validate(instance)
	}
}
