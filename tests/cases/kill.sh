# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# images
# kill -9 at any instant: what was told as done is there, the next command works without help, nothing is left over.
# KILL_PULLS=N: how many pulls of the small image are killed (40; 500 for a thorough run), and a third as many pulls from
# and pushes to a registry.

# shellcheck source=tests/lib/lazy.sh
. "$LIB/lazy.sh"

roll() { # WHAT: seeds the instants, and says with what (KILL_SEED=N repeats them)
	RANDOM=${KILL_SEED:-$((SECONDS + $$ * 7 + $(date +%s) % 30000))}
	seed=$RANDOM
	RANDOM=$seed
	echo "seed of $1: KILL_SEED=$seed"
}
now() { date +%s%N; }
# Runs a command in a process group of its own and kills that after some microseconds; $ended says
# whether it had ended by itself.
kill_after() { # MICROSECONDS COMMAND...
	local us=$1 pid end
	shift
	setsid "$@" >killed.out 2>killed.err </dev/null &
	pid=$!
	end=$(($(now) + us * 1000))
	while [ "$(now)" -lt "$end" ] && kill -0 "$pid" 2>/dev/null; do
		read -r -t 0.0005 <> <(:) || :
	done
	ended=''
	kill -0 "$pid" 2>/dev/null || ended=yes
	kill -KILL -- "-$pid" 2>/dev/null || :
	wait "$pid" 2>/dev/null && ended=yes || :
	# the first time was slower than it need be: the instants are to be on the way
	[ -z "$ended" ] || [ "$us" -ge "${took:-0}" ] || took=$us
}
microseconds() { # COMMAND...: how long it takes
	local began
	began=$(now)
	"$@" >/dev/null || fail "$* fails"
	took=$((($(now) - began) / 1000))
	[ $took -gt 0 ] || fail "the clock stands still"
}
clean() { # the store is sound, and nothing is left of what was killed
	snap fsck >fsck.out 2>&1 || fail "$1: fsck: $(cat fsck.out)"
	is "$(ls -A "$SNAP_ROOT/tmp")" '' "$1: tmp/"
}
small_image() { # a layout of three layers, 6 MB, 300 files
	python3 "$LIB/mklayer.py" small \
		'[D("./"), D("a")] + many(100, lambda k: F("a/f%d" % k, hashlib.sha512(b"%d" % k).digest() * 300))' \
		'[W("a/f1"), D("b")] + many(100, lambda k: F("b/f%d" % k, hashlib.sha512(b"b%d" % k).digest() * 300))' \
		'[O("a")] + many(100, lambda k: F("a/g%d" % k, hashlib.sha512(b"c%d" % k).digest() * 300))'
}
# A pull killed at an instant, in a store that holds another image: that one stays, this one is either
# there and right or not there at all, and pulling it again works.
pulls() { # HOW-OFTEN LAYOUT MARGIN: instants up to MARGIN/10 of the time that a whole pull takes
	local n=$1 layout=$2 margin=$3 k killed=0 done=0 digest=''
	digest=$(jq -r '.manifests[0].digest' "$layout/index.json")
	microseconds snap pull "oci:$layout:latest" --name new:1
	for ((k = 0; k < n; k++)); do
		local us=$((took * margin / 10 * (RANDOM % 1000) / 1000))
		snap rmi new:1 >/dev/null
		snap --quiet gc
		kill_after $us snap pull "oci:$layout:latest" --name new:1
		case $(snap --json images | jq -r 'map(.ref) | join(" ")') in # the next command, without help
		'keep:1 new:1') done=$((done + 1)) ;;
		keep:1)
			[ -z "$ended" ] || fail "kill $k after $us us: it said 'done', and the image is not there: $(cat killed.out killed.err)"
			killed=$((killed + 1))
			;;
		*) fail "kill $k after $us us: images: $(snap images)" ;;
		esac
		clean "kill $k after $us us"
		snap --json pull "oci:$layout:latest" --name new:1 >again.json
		is "$(jq -r .digest again.json)" "$digest" "kill $k after $us us: pulled again"
	done
	echo "$n pulls killed within $((took * margin / 10)) us: $killed not done, $done done"
	[ $killed -ge $((n / 4)) ] || fail "only $killed of $n pulls were killed on their way"
	enter "k$n" new:1 m
	umoci raw unpack --image "$layout:latest" plain >umoci.out 2>&1
	treecmp plain m >tree.diff || fail "after all: $(cat tree.diff)"
	rm -rf plain
	snap umount m
	snap rm "k$n"
}

