// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"encoding/hex"
	"fmt"
	"math"
)

// Color is a colour of the screen: red, green, blue.
type Color [3]uint8

// ParseColor reads a colour such as #0b6b63.
func ParseColor(s string) (Color, error) {
	var c Color
	if len(s) == 7 && s[0] == '#' {
		if _, err := hex.Decode(c[:], []byte(s[1:])); err == nil {
			return c, nil
		}
	}
	return Color{}, fmt.Errorf("%q is not a colour such as #0b6b63", s)
}

// String is the colour as CSS has it.
func (c Color) String() string { return "#" + hex.EncodeToString(c[:]) }

// The colours of app.css that an accent must be readable on, or under.
var (
	black, white        = Color{}, Color{0xff, 0xff, 0xff}
	lightCard, darkCard = white, Color{0x18, 0x22, 0x26}
	lightGrounds        = []Color{lightCard, {0xf5, 0xf7, 0xf7}, {0xee, 0xf3, 0xf3}}
	darkGrounds         = []Color{darkCard, {0x10, 0x17, 0x1a}, {0x22, 0x30, 0x36}}
	onDarkAccent        = Color{0x10, 0x17, 0x1a}
)

// readable is the contrast of texts (WCAG 1.4.3), with a little to spare for
// what browsers round.
const readable = 4.6

// accentRule is CSS that sets the accent: as dark on light, and as light on
// dark, as texts in it must be.
func accentRule(accent Color) string {
	light, lightSoft := adjust(accent, black, lightCard, lightGrounds)
	dark, darkSoft := adjust(accent, white, darkCard, darkGrounds)
	rule := func(accent, onAccent, soft Color) string {
		return fmt.Sprintf(":root { --accent: %s; --on-accent: %s; --accent-soft: %s; }", accent, onAccent, soft)
	}
	return "\n" + rule(light, white, lightSoft) + "\n@media (prefers-color-scheme: dark) { " + rule(dark, onDarkAccent, darkSoft) + " }\n"
}

// adjust moves the accent toward a colour until it is readable on all grounds,
// and on the soft ground that is made of it. It returns both.
func adjust(accent, toward, card Color, grounds []Color) (adjusted, soft Color) {
	for step := range 101 {
		adjusted = mix(accent, toward, float64(step)/100)
		soft = mix(card, adjusted, 0.12)
		worst := contrast(adjusted, soft)
		for _, ground := range grounds {
			worst = min(worst, contrast(adjusted, ground))
		}
		if worst >= readable {
			break
		}
	}
	return adjusted, soft
}

// mix returns c with a share of another colour, from 0 to 1.
func mix(c, other Color, share float64) Color {
	for i := range c {
		c[i] = uint8(math.Round(float64(c[i])*(1-share) + float64(other[i])*share))
	}
	return c
}

// contrast is that of WCAG 2, from 1 to 21.
func contrast(a, b Color) float64 {
	high, low := luminance(a), luminance(b)
	if high < low {
		high, low = low, high
	}
	return (high + 0.05) / (low + 0.05)
}

func luminance(c Color) float64 {
	var linear [3]float64
	for i, v := range c {
		if s := float64(v) / 255; s <= 0.04045 {
			linear[i] = s / 12.92
		} else {
			linear[i] = math.Pow((s+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*linear[0] + 0.7152*linear[1] + 0.0722*linear[2]
}
