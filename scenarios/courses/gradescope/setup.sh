#!/bin/sh
# Gradescope runs this once, when it makes the image: what takes long is done here and not for each student.
# For Debian 12 or later, which Gradescope's own base images are not: docs/gradescope.md has the Dockerfile. Beside this file: vmm-VERSION-x86_64-linux.tar.zst (a release, or what `make dist` makes) and assignment/
# (assignment.yaml and what it names).
set -eu

top=${AUTOGRADER:-/autograder}
export VMM_CACHE="${VMM_CACHE:-/var/cache/vmm}"
system=$(. "${VMM_OS_RELEASE:-/etc/os-release}" && echo "$ID")
[ "$system" = debian ] || { echo "setup.sh: this image is $system, and the emulated host needs Debian 12 or later: see docs/gradescope.md" >&2; exit 1; }

apt-get update
apt-get install -y --no-install-recommends ca-certificates zstd
mkdir -p /opt/vmm
tar --extract --zstd --strip-components=1 --file "$(ls "$top"/source/vmm-*-linux.tar.zst)" --directory /opt/vmm
/opt/vmm/setup packages
/opt/vmm/setup emulator
# Builds the assignment's kernel, and boots the emulated host, whose state is kept.
/opt/vmm/bin/vmm grade check "$top/source/assignment/assignment.yaml" --only reference --host emulated --out /tmp/check