test_pull() {
	roll pull
	python3 "$LIB/mklayer.py" keep '[F("keep", "kept")]'
	snap --quiet pull oci:keep:latest --name keep:1
	small_image
	pulls "${KILL_PULLS:-40}" small 11
}
test_pull_debian() {
	roll pull_debian
	python3 "$LIB/mklayer.py" keep '[F("keep", "kept")]'
	snap --quiet pull oci:keep:latest --name keep:1
	pulls 3 "$IMAGES/DEBIAN" 9
}

stored() { # digests of the layers that are finished
	python3 - "$SNAP_ROOT/meta.db" <<-'PY'
		import sqlite3, sys
		rows = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True).execute("SELECT digest FROM layer_blobs ORDER BY digest")
		print("\n".join(digest.removeprefix("sha256:") for digest, in rows))
	PY
}
asked() { # digests of the blobs that came over the line, whole or in part
	awk '$4 > 0 && match($1, /\/blobs\/sha256:/) {print substr($1, RSTART + RLENGTH)}' line.log | sort -u
}
# A pull from a registry killed at an instant: nothing that was finished is asked for again.
test_pull_registry() {
	roll pull_registry
	local n=$((${KILL_PULLS:-40} / 3)) k us killed=0 kept=0 again
	python3 "$LIB/mklayer.py" keep '[F("keep", "kept")]'
	snap --quiet pull oci:keep:latest --name keep:1
	small_image
	start_registry
	start_line
	spec=docker://127.0.0.1:$port/t/s:1
	skopeo --insecure-policy copy -q --dest-tls-verify=false oci:small:latest "docker://127.0.0.1:$reg/t/s:1"
	line '{"latency": 0.05}'
	microseconds snap pull "$spec" --tls-verify=false --name new:1
	# every other one late, when layers finish; and more until one had
	for ((k = 0; k < n || (n >= 10 && kept == 0 && k < 5 * n); k++)); do
		us=$((took * (k % 2 ? 700 + RANDOM % 600 : RANDOM % 1100) / 1000))
		snap rmi new:1 >/dev/null
		snap --quiet gc
		kill_after $us snap pull "$spec" --tls-verify=false --name new:1
		case $(snap --json images | jq -r 'map(.ref) | join(" ")') in
		'keep:1 new:1') ;;
		keep:1)
			[ -z "$ended" ] || fail "kill $k after $us us: it said 'done', and the image is not there: $(cat killed.out killed.err)"
			killed=$((killed + 1))
			;;
		*) fail "kill $k after $us us: images: $(snap images)" ;;
		esac
		clean "kill $k after $us us"
		stored >had
		: >line.log
		snap --quiet pull "$spec" --tls-verify=false --name new:1
		again=$(asked | comm -12 - had)
		[ -z "$again" ] || fail "kill $k after $us us: fetched again: $again"
		kept=$((kept + $(wc -l <had) - 1)) # without that of keep:1
		clean "kill $k after $us us, again"
	done
	echo "$k pulls killed within $((took * 13 / 10)) us: $killed not done, $kept layers of them kept"
	[ $killed -ge $((n / 4)) ] || fail "only $killed of $n pulls were killed on their way"
	[ "$n" -lt 10 ] || [ $kept -gt 0 ] || fail 'no pull ever kept a layer that it had finished'
}
# What the registry has of the repository, and what was sent to it: POST and PUT name a digest when one is finished.
linked() { find "registry/docker/registry/v2/repositories/t/$1/_layers/sha256" -name link -printf '%h\n' 2>/dev/null | sed 's:.*/::' | sort || :; }
sent() { sed -nE 's/.*"PUT \/v2\/t\/[^ ]*digest=sha256(:|%3A)([0-9a-f]{64}).*/\2/p' registry.log | sort; }
# A push killed at an instant: the registry has the image or not, the store is as it was, the next push sends the rest.
test_push_registry() {
	roll push_registry
	local n=$((${KILL_PULLS:-40} / 3)) k us killed=0 kept=0 twice digest
	small_image
	digest=$(jq -r '.manifests[0].digest' small/index.json)
	snap --quiet pull oci:small:latest --name s:1
	start_registry
	microseconds snap push s:1 "docker://127.0.0.1:$reg/t/first:1" --tls-verify=false
	for ((k = 0; k < n; k++)); do
		us=$((took * 11 / 10 * (RANDOM % 1000) / 1000))
		kill_after $us snap push s:1 "docker://127.0.0.1:$reg/t/r$k:1" --tls-verify=false
		if skopeo inspect --raw --tls-verify=false "docker://127.0.0.1:$reg/t/r$k:1" >manifest 2>/dev/null; then
			is "sha256:$(sha256sum <manifest | cut -d' ' -f1)" "$digest" "kill $k after $us us: manifest"
		else
			[ -z "$ended" ] || fail "kill $k after $us us: it said 'done', and the image is not there: $(cat killed.out killed.err)"
			killed=$((killed + 1))
		fi
		clean "kill $k after $us us"
		linked "r$k" >there
		: >registry.log
		snap --quiet push s:1 "docker://127.0.0.1:$reg/t/r$k:1" --tls-verify=false
		twice=$(sent | comm -12 - there)
		[ -z "$twice" ] || fail "kill $k after $us us: sent again: $twice"
		kept=$((kept + $(wc -l <there)))
		is "$(skopeo inspect --tls-verify=false "docker://127.0.0.1:$reg/t/r$k:1" | jq -r .Digest)" "$digest" "kill $k after $us us: pushed again"
	done
	echo "$n pushes killed within $((took * 11 / 10)) us: $killed not done, $kept blobs were there already"
	[ $killed -ge $((n / 4)) ] || fail "only $killed of $n pushes were killed on their way"
	skopeo --insecure-policy copy -q --src-tls-verify=false "docker://127.0.0.1:$reg/t/r0:1" oci:back:1
	is "$(jq -r '.manifests[0].digest' back/index.json)" "$digest" 'what skopeo reads'
}

