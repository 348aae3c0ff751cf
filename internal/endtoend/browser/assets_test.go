// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"bytes"
	"encoding/base64"
	"flag"
	"fmt"
	"image/png"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
)

var (
	update   = flag.Bool("update", false, "write the icons and the pictures of the documentation again")
	allShots = flag.String("pictures", "", "write what is seen in each scene into this folder")
)

// The icons that have to be PNG are what a browser draws of their SVG.
func TestIcons(t *testing.T) {
	source := filepath.Join(caddytestkit.Repository(), "handlers", "page")
	icons := filepath.Join(source, "app", "icons")
	c := startChromium(t, "en")
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	c.open(server.URL)
	for _, icon := range []struct {
		source, name string
		size         int
	}{
		{filepath.Join(icons, "icon.svg"), "icon-192.png", 192},
		{filepath.Join(icons, "icon.svg"), "icon-512.png", 512},
		{filepath.Join(source, "icons", "maskable.svg"), "maskable-192.png", 192},
		{filepath.Join(source, "icons", "maskable.svg"), "maskable-512.png", 512},
		{filepath.Join(source, "icons", "maskable.svg"), "apple-touch-icon.png", 180},
		{filepath.Join(source, "icons", "badge.svg"), "badge-96.png", 96},
	} {
		svg, err := os.ReadFile(icon.source)
		require.NoError(t, err)
		drawn := draw(tab{c, t}, svg, icon.size)
		path := filepath.Join(icons, icon.name)
		if *update {
			require.NoError(t, os.WriteFile(path, drawn, 0o644))
		}
		committed, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Less(t, difference(t, committed, drawn), 0.01, "%s is another picture than its SVG: run the test with -update", icon.name)
	}
}

// pictures are those of the documentation, by what they show.
var pictures = map[string]string{
	"on-390-light":  "page-phone.png",
	"on-390-dark":   "page-phone-dark.png",
	"on-1280-light": "page-desktop.png",

	"preferences-390-light": "page-preferences.png",
}

// picture writes what is seen where it is asked for: into the folder, and with
// the documentation, if it is one of its pictures.
func (s stage) picture(shows string) {
	s.tab.t.Helper()
	if *allShots != "" {
		require.NoError(s.tab.t, os.WriteFile(filepath.Join(*allShots, shows+".png"), s.chromium.screenshot(), 0o644))
	}
	if name, ok := pictures[shows]; ok && *update {
		require.NoError(s.tab.t, os.WriteFile(filepath.Join(caddytestkit.Repository(), "docs", "images", name), s.chromium.screenshot(), 0o644))
	}
}

// draw is the picture as PNG.
func draw(p tab, svg []byte, size int) []byte {
	p.t.Helper()
	drawn := eval[string](p, fmt.Sprintf(`(async () => {
		const image = new Image();
		image.src = %q;
		await image.decode();
		const canvas = document.createElement('canvas');
		canvas.width = canvas.height = %d;
		canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
		return canvas.toDataURL('image/png');
	})()`, "data:image/svg+xml;base64,"+base64.StdEncoding.EncodeToString(svg), size))
	content, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(drawn, "data:image/png;base64,"))
	require.NoError(p.t, err)
	return content
}

// difference is how much two pictures differ, from 0 to 1: versions of the
// browser smooth edges in different ways.
func difference(t *testing.T, a, b []byte) float64 {
	t.Helper()
	one, err := png.Decode(bytes.NewReader(a))
	require.NoError(t, err)
	other, err := png.Decode(bytes.NewReader(b))
	require.NoError(t, err)
	require.Equal(t, one.Bounds(), other.Bounds())
	var sum, count float64
	for y := range one.Bounds().Dy() {
		for x := range one.Bounds().Dx() {
			r, g, b, alpha := one.At(x, y).RGBA()
			r2, g2, b2, alpha2 := other.At(x, y).RGBA()
			for i, v := range [...]uint32{r, g, b, alpha} {
				sum += math.Abs(float64(v) - float64([...]uint32{r2, g2, b2, alpha2}[i]))
				count += 0xffff
			}
		}
	}
	return sum / count
}
