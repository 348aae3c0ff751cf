// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveconf

import (
	"slices"
	"strings"
)

// Protocol has the settings for one protocol, such as lmtp.
type Protocol struct {
	config *Config
	block  *block
}

// Protocol returns the settings for a protocol.
func (c *Config) Protocol(name string) Protocol {
	if asked := c.asked[name]; asked != nil {
		return Protocol{c, asked.without("protocol")}
	}
	effective := c.root.without("protocol")
	for _, b := range c.root.of("protocol") {
		other, not := strings.CutPrefix(b.name, "!")
		if not && other != name || b.name == name {
			// What is set later wins, and get returns the first.
			effective.settings = slices.Concat(b.settings, effective.settings)
			effective.blocks = slices.Concat(effective.blocks, b.blocks)
		}
	}
	return Protocol{c, effective}
}

// without returns b without the blocks of one kind.
func (b *block) without(kind string) *block {
	rest := *b
	rest.blocks = slices.DeleteFunc(slices.Clone(b.blocks), func(in *block) bool { return in.kind == kind })
	return &rest
}

// HasAttributeDict reports whether METADATA entries can be stored.
func (p Protocol) HasAttributeDict() bool {
	if !p.config.Is24() {
		return p.block.get("mail_attribute_dict") != ""
	}
	return slices.ContainsFunc(p.block.of("mail_attribute"), func(b *block) bool { return len(b.blocks) > 0 || len(b.settings) > 0 })
}

// Plugins returns the mail_plugins.
func (p Protocol) Plugins() []string {
	if p.block.has("mail_plugins") { // 2.3: doveconf has replaced $mail_plugins
		return strings.Fields(p.block.get("mail_plugins"))
	}
	var all []string
	for _, list := range p.block.of("mail_plugins") { // 2.4
		for _, s := range list.settings {
			all = slices.DeleteFunc(all, func(plugin string) bool { return plugin == s.name })
			if isYes(s.value) {
				all = append(all, s.name)
			}
		}
	}
	return all
}

// named returns the blocks of one kind by name, each with all of its settings, in
// the order of their first occurrence. Later settings come first.
func (b *block) named(kind string) (names []string, byName map[string]*block) {
	byName = make(map[string]*block)
	for _, in := range b.of(kind) {
		one := byName[in.name]
		if one == nil {
			one = &block{kind: kind, name: in.name}
			byName[in.name] = one
			names = append(names, in.name)
		}
		one.settings = slices.Concat(in.settings, one.settings)
		one.blocks = append(one.blocks, in.blocks...)
	}
	return names, byName
}

// plugin returns the settings of plugin { }, by name.
func (b *block) plugin() map[string]string {
	all := make(map[string]string)
	for _, in := range b.of("plugin") {
		for _, s := range in.settings {
			all[s.name] = s.value
		}
	}
	return all
}