test_commit() {
	roll commit
	local k n=25 us killed=0 wanted
	small_image
	snap --quiet pull oci:small:latest --name small:1
	enter k small:1 m
	rm m/a/g1
	cp -a m/b m/c
	head -c 3000000 /dev/urandom >m/random
	snap umount m
	microseconds snap commit --image first:1 k --timestamp 1700000000
	wanted=$(snap --json images | jq -r '.[] | select(.ref == "first:1").digest')
	for ((k = 0; k < n; k++)); do
		us=$((took * 11 / 10 * (RANDOM % 1000) / 1000))
		snap rmi first:1 >/dev/null
		snap --quiet gc
		kill_after $us snap commit --image first:1 k --timestamp 1700000000
		case $(snap --json images | jq -r 'map(.ref) | sort | join(" ")') in
		'first:1 small:1') ;;
		small:1)
			[ -z "$ended" ] || fail "kill $k after $us us: it said 'done', and the image is not there"
			killed=$((killed + 1))
			;;
		*) fail "kill $k after $us us: images: $(snap images)" ;;
		esac
		clean "kill $k after $us us"
		is "$(snap --json ls | jq -r 'map(.key) | join(" ")')" k "kill $k after $us us: snapshots"
		snap commit --image first:1 k --timestamp 1700000000 >/dev/null
		is "$(snap --json images | jq -r '.[] | select(.ref == "first:1").digest')" "$wanted" "kill $k after $us us: committed again"
	done
	echo "$n commits killed within $((took * 11 / 10)) us: $killed not done"
	[ $killed -ge $((n / 4)) ] || fail "only $killed of $n commits were killed on their way"
}

