# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# images
# What examples/ shows is true.

debian() { snap --quiet pull "oci:$IMAGES/DEBIAN:latest" --name d:1 >/dev/null; }
fetch() { python3 -c 'import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1], timeout=5).read().decode())' "$1"; }

test_web_server() {
	debian
	local port=$((12000 + RANDOM % 20000)) pid status=0
	mkdir -p site/sub && echo 'hello from nginx' >site/index.html && echo deep >site/sub/page && chmod 700 site/sub
	"$TESTS/../examples/web-server" d:1 web:1 site $port >log 2>&1 || { tail -n 20 log >&2 && fail 'web-server'; }
	is "$(snap --json ls | jq length)" 0 'snapshots that are left'
	snap --json inspect web:1 >json
	is "$(jq -c '[(.layers | length), .config.config.Entrypoint[0], .config.config.StopSignal, (.config.history | length)]' json)" \
		"[$(($(snap --json inspect d:1 | jq '.layers | length') + 2)),\"nginx\",\"SIGQUIT\",$(($(snap --json inspect d:1 | jq '.config.history | length') + 7))]"
	snap run --rm web:1 >nginx.log 2>&1 &
	pid=$!
	answers() { fetch "http://127.0.0.1:$port/" >got 2>/dev/null; }
	within 30 answers
	is "$(cat got) $(fetch "http://127.0.0.1:$port/sub/page")" 'hello from nginx deep'
	kill -QUIT $pid
	wait $pid || status=$?
	is $status 0 "nginx ends: $(cat nginx.log)"
	grep -q 'GET /sub/page' nginx.log || fail "$(cat nginx.log)"
}
# What was done, and what of it has a layer, line by line; but for the digest of what was copied.
lines_of_history() { jq -c '.history[] | [.created_by, .empty_layer // false]' | sed 's/\(file\|dir\):[0-9a-f]\{64\} in/\1:DIGEST in/'; }
same_history_as_buildahs() {
	containers_conf
	{ echo 'FROM localhost/d:1' && cat steps; } >Dockerfile
	skopeo copy -q "oci:$IMAGES/DEBIAN:latest" "containers-storage:[overlay@$PWD/storage+/mnt/run]localhost/d:1"
	local b=(buildah --root "$PWD/storage" --runroot /mnt/run --storage-driver overlay)
	"${b[@]}" bud -q --isolation chroot --layers --pull-never -t localhost/b:1 -f Dockerfile context >/dev/null 2>buildah.err || fail "$(cat buildah.err)"
	"${b[@]}" inspect --type image localhost/b:1 | jq .OCIv1 | lines_of_history >theirs
	snap --json inspect b:1 | jq .config | lines_of_history >ours
	[ "$(wc -l <ours)" -ge 6 ] || fail "few lines: $(cat ours)"
	diff theirs ours || fail 'the history is another one than buildah writes'
}
test_cached_build() {
	debian
	local build=$TESTS/../examples/cached-build one
	export SOURCE_DATE_EPOCH=1700000000
	mkdir context && echo one >context/file && mkdir context/dir && echo x >context/dir/x
	cat >steps <<-'STEPS'
		# a comment
		RUN echo first >/srv/first; chown daemon /srv/first

		COPY file /srv/copied
		COPY dir /srv/dir
		RUN cat /srv/first /srv/copied >/srv/both
		CMD ["cat", "/srv/both"]
	STEPS
	"$build" d:1 b:1 steps context >log
	is "$(grep -c ^doing log)" 4 "steps: $(cat log)"
	is "$(snap run --rm b:1 | paste -sd' ')" 'first one'
	is "$(snap run --rm b:1 stat -c %U:%G /srv/first /srv/dir/x | paste -sd' ')" 'daemon:root root:root'
	one=$(snap --json inspect b:1 | jq -r .digest)
	"$build" d:1 b:2 steps context >log
	is "$(grep -c ^cached log)" 4 "steps: $(cat log)"
	is "$(snap --json inspect b:2 | jq -r .digest)" "$one" 'the image from the cache'
	[ "$(id -u)" != 0 ] || same_history_as_buildahs
	echo two >context/file
	sed -i '$s/both/copied/' steps
	"$build" d:1 b:3 steps context >log
	is "$(cut -d' ' -f1 log | head -n 4 | paste -sd' ')" 'cached doing doing doing' "$(cat log)"
	is "$(snap run --rm b:3 | paste -sd' ')" two
	! "$build" d:1 b:4 <(echo 'RUN exit 3') >log 2>&1 || fail 'a failed step'
	! snap --json ls | jq -e '.[] | select(.key | startswith("build-"))' || fail 'a failed step leaves its snapshot'
}
