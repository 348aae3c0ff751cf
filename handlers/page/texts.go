// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// Texts returns the catalogues of the page, by language and key, for notifications
// that are written here. English is one of them.
func Texts() map[string]map[string]string {
	const folder = "app/js/catalog"
	entries, err := app.ReadDir(folder)
	if err != nil {
		panic(err)
	}
	all := make(map[string]map[string]string, len(entries))
	for _, entry := range entries {
		content, err := app.ReadFile(path.Join(folder, entry.Name()))
		if err != nil {
			panic(err)
		}
		// JSON, but for what is around it.
		_, object, _ := strings.Cut(string(content), "export default ")
		var catalog map[string]string
		if err := json.Unmarshal([]byte(strings.TrimSuffix(strings.TrimSpace(object), ";")), &catalog); err != nil {
			panic(fmt.Errorf("%s: %w", entry.Name(), err))
		}
		all[strings.TrimSuffix(entry.Name(), ".js")] = catalog
	}
	return all
}
