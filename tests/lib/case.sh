# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What a case file of tests/cases/ is made of. A case file is bash, sourced by tests/run:
#
#   # as: root user          who runs it (default: root)
#   # images                 needs DEBIAN and NODE in $IMAGES
#   test_something() { ...; }     every function test_* is one test, in a folder, store and
#                                 mount and pid namespace of its own; non-zero or `fail` = failed
#
# Given: /mnt, an empty tmpfs of the test's own that anybody may write to, for what wants short names; $IMAGES, $TOOLS (treecmp and others are in PATH as well), $SNAP_ROOT (an empty store of the
# test's own), the current folder (empty, on a real file system). Nothing needs to be cleaned up.
set -euo pipefail

fail() {
	echo "FAIL: $*" >&2
	exit 1
}
skip() { # only where a machine cannot run it: says loudly why
	echo "SKIP: $*" >&2
	exit 77
}
is() { # GOT WANTED [WHAT]
	[ "$1" = "$2" ] || fail "${3:-value}: got '$1', wanted '$2'"
}
# Runs a command that must fail with status $1 and one line on stderr that matches the regex $2.
refused() { # STATUS REGEX COMMAND...
	local status=$1 regex=$2 got=0
	shift 2
	"$@" >refused.out 2>refused.err || got=$?
	[ "$got" = "$status" ] || fail "$*: exit status $got, wanted $status: $(cat refused.err)"
	[ "$(wc -l <refused.err)" = 1 ] || fail "$*: not one line on stderr: $(cat refused.err)"
	grep -qE -- "$regex" refused.err || fail "$*: '$(cat refused.err)' does not match '$regex'"
}
# Polls a condition for at most $1 seconds.
within() { # SECONDS COMMAND...
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || fail "not within the time: $*"
		read -r -t 0.05 <> <(:) || :
	done
}
# prepare and mount KEY of PARENT at DIR with the FUSE engine
enter() { # KEY PARENT DIR
	mkdir -p "$3"
	snap prepare "$1" "$2" >/dev/null
	snap --quiet mount "$1" "$3" --engine fuse
}
remount() { # KEY DIR
	snap umount "$2"
	snap --quiet mount "$1" "$2" --engine fuse
}
# low/ up/ wk/ mounted on m by snapfs, which says in ./log what it has chosen
told_mount() { # OPTIONS
	mkdir -p low up wk m
	SNAP_LOG=info snapfs -f -o "lowerdir=$PWD/low,upperdir=$PWD/up,workdir=$PWD/wk,redirect_dir=on,$1" "$PWD/m" 2>log &
	within 10 mountpoint -q m
}
told_umount() {
	umount m 2>/dev/null || fusermount3 -u m
	wait
}
may_pass() { # whether this kernel grants this user FUSE passthrough
	local v
	v=$(uname -r)
	[ "$(id -u)" = 0 ] && [ "$(printf '%s\n' 6.9 "$v" | sort -V | head -n 1)" = 6.9 ]
}
# A tiny image REF made of the folder $2 (its contents become the one layer).
image_of() { # REF DIR
	local key="image-of-$1"
	mkdir -p image-of.mnt
	snap prepare "$key" >/dev/null
	snap --quiet mount "$key" image-of.mnt --engine fuse
	cp -a "$2/." image-of.mnt/
	snap umount image-of.mnt
	snap --quiet commit --image "$1" "$key" --timestamp 1700000000
	snap rm "$key"
}
# podman and buildah as they run here: without systemd, a network of their own, and CAP_SYS_RESOURCE.
containers_conf() {
	export CONTAINERS_CONF=$PWD/containers.conf
	cat >"$CONTAINERS_CONF" <<-'CONF'
		[containers]
		default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
		netns = "none"
		[engine]
		cgroup_manager = "cgroupfs"
		events_logger = "file"
		runtime = "runc"
	CONF
}