server_of() { # MOUNTPOINT: the snapfs that serves it
	local pid
	for pid in $(pgrep -x snapfs); do
		tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qxF "$(realpath -m "$1")" && echo "$pid" && return 0
	done
	fail "nobody serves $1: $(ps ax)"
}
# Writes numbered files, each closed and synced, then told in `told`; as long as the mount lives.
writer() {
	local n=0
	while echo "content $n" >"m/a/w$n" && sync "m/a/w$n" && mv "m/a/w$n" "m/a/done$n" && sync m/a && echo "$n" >>told; do
		{ echo more >>m/b/f5 && rm -f "m/b/f$((n % 90 + 6))" && mkdir -p "m/d$((n % 7))/e" && mv m/c/x m/c/y && mv m/c/y m/c/x; } || break
		n=$((n + 1))
	done
} 2>/dev/null
test_snapfs() {
	roll snapfs
	local k us n pid server total=0
	small_image
	snap --quiet pull oci:small:latest --name small:1
	enter k small:1 m
	mkdir m/c
	echo x >m/c/x
	for ((k = 0; k < 15; k++)); do
		: >told
		us=$((20000 + RANDOM * 10))
		server=$(server_of m)
		writer &
		pid=$!
		read -r -t "0.$(printf %06d $us)" <> <(:) || : # the instant
		kill -KILL "$server"
		wait $pid || :
		within 10 eval "! kill -0 $server 2>/dev/null"
		! ls m >/dev/null 2>&1 || fail "kill $k: the mount lives without its server"
		snap --quiet mount k m --engine fuse || fail "kill $k: not mounted again"
		while read -r n; do
			is "$(cat "m/a/done$n")" "content $n" "kill $k after $us us: what was synced"
			total=$((total + 1))
		done <told
		[ -e m/c/x ] || [ -e m/c/y ] || fail "kill $k: the file that was being renamed is gone"
		[ ! -e m/c/x ] || [ ! -e m/c/y ] || fail "kill $k: the file that was being renamed is there twice"
		[ ! -e m/c/y ] || mv m/c/y m/c/x
		is "$(cat m/a/g7 | sha256sum)" "$(python3 -c 'import hashlib, sys; sys.stdout.buffer.write(hashlib.sha512(b"c7").digest() * 300)' | sha256sum)" 'a file of the image'
		rm -f m/a/done* m/a/w*
	done
	echo "15 kills of snapfs, $total synced files found again"
	[ $total -ge 15 ] || fail "only $total files were written"
	snap umount m
	clean 'after 15 kills'
	snap --quiet commit --image after:1 k
	enter l after:1 m
	is "$(cat m/c/x)" x 'in the image committed then'
	snap umount m
}

