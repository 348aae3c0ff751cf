// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// ifVersion reports whether the condition of an IfVersion holds for an Apache of
// today.
func ifVersion(args []string) (bool, error) {
	if len(args) == 1 {
		args = []string{"=", args[0]}
	}
	if len(args) != 2 {
		return false, errors.New("not an operator and a version")
	}
	operator, not := strings.CutPrefix(args[0], "!")
	numbers := func(version string) (parts []int, err error) {
		for part := range strings.SplitSeq(version, ".") {
			number, err := strconv.Atoi(part)
			if err != nil {
				return nil, errors.New("not a version that is understood")
			}
			parts = append(parts, number)
		}
		return parts, nil
	}
	want, err := numbers(args[1])
	if err != nil {
		return false, err
	}
	have, _ := numbers(versionOfApache)
	order := slices.CompareFunc(have, want, cmp.Compare[int])
	if len(want) < len(have) && slices.Equal(have[:len(want)], want) && (operator == "=" || operator == "==") {
		order = 0
	}
	var holds bool
	switch operator {
	case "=", "==":
		holds = order == 0
	case ">":
		holds = order > 0
	case ">=":
		holds = order >= 0
	case "<":
		holds = order < 0
	case "<=":
		holds = order <= 0
	default:
		return false, errors.New("not an operator that is understood")
	}
	return holds != not, nil
}
