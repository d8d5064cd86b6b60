# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# images
# Images from and to archives and registries: the same layers and digests whatever way they come, and what
# others write and read.

chains() { # REF: the layers' chain ids
	snap --json inspect "$1" | jq -rec '[.layers[].chain_id]'
}
two_layers() { # makes d:1, small
	mkdir one two && head -c 300000 /dev/urandom >one/data && ln -s data one/link && echo two >two/file
	image_of base:1 one
	snap prepare two base:1 >/dev/null
	mkdir two.mnt
	snap --quiet mount two two.mnt --engine fuse
	cp -a two/. two.mnt/
	snap umount two.mnt
	snap --quiet commit --image d:1 two --timestamp 1700000000
	snap rm two
	snap rmi base:1
}
digest_of() { snap --json inspect "$1" | jq -re .digest; }

test_archives() {
	local want d
	snap --quiet pull "oci:$IMAGES/DEBIAN:latest" --name d:1
	want=$(chains d:1)
	d=$(digest_of d:1)
	# ours: read by us, skopeo and podman
	snap push d:1 oci-archive:ours.tar:v1 >push.out
	is "$(cat push.out)" "$d" 'the digest pushed'
	is "$(skopeo inspect oci-archive:ours.tar:v1 | jq -r .Digest)" "$d" 'what skopeo sees'
	skopeo copy -q oci-archive:ours.tar:v1 dir:copied # verifies every blob
	snap push d:1 oci-archive:again.tar:v1 >/dev/null
	cmp ours.tar again.tar
	is "$(SNAP_ROOT=$PWD/b snap pull oci-archive:ours.tar --json | jq -r .digest)" "$d" 'pulled from our archive'
	# skopeo's: oci-archive, and docker-archive with the same contents
	skopeo copy -q "oci:$IMAGES/DEBIAN:latest" oci-archive:theirs.tar:x
	SNAP_ROOT=$PWD/c snap --quiet pull oci-archive:theirs.tar:x --name d:1
	is "$(SNAP_ROOT=$PWD/c digest_of d:1)" "$d" 'pulled from skopeo'
	skopeo copy -q "oci:$IMAGES/DEBIAN:latest" docker-archive:docker.tar:docker.io/library/debian:12
	SNAP_ROOT=$PWD/e snap pull docker-archive:docker.tar >pull.out 2>/dev/null
	is "$(cat pull.out)" docker.io/library/debian:12 'the name'
	is "$(SNAP_ROOT=$PWD/e chains docker.io/library/debian:12)" "$want" 'chain ids of docker-archive'
	SNAP_ROOT=$PWD/e snap --quiet fsck
	# what was made of it is an image like any other
	SNAP_ROOT=$PWD/e snap push docker.io/library/debian:12 oci:made:1 >/dev/null
	skopeo copy -q oci:made:1 dir:made.copy
	refused 1 'no image is tagged' env SNAP_ROOT="$PWD/e" snap pull docker-archive:docker.tar:nix
	refused 1 'no image with tag' snap pull oci-archive:theirs.tar:nix
}
test_podman_save() {
	local run p
	run=$(mktemp -d /tmp/snap-pr.XXXXXX) # podman takes no longer name
	# shellcheck disable=SC2064 # now
	trap "rm -rf '$run'" EXIT
	p=(podman --root "$PWD/pr" --runroot "$run" --storage-driver vfs)
	two_layers
	snap push d:1 oci-archive:in.tar:v1 >/dev/null
	"${p[@]}" load -q -i in.tar >load.out || fail "podman load: $(cat load.out)"
	"${p[@]}" tag "$("${p[@]}" images -q)" localhost/deb:1
	"${p[@]}" save -q -o docker.tar localhost/deb:1
	"${p[@]}" save -q --format oci-archive -o oci.tar localhost/deb:1
	snap --quiet pull docker-archive:docker.tar --name docker:1
	snap --quiet pull docker-archive:docker.tar:localhost/deb:1 --name docker:2
	snap --quiet pull oci-archive:oci.tar --name oci:1
	is "$(chains docker:1)" "$(chains d:1)" 'chain ids of podman save'
	is "$(chains oci:1)" "$(chains d:1)" 'chain ids of podman save --format oci-archive'
	is "$(snap --json images | jq 'length')" 4 images
	"${p[@]}" rmi -af >/dev/null
}
test_hostile_archives() {
	local n
	mkdir small && head -c 300000 /dev/urandom >small/data
	image_of small:1 small
	snap push small:1 oci-archive:good.tar:x >/dev/null
	rm -rf "$SNAP_ROOT"
	n=$(stat -c %s good.tar)
	head -c $((n / 2)) good.tar >cut.tar
	refused 1 'cut short' snap pull oci-archive:cut.tar
	gzip -1c good.tar >good.tar.gz
	refused 1 'compressed' snap pull oci-archive:good.tar.gz
	mkdir -p x/blobs && ln -s /etc/passwd x/blobs/sha256 && tar -cf links.tar -C x .
	refused 1 'leads out' snap pull oci-archive:links.tar
	(cd x && : >oci-layout) && tar -cf twice.tar -C x oci-layout oci-layout --hard-dereference
	tar -rf twice.tar -C x oci-layout
	refused 1 'two members' snap pull oci-archive:twice.tar
	refused 1 'no regular file' snap pull oci-archive:/dev/null
	refused 1 'no docker archive' snap pull docker-archive:good.tar
	refused 1 'No such file' snap pull docker-archive:nix.tar
	python3 - <<'PY'
import tarfile
src = tarfile.open("good.tar")
out = tarfile.open("wrong.tar", "w")
biggest = max((m for m in src if m.isfile()), key=lambda m: m.size)
for m in src:
    f = src.extractfile(m) if m.isfile() else None
    if m.name == biggest.name:
        import io
        data = bytearray(f.read())
        data[len(data) // 2] ^= 1
        f = io.BytesIO(data)
    out.addfile(m, f)
out.close()
PY
	refused 1 'digest does not match' snap pull oci-archive:wrong.tar
	is "$(snap --json images | jq -c .)" '[]' images
	is "$(find "$SNAP_ROOT"/{blobs,layers,chains,tmp} -type f | wc -l)" 0 'files of refused images'
}

servers=()
# One registry of this test's own; $port is where it listens. The process name space ends it; so do we.
start_registry() { # NAME [LINES OF THE http: SECTION AND BEHIND]
	local name=$1 i
	mkdir -p "$name"
	for i in 1 2 3 4 5 6 7 8 9; do
		port=$((12000 + (RANDOM * 7 + $$ + i) % 20000))
		printf '%s\n' 'version: 0.1' 'log: {level: error, accesslog: {disabled: false}}' "storage: {filesystem: {rootdirectory: $PWD/$name/data}, delete: {enabled: true}}" \
			"http:" "  addr: 127.0.0.1:$port" "${@:2}" >"$name/config.yml"
		docker-registry serve "$name/config.yml" >"$name/log" 2>&1 &
		servers+=($!)
		within 20 answers_or_died $!
		kill -0 $! 2>/dev/null && return 0
	done
	fail "no registry: $(tail -n 3 "$name/log")"
}
answers_or_died() { ! kill -0 "$1" 2>/dev/null || curl -ks -o curl.out "https://127.0.0.1:$port/v2/" || curl -s -o curl.out "http://127.0.0.1:$port/v2/"; }
stop_servers() {
	kill "${servers[@]}" 2>/dev/null || :
	wait "${servers[@]}" 2>/dev/null || :
	servers=()
}
flaky() { # MODE [OTHER]: sets $port; what was asked for is in MODE.log
	rm -f "$1.log" # an earlier one's says nothing
	python3 "$LIB/registry.py" lay "$@" >"$1.log" 2>"$1.err" &
	servers+=($!)
	within 20 test -s "$1.log"
	port=$(head -n 1 "$1.log")
}
layout() { # lay: the image of two_layers
	two_layers
	snap push d:1 oci:lay:1 >/dev/null
	rm -rf "$SNAP_ROOT"
}
blobs_asked() { grep -c "/blobs/$(jq -r ".manifests[0].digest" lay/index.json | tr : / | sed 's|^|lay/blobs/|' | xargs jq -r '.layers[0].digest')" "$1" || :; }

test_registry_plain() {
	local d at
	snap --quiet pull "oci:$IMAGES/DEBIAN:latest" --name d:1
	d=$(digest_of d:1)
	start_registry reg
	at=docker://127.0.0.1:$port/deb/ian
	skopeo copy -q --dest-tls-verify=false "oci:$IMAGES/DEBIAN:latest" "$at:1"
	refused 1 'SSL|TLS' snap pull "$at:1"
	SNAP_ROOT=$PWD/b snap pull "$at:1" --tls-verify=false >pull.out 2>/dev/null
	is "$(cat pull.out)" "127.0.0.1:$port/deb/ian:1" 'the name'
	is "$(SNAP_ROOT=$PWD/b digest_of "$(cat pull.out)")" "$d" digest
	is "$(SNAP_ROOT=$PWD/b chains "$(cat pull.out)")" "$(chains d:1)" 'chain ids'
	SNAP_ROOT=$PWD/b snap --quiet fsck
	SNAP_ROOT=$PWD/b snap pull "$at@$d" --tls-verify=false --json >again.json 2>/dev/null
	is "$(jq -c '[.ref, .digest, .new_layers]' again.json)" "[\"127.0.0.1:$port/deb/ian@$d\",\"$d\",0]" 'by digest'
	refused 1 'manifest unknown' snap pull "$at:2" --tls-verify=false
	refused 1 '404' snap pull "docker://127.0.0.1:$port/nix:1" --tls-verify=false
	refused 1 'manifest unknown' snap pull "$at@sha256:$(printf x | sha256sum | cut -c1-64)" --tls-verify=false
	refused 1 'no image.s reference' snap pull "docker://127.0.0.1:$port/Nix:1" --tls-verify=false
	refused 2 'tls-verify' snap pull "$at:1" --tls-verify=maybe
	stop_servers
	refused 1 'connect' snap pull "$at:1" --tls-verify=false
}
test_registry_tls_and_passwords() {
	local at
	layout
	openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost \
		-addext subjectAltName=IP:127.0.0.1,DNS:localhost 2>/dev/null
	python3 - >htpasswd <<'PY'
import ctypes
libcrypt = ctypes.CDLL("libcrypt.so.1")
libcrypt.crypt.restype = ctypes.c_char_p
print("u:" + libcrypt.crypt(b"secret", b"$2y$05$abcdefghijklmnopqrstuu").decode())
PY
	start_registry reg "  tls: {certificate: $PWD/cert.pem, key: $PWD/key.pem}" \
		"auth: {htpasswd: {realm: r, path: $PWD/htpasswd}}"
	at=docker://127.0.0.1:$port/a/b:1
	skopeo copy -q --dest-tls-verify=false --dest-creds u:secret oci:lay:1 "$at"
	refused 1 'certificate' snap pull "$at" --creds u:secret
	refused 1 '401' snap pull "$at" --tls-verify=false
	refused 1 '401' snap pull "$at" --tls-verify=false --creds u:wrong
	refused 1 'USER:PASSWORD' snap pull "$at" --tls-verify=false --creds u
	snap --quiet pull "$at" --tls-verify=false --creds u:secret --name one:1
	SSL_CERT_FILE=$PWD/cert.pem snap --quiet pull "docker://localhost:$port/a/b:1" --creds u:secret --name two:1
	printf '{"auths":{"127.0.0.1:%s":{"auth":"%s"}}}' "$port" "$(printf u:secret | base64)" >auth.json
	snap --quiet pull "$at" --tls-verify=false --authfile auth.json --name three:1
	REGISTRY_AUTH_FILE=$PWD/auth.json snap --quiet pull "$at" --tls-verify=false --name four:1
	# out, with the same: as any other client sees it
	snap push one:1 "docker://127.0.0.1:$port/c/d:1" --tls-verify=false --creds u:secret >push.out
	is "$(cat push.out)" "$(digest_of one:1)" 'the digest pushed'
	is "$(skopeo inspect --tls-verify=false --creds u:secret "docker://127.0.0.1:$port/c/d:1" | jq -r .Digest)" "$(cat push.out)" 'what skopeo sees'
	refused 1 '401' snap push one:1 "docker://127.0.0.1:$port/c/d:2" --tls-verify=false --creds u:wrong
	refused 1 'certificate' snap push one:1 "docker://127.0.0.1:$port/c/d:2" --creds u:secret
	refused 1 'nix.json' snap pull "$at" --tls-verify=false --authfile nix.json
	is "$(snap --json images | jq -c 'map(.digest) | unique | length')" 1 digests
	is "$(digest_of one:1)" "$(jq -r '.manifests[0].digest' lay/index.json)" 'the digest'
	stop_servers
}
test_flaky_registry() {
	local good mode
	layout
	good=$(jq -r '.manifests[0].digest' lay/index.json)
	for mode in plain break norange busy; do
		flaky "$mode"
		SNAP_ROOT=$PWD/$mode.store snap --quiet pull "docker://127.0.0.1:$port/t/x:1" --tls-verify=false --name x:1
		is "$(SNAP_ROOT=$PWD/$mode.store digest_of x:1)" "$good" "digest, $mode"
		SNAP_ROOT=$PWD/$mode.store snap --quiet fsck
	done
	is "$(blobs_asked plain.log)" 1 'requests for a layer'
	is "$(blobs_asked break.log)" 4 'requests for a layer that broke three times'
	grep -q 'bytes=[1-9][0-9]*-' break.log || fail "no range was asked for: $(cat break.log)"
	is "$(blobs_asked busy.log)" 3 'requests at a busy registry'
	for mode in 'dead|size does not match' 'short|size does not match' 'long|size does not match' 'wrong|digest does not match' \
		'otherrange|another range' 'loop|redirects' 'file|redirected' 'endless|too long'; do
		flaky "${mode%%|*}"
		refused 1 "${mode#*|}|transfer closed|Retrying" timeout 60 snap pull "docker://127.0.0.1:$port/t/x:1" --tls-verify=false
	done
	flaky manifest
	refused 1 'digest does not match' snap pull "docker://127.0.0.1:$port/t/x@$good" --tls-verify=false
	is "$(snap --json images | jq -c .)" '[]' images
	is "$(find "$SNAP_ROOT"/{blobs,layers,chains,tmp} -type f | wc -l)" 0 'files of what was refused'
	stop_servers
}
test_tokens_and_redirects() {
	layout
	flaky token
	refused 1 '401' snap pull "docker://127.0.0.1:$port/t/x:1" --tls-verify=false
	refused 1 '401' snap pull "docker://127.0.0.1:$port/t/x:1" --tls-verify=false --creds u:x
	snap --quiet pull "docker://127.0.0.1:$port/t/x:1" --tls-verify=false --creds u:p --name x:1
	snap rmi x:1 && snap --quiet gc
	# credentials stay where they belong: the blobs' host gets none
	flaky plain
	python3 "$LIB/registry.py" lay redirect "$port" >redirect.log &
	servers+=($!)
	within 20 test -s redirect.log
	snap --quiet pull "docker://127.0.0.1:$(head -n 1 redirect.log)/t/x:1" --tls-verify=false --creds u:p --name x:1
	grep -q '/blobs/' plain.log || fail "nothing came by the redirect"
	! grep -q ' auth$' plain.log || fail "credentials went to another host: $(cat plain.log)"
	stop_servers
}

test_push_to_a_registry() {
	local d at p run
	snap --quiet pull "oci:$IMAGES/DEBIAN:latest" --name d:1
	d=$(digest_of d:1)
	start_registry reg
	at=127.0.0.1:$port
	snap push d:1 "docker://$at/one/x:1" --tls-verify=false >push.out
	is "$(cat push.out)" "$d" 'the digest pushed'
	is "$(skopeo inspect --tls-verify=false "docker://$at/one/x:1" | jq -r .Digest)" "$d" 'what skopeo sees'
	skopeo copy -q --src-tls-verify=false "docker://$at/one/x:1" dir:copied # reads and verifies every blob
	grep -q '"PATCH ' reg/log || fail "no blob went in chunks: $(head -n 5 reg/log)"
	grep -q '"PUT /v2/one/x/blobs/uploads/[^?]*?.*digest=' reg/log || fail "no blob: $(head -n 5 reg/log)"
	# twice is once: nothing but the manifest is sent
	: >reg/log
	snap push d:1 "docker://$at/one/x:2" --tls-verify=false >/dev/null
	! grep -E '"(POST|PATCH) ' reg/log || fail 'blobs were sent again'
	# what another image of the registry has is taken from there
	snap --quiet pull "docker://$at/one/x:1" --tls-verify=false
	: >reg/log
	snap push d:1 "docker://$at/two/y:1" --tls-verify=false >/dev/null
	grep -q '"POST /v2/two/y/blobs/uploads/?mount=.*from=one.* 201' reg/log || fail "not mounted: $(grep POST reg/log | head -n 3)"
	! grep -q '"PATCH ' reg/log || fail 'layers were sent again'
	SNAP_ROOT=$PWD/b snap --quiet pull "docker://$at/two/y:1" --tls-verify=false --name y:1
	is "$(SNAP_ROOT=$PWD/b digest_of y:1)" "$d" 'the digest pulled again'
	refused 1 'the image is' snap push d:1 "docker://$at/two/y@sha256:$(printf x | sha256sum | cut -c1-64)" --tls-verify=false
	stop_servers
	refused 1 'connect' snap push d:1 "docker://$at/two/y:1" --tls-verify=false
}
test_podman_pulls_what_was_pushed() {
	local p run
	two_layers
	start_registry reg
	snap push d:1 "docker://127.0.0.1:$port/a/b:1" --tls-verify=false >/dev/null
	run=$(mktemp -d /tmp/snap-pr.XXXXXX)
	# shellcheck disable=SC2064 # now
	trap "rm -rf '$run'" EXIT
	p=(podman --root "$PWD/pr" --runroot "$run" --storage-driver vfs)
	"${p[@]}" pull -q --tls-verify=false "127.0.0.1:$port/a/b:1" >pull.out 2>&1 || fail "podman: $(cat pull.out)"
	"${p[@]}" push -q --tls-verify=false "127.0.0.1:$port/a/b:1" "docker://127.0.0.1:$port/a/c:1" >push.out 2>&1 || fail "podman: $(cat push.out)"
	snap --quiet pull "docker://127.0.0.1:$port/a/c:1" --tls-verify=false --name c:1
	is "$(chains c:1)" "$(chains d:1)" 'chain ids'
	"${p[@]}" rmi -af >/dev/null
	stop_servers
}
layers_known() { # AT-LEAST
	[ "$(python3 -c 'import sqlite3, sys
try: print(sqlite3.connect("file:" + sys.argv[1] + "/meta.db?mode=ro", uri=True).execute("SELECT count(*) FROM layer_blobs").fetchone()[0])
except sqlite3.Error: print(0)' "$SNAP_ROOT")" -ge "$1" ]
}
# Killed between two layers: what was there is not fetched again
# Ctrl-C: nothing half is left, what was complete stays, and the next pull goes on from there
interrupt() { # SIGNAL STATUS: of a pull from $port that will not end soon, once a layer is there; its words are in int.err
	local pid status=0
	# a shell's jobs in the background ignore SIGINT, and so would what they start
	env --default-signal=INT snap --quiet pull "docker://127.0.0.1:$port/t/x:1" --tls-verify=false --name x:1 >int.out 2>int.err &
	pid=$!
	within 20 layers_known 1
	kill "-$1" $pid
	wait $pid 2>/dev/null || status=$?
	is "$status" "$2" "status after $1"
	is "$(cat int.out)" '' 'told as done'
}
goes_on() { # from a registry that is well
	local small
	is "$(snap --json images | jq -c .)" '[]' images
	flaky plain
	snap --json pull "docker://127.0.0.1:$port/t/x:1" --tls-verify=false --name x:1 >again.json
	is "$(jq .new_layers again.json)" 1 'layers that were not there'
	small=$(snap --json inspect x:1 | jq -r '.layers[1].digest')
	[ "$1" = 0 ] || small=$(snap --json inspect x:1 | jq -r '.layers[0].digest')
	is "$(grep -c "/blobs/$small" plain.log || :)" 0 'requests for the layer that was there'
	is "$(ls -A "$SNAP_ROOT/tmp")" '' 'left in tmp'
	snap --quiet fsck
	stop_servers
}
slow_line() { # BYTES a second, to a registry that is well
	flaky plain
	echo "{\"rate\": $1}" >control
	rm -f line.log
	python3 "$LIB/proxy.py" "$port" control >line.log 2>line.err &
	servers+=($!)
	within 20 test -s line.log
	port=$(head -n 1 line.log)
}
ended_well() {
	is "$(ls -A "$SNAP_ROOT/tmp")" '' 'left in tmp by the one that was interrupted'
	is "$(cat int.err)" "snap: pull 'docker://127.0.0.1:$port/t/x:1': interrupted (layers that are complete stay: pull it again, and it goes on from there)"
	stop_servers
}
test_interrupted_download() {
	layout
	slow_line 30000
	interrupt INT 130
	ended_well
	goes_on 0
	snap rmi x:1 && snap --quiet gc
	slow_line 30000
	interrupt TERM 143
	ended_well
	goes_on 0
	snap rmi x:1 && snap --quiet gc
	flaky stall # nothing comes any more
	interrupt INT 130
	ended_well
	goes_on 1
}
# Who cannot look ends all the same, as by the signal
test_interrupted_while_it_waits_for_a_lock() {
	local pid status=0
	layout
	snap images >images.out
	flock --no-fork "$SNAP_ROOT/locks/gc" sleep 100 &
	servers+=($!)
	within 20 grep -q " FLOCK .* $! " /proc/locks
	env --default-signal=INT snap --quiet pull oci:lay:1 --name x:1 >int.out 2>int.err &
	pid=$!
	within 20 grep -q -- "-> FLOCK .* $pid " /proc/locks
	kill -INT $pid
	wait $pid || status=$?
	is "$status" 130 'status'
	is "$(cat int.out int.err)" '' 'what it said'
	stop_servers
	snap --quiet pull oci:lay:1 --name x:1
	is "$(ls -A "$SNAP_ROOT/tmp")" '' 'left in tmp'
}
# On a terminal a line for each layer under way, and one for all, none of which stays
test_progress() {
	layout
	slow_line 100000
	script -qec "snap pull docker://127.0.0.1:$port/t/x:1 --tls-verify=false --name x:1" /dev/null </dev/null >tty.out
	grep -qP '^(\r?\e\[[0-9]+A\e\[J)?[0-9a-f]{12}  [0-9.]+ Ki?B of [0-9.]+ KiB, [0-9.]+ Ki?B/s\e\[K\r$' tty.out || fail "no line of a layer: $(cat -v tty.out)"
	grep -qP '[01] of 2 layers, [0-9.]+ [KM]?i?B of [0-9.]+ KiB\e\[K' tty.out || fail "no line for all: $(cat -v tty.out)"
	tail -n 2 tty.out | grep -qP '\e\[Jpulled x:1 ' || fail "no last line: $(tail -n 2 tty.out | cat -v)"
	# as many lines up as were drawn
	is "$(grep -oP '\e\[K\r$' tty.out | wc -l)" "$(grep -oP '\e\[[0-9]+A' tty.out | tr -cd '0-9\n' | paste -sd+ | bc)" 'lines drawn, and gone over'
	snap rmi x:1 && snap --quiet gc
	snap --progress pull "docker://127.0.0.1:$port/t/x:1" --tls-verify=false --name x:1 2>progress.err >pull.out
	grep -qP '^[01] of 2 layers, [0-9.]+ [KM]?i?B of [0-9.]+ KiB$' progress.err || fail "$(cat progress.err)"
	! grep -qP '\e' progress.err || fail "drawn on a file: $(cat -v progress.err)"
	snap rmi x:1 && snap --quiet gc
	snap pull "docker://127.0.0.1:$port/t/x:1" --tls-verify=false --name x:1 2>progress.err >pull.out
	is "$(wc -l <progress.err)" 1 'lines where nobody looks'
	stop_servers
}
test_killed_download() {
	local pid
	layout
	flaky stall
	snap --quiet pull "docker://127.0.0.1:$port/t/x:1" --tls-verify=false --name x:1 >kill.out 2>&1 &
	pid=$!
	within 20 layers_known 1
	kill -9 $pid
	wait $pid 2>/dev/null || :
	is "$(snap --json images | jq -c .)" '[]' images
	flaky plain
	snap --quiet pull "docker://127.0.0.1:$port/t/x:1" --tls-verify=false --name x:1
	is "$(blobs_asked plain.log)" 0 'requests for the layer that was there'
	snap --quiet fsck
	stop_servers
}

# It brings two dozen libraries that no command without a registry has to wait for; without it all else works.
test_libcurl_is_opened_when_needed() {
	LD_DEBUG=files snap ls >/dev/null 2>ld.log
	grep -q 'libcrypto' ld.log
	! grep -q 'libcurl' ld.log || fail 'snap ls opens libcurl'
	mkdir none
	: >none/libcurl.so.4 # the dynamic linker takes the first of the name
	export LD_LIBRARY_PATH=$PWD/none
	refused 1 'registries need libcurl.*install the package libcurl4' snap pull docker://127.0.0.1:1/x:1
	mkdir one
	image_of base:1 one
	snap doctor >doctor.out || true
	grep -q '^missing  registries .*libcurl' doctor.out
	unset LD_LIBRARY_PATH
	snap doctor >doctor.out || true
	grep -q '^ok  *registries  *libcurl' doctor.out
}
