// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// While packages are installed for tests, no service of theirs may start; what
// forbids it is gone afterwards, also when the installation fails. A machine that
// has a policy of its own keeps it. Nor do they start with the machine.
func TestNoServiceIsStarted(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the script would ask sudo")
	}
	for _, own := range []string{"", "#!/bin/sh\nexit 104\n"} {
		for _, installs := range []string{"exit 0", "exit 100"} {
			dir := t.TempDir()
			policy, asked := filepath.Join(dir, "policy-rc.d"), filepath.Join(dir, "asked")
			if own != "" {
				require.NoError(t, os.WriteFile(policy, []byte(own), 0o700))
			}
			// They stand in for Debian's; apt-get asks as packages do.
			installed, disabled := filepath.Join(dir, "installed"), filepath.Join(dir, "disabled")
			for name, script := range map[string]string{
				"apt-get":    "[ $1 = install ] || exit 0\n" + policy + " dovecot start\necho $? > " + asked + "\ntouch " + installed + "\n" + installs,
				"dpkg-query": "case $1 in\n-W) echo ssh; ! [ -e " + installed + " ] || echo dovecot-core;;\n-L) echo /lib/systemd/system/$2.service;;\nesac",
				"systemctl":  "echo $* >> " + disabled,
			} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
			}
			script := exec.CommandContext(t.Context(), filepath.Join("..", "debian.sh"), "dovecot-core")
			script.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "POLICY_RC_D="+policy)
			out, err := script.CombinedOutput()
			assert.Equal(t, installs == "exit 0", err == nil, "%s", out)
			answer, err := os.ReadFile(asked)
			require.NoError(t, err, "%s", out)
			left, _ := os.ReadFile(policy)
			assert.Equal(t, own, string(left))
			units, _ := os.ReadFile(disabled)
			assert.Equal(t, map[string]string{"exit 0": "disable --quiet dovecot-core.service\n"}[installs], string(units))
			assert.Equal(t, map[bool]string{true: "101\n", false: "104\n"}[own == ""], string(answer))
		}
	}
}