# Kills COMMAND at $n instants over the time it takes. BEFORE makes its starting point, AFTER must find one of
# the two states that there can be, bring the store to the end, and say on stdout which it was: whole or none.
everywhere() { # BEFORE AFTER COMMAND...
	local before=$1 after=$2 k us state killed=0 n=12
	shift 2
	$before
	microseconds "$@"
	$after >/dev/null || fail "after a whole '$*'"
	for ((k = 0; k < n; k++)); do
		$before
		us=$((took * 11 / 10 * (RANDOM % 1000) / 1000))
		kill_after $us "$@"
		state=$($after) || fail "kill $k of '$*' after $us us"
		[ "$state" = whole ] || [ -z "$ended" ] || fail "'$*' said 'done', and it is not: $(cat killed.out killed.err)"
		[ "$state" = whole ] || killed=$((killed + 1))
		clean "kill $k of '$*' after $us us"
	done
	echo "$n times '$*' within $took us: $killed not done"
	stopped=$((stopped + killed))
}
has() { [ "$(snap --json ls | jq -r --arg k "$1" 'map(select(.key == $k)) | length')" = 1 ]; } # KEY
no_snapshots() { [ "$(ls -A "$SNAP_ROOT/snapshots")" = '' ] || fail "in snapshots/: $(ls "$SNAP_ROOT/snapshots")"; }
nothing() { :; }
after_prepare() {
	if has k; then echo whole; else echo none && snap --quiet prepare k small:1; fi
	snap rm k && snap --quiet gc && no_snapshots
}
a_written_snapshot() {
	snap --quiet prepare k small:1
	local id
	id=$(ls "$SNAP_ROOT/snapshots")
	mkdir "$SNAP_ROOT/snapshots/$id"/upper/{x,y}
	(cd "$SNAP_ROOT/snapshots/$id/upper" && touch x/{1..300} y/{1..300})
}
after_rm() {
	if has k; then echo none && snap rm k; else echo whole; fi
	snap --quiet gc && no_snapshots
}
after_commit() {
	if has c; then
		! has k && echo whole || return 1
	else
		echo none && has k && snap commit c k || return 1
	fi
	snap --quiet prepare l c && snap rm l && snap rm c && snap --quiet gc && no_snapshots
}
garbage() { snap --quiet pull oci:keep:latest --name keep:1 >/dev/null && snap rmi keep:1 >/dev/null; }
after_gc() {
	if [ "$(find "$SNAP_ROOT/layers" -name data | wc -l)" = 3 ]; then echo whole; else echo none && snap --quiet gc; fi
	[ "$(find "$SNAP_ROOT/layers" -name data | wc -l)" = 3 ]
}
after_push() {
	if [ -f out/index.json ] && [ "$(jq '.manifests | length' out/index.json)" = 1 ]; then
		echo whole
	else
		echo none && snap push small:1 oci:out:1 >/dev/null
	fi
	skopeo inspect oci:out:1 >/dev/null && (cd out/blobs/sha256 && sha256sum -- [0-9a-f]* | awk '$1 != $2 {exit 1}') && rm -rf out
}
a_snapshot() { has k || snap --quiet prepare k small:1; }
after_mount() {
	if snap --quiet umount k 2>/dev/null; then echo whole; else echo none; fi
	# a server that was started still may come up behind its killed starter
	local end=$((SECONDS + 30))
	until snap --quiet mount k m --engine fuse 2>again.err; do
		[ $SECONDS -lt $end ] || fail "not mounted: $(cat again.err)"
		snap umount k 2>/dev/null || :
	done
	[ "$(find m -name 'f*' | wc -l)" = 100 ] && snap umount k
}
test_other_commands() {
	roll other_commands
	stopped=0
	small_image
	python3 "$LIB/mklayer.py" keep 'many(50, lambda k: F("f%d" % k, "kept"))'
	snap --quiet pull oci:small:latest --name small:1
	everywhere nothing after_prepare snap --quiet prepare k small:1
	everywhere a_written_snapshot after_rm snap rm k
	everywhere a_snapshot after_commit snap commit c k
	everywhere garbage after_gc snap --quiet gc
	everywhere nothing after_push snap push small:1 oci:out:1
	mkdir m
	everywhere a_snapshot after_mount snap mount k m --engine fuse
	snap rm k
	within 10 eval '! pgrep -x snapfs >/dev/null'
	[ $stopped -ge 10 ] || fail "only $stopped of 72 were killed on their way"
}
