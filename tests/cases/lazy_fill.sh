# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# images
# How lazy images are filled: by lists of an earlier run, at a rate, from an index that was made elsewhere; and what
# comes in between: kills, a full disk, several at once, a line that fails at random.
# SNAP_LAZY_STEPS: steps of the random test (30); SNAP_LAZY_SEED: its seed.

# shellcheck source=tests/lib/lazy.sh
. "$LIB/lazy.sh"

record() { # FILE NAME...: what reading these files of the image reads
	local list=$1 name
	shift
	snap prepare r m:2 >/dev/null
	mkdir -p r.mnt
	snap --quiet mount r r.mnt --engine fuse -o "record=$list"
	for name in "$@"; do
		cat "r.mnt/$name" >/dev/null
	done
	snap umount r
	snap rm r
}
has_blob_bytes() { [ "$(blob_bytes)" -gt 0 ]; }
is_still() { # nothing more comes
	local n
	n=$(fetched)
	[ "$n" -gt 0 ] && read -r -t 0.5 <> <(:)
	[ "$n" = "$(fetched)" ]
}

test_record() {
	local layer n
	medium
	record list f20 f3 f11
	is "$(head -n 1 list)" '# snap record 1' 'first line'
	is "$(awk '$1 ~ /^sha256:/ {print $4}' list | uniq | tr '\n' ' ')" '/f20 /f3 /f11 ' 'paths in order'
	grep -vE '^(# .*|sha256:[0-9a-f]{64} [0-9]+ [0-9]+ /.*)$' list && fail 'a line of another form'
	# the bytes are those of the files, where the list says they are
	while read -r layer n len path; do
		dd if="$SNAP_ROOT/layers/sha256/${layer#sha256:}/data" bs=64K skip="$n" count="$len" iflag=skip_bytes,count_bytes status=none |
			cmp - "content$path"
	done < <(grep '^sha256' list)
	# a file whose name has everything in it, and one that is read through a copy-up
	mkdir odd
	printf 'odd' >"odd/a"$'\n''b\c,d'
	head -c 200000 /dev/urandom >odd/copied
	image_of o:1 odd
	snap prepare o o:1 >/dev/null
	mkdir o.mnt
	snap --quiet mount o o.mnt --engine fuse -o 'record=odd\,list'
	cat o.mnt/a* >/dev/null
	echo more >>o.mnt/copied
	snap umount o
	grep -qF ' /a\012b\134c,d' odd,list || fail "names: $(cat odd,list)"
	grep -q ' /copied$' odd,list || fail "copy-up: $(cat odd,list)"
	refused 1 "record '/nowhere/list'" snap mount o o.mnt --engine fuse -o record=/nowhere/list
}
test_prefetch() {
	published
	record list f20 f3 f11
	# the list goes with the index
	snap index push m:2 "docker://127.0.0.1:$reg/t/m:2" --tls-verify=false --prefetch list >/dev/null
	export SNAP_FILL_TIMEOUT=2
	lazily prefetch
	within 20 has_blob_bytes
	within 20 is_still
	[ "$(fetched)" -lt $(($(other --json images | jq -re '.[0].needed') / 2)) ] || fail "$(fetched) bytes for three files"
	line '{"down": true}'
	for n in 20 3 11; do cmp "m/f$n" "content/f$n"; done
	cat m/f36 >/dev/null 2>&1 && fail 'a file that is on no list was here'
	finish
	other umount k
	rm -rf other
	# a list of one's own; without one it is told that there is none
	record mine f30
	other --json pull --lazy prefetch --prefetch mine --tls-verify=false --name m:2 "$spec" | jq -e '.prefetch >= 1 and .prefetch <= 4' >/dev/null
	within 20 is_still
	snap index push m:2 "docker://127.0.0.1:$reg/t/m:2" --tls-verify=false >/dev/null
	rm -rf other
	other pull --lazy prefetch --tls-verify=false --name m:2 "$spec" 2>told >/dev/null
	grep -q 'nothing is fetched first' told || fail "told: $(cat told)"
	# what is no list is refused before anything happens
	rm -rf other
	echo nonsense >bad
	refused 1 "'bad': it does not begin with" other --quiet pull --lazy prefetch --prefetch bad --tls-verify=false --name m:2 "$spec"
	printf '# snap record 1\nsha256:77 1 2 /x\n' >bad
	refused 1 "'bad': line 2 is not" other --quiet pull --lazy prefetch --prefetch bad --tls-verify=false --name m:2 "$spec"
	is "$(other --json images | jq length)" 0 images
	refused 2 'needs --lazy prefetch' snap pull --lazy metadata --prefetch mine "$spec"
	refused 2 'go with --lazy' snap pull --prefetch mine "$spec"
	refused 2 'goes with export and push' snap index ls m:2 --prefetch mine
}
# Lists come first also when the rest is to come, and a pull of the same image later may ask for more.
test_rate() {
	local all start
	published
	start=$(date +%s)
	other --quiet pull --lazy background --rate 100K --tls-verify=false --name m:2 "$spec"
	all=$(other --json images | jq -re '.[0].needed')
	within 30 has_blob_bytes
	within 30 is_still_slow
	# no faster than told, but for what is under way
	[ "$(blob_bytes)" -le $((($(date +%s) - start + 2) * 102400 + 2000000)) ] || fail "$(blob_bytes) bytes in $(($(date +%s) - start)) s"
	[ "$(fetched)" -lt "$all" ] || fail 'complete at once'
	other --quiet pull --lazy background --tls-verify=false --name m:2 "$spec"
	within 60 is_complete
	other --quiet fsck
	refused 2 'no number of bytes' snap pull --lazy background --rate much "$spec"
	refused 2 'is of --lazy background' snap pull --lazy metadata --rate 1M "$spec"
}
is_still_slow() { [ "$(fetched)" -gt 0 ]; }
# The registry goes while the rest is on its way: it comes by itself when the registry is back, though nobody reads.
test_background_recovers() {
	published
	export SNAP_FILL_TIMEOUT=1
	line '{"rate": 2000000}'
	other --quiet pull --lazy background --tls-verify=false --name m:2 "$spec"
	within 20 has_blob_bytes
	line '{"down": true}'
	within 20 grep -qs 'layer' other/run/fill.log
	is "$(state)" lazy state
	line '{}'
	within 60 is_complete
	other --quiet fsck
}
test_index_import() {
	local digest blob
	medium
	snap --quiet push m:2 oci:lay:2
	digest=$(snap index export m:2 oci:side)
	# the image from one place, its index from another
	refused 1 'not the expected one' other --quiet pull --lazy metadata --index oci:side --expect "sha256:$(printf %064d 1)" --name m:2 oci:lay:2
	is "$(other --json images | jq length)" 0 images
	other --quiet pull --lazy metadata --index oci:side --expect "$digest" --name m:2 oci:lay:2
	is "$(fetched)" 0 'bytes before the first read'
	rm -rf other
	refused 1 'has no tag .sha256-' other --quiet pull --lazy metadata --index oci:lay --name m:2 oci:lay:2
	# whole, and then an index made elsewhere: it need not be made here
	other --quiet pull --name m:2 oci:lay:2
	other index ls m:2 --json | jq -e 'all(.state == "missing")' >/dev/null
	refused 1 'not the expected one' other index import m:2 oci:side --expect "sha256:$(printf %064d 1)"
	is "$(other index import m:2 oci:side --expect "$digest")" '2 layers taken, 0 had already, 0 left out' import
	is "$(other index import m:2 oci:side)" '0 layers taken, 2 had already, 0 left out' import
	is "$(other index export m:2 oci:again)" "$digest" 'what is exported from it'
	# one whose spans lie is found out
	rm -rf other
	other --quiet pull --name m:2 oci:lay:2
	python3 - <<-'PY'
		import hashlib, json, pathlib, struct
		lay = pathlib.Path("side")
		def path(d): return lay / "blobs" / d["digest"].replace(":", "/")
		def write(d, data):
		    d["digest"], d["size"] = "sha256:" + hashlib.sha256(data).hexdigest(), len(data)
		    path(d).write_bytes(data)
		top = json.loads((lay / "index.json").read_text())
		tag = top["manifests"][0]
		index = json.loads(path(tag).read_bytes())
		manifest = json.loads(path(index["manifests"][0]).read_bytes())
		layer = manifest["layers"][0]
		data = bytearray(path(layer).read_bytes())
		raw, n, spans = struct.unpack_from("<QQQ", data, 16)
		at = 40 + n + 256 + 24  # the digest of the first span
		data[at + 8] ^= 1
		body = data[40 + n:]
		write(layer, bytes(data))
		write(index["manifests"][0], json.dumps(manifest).encode())
		write(tag, json.dumps(index).encode())
		(lay / "index.json").write_text(json.dumps(top))
	PY
	other index import m:2 oci:side >import.out 2>import.err
	is "$(cat import.out)" '1 layers taken, 0 had already, 1 left out' 'import of a lie'
	grep -q 'not taken: .*lazy index' import.err || grep -q 'not taken' import.err || fail "told: $(cat import.err)"
	refused 2 'goes with import' snap index export m:2 oci:side --expect "$digest"
	refused 2 'is no digest' snap index import m:2 oci:side --expect 17
}
# Files that are open and mapped when the last byte comes: they go on, and the network is not asked again.
test_open_while_completed() {
	published
	lazily metadata
	cat >hold.py <<-'PY'
		import mmap, os, sys
		files = [open(f"m/f{n}", "rb", buffering=0) for n in (3, 20, 35)]
		maps = [mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) for f in files]
		first = [f.read(4096) for f in files]
		open("holding", "w").close()
		sys.stdin.readline()
		for n, f, m, head in zip((3, 20, 35), files, maps, first):
		    want = open(f"content/f{n}", "rb").read()
		    assert m[:] == want, f"map of f{n}"
		    assert head + f.read() == want[:4096] + want[4096:], f"read of f{n}"
		late = open("m/f33", "rb").read()
		assert late == open("content/f33", "rb").read()
		print("same")
	PY
	mkfifo go
	python3 hold.py <go >held 2>&1 &
	exec 9>go
	within 20 test -e holding
	other --quiet fill m:2
	is "$(state)" complete state
	line '{"down": true}'
	rm -rf line.gone
	echo >&9
	exec 9>&-
	within 20 grep -q . held
	is "$(cat held)" same 'files that were open'
	same
	other umount k
	# and who mounts it now gets the fastest engine there is
	other prepare fresh m:2 >/dev/null
	other mount fresh m >mount.out 2>&1
	snap prepare eager m:2 >/dev/null
	mkdir eager.mnt
	snap mount eager eager.mnt >eager.out 2>&1
	is "$(awk '{print $2; exit}' mount.out)" "$(awk '{print $2; exit}' eager.out)" engine
	same
	other umount fresh
	snap umount eager
}
test_disk_full() {
	local failed=0 n
	published
	mkdir other
	mount -t tmpfs -o size=9M tmpfs other
	export SNAP_FILL_TIMEOUT=3
	lazily metadata
	for n in m/f*; do
		cat "$n" >/dev/null 2>read.err || failed=$((failed + 1))
	done
	[ $failed -gt 0 ] || fail 'everything fitted'
	grep -q 'Input/output error' read.err || fail "$(cat read.err)"
	# room for fsck itself, which merges the chain again; nobody reads meanwhile
	mount -o remount,size=64M other
	other --quiet fsck
	finish
	other umount k
	umount -l other
}
# Several who would be the filler, several mounts, several readers: each span comes once.
test_many_at_once() {
	local all n
	published
	lazily metadata
	other prepare k2 m:2 >/dev/null
	mkdir m2
	other --quiet mount k2 m2
	for n in 1 2 3 4; do
		other fill --serve --background &
	done
	find m m2 -type f -print0 | xargs -0 -P 8 -n 5 cat >/dev/null
	other --quiet fill m:2 &
	n=$!
	other --quiet fill m:2
	wait "$n"
	diff -r m m2
	same
	all=$(other --json images | jq -re '.[0].size')
	[ "$(blob_bytes)" -le $((all + all / 10)) ] || fail "$(blob_bytes) bytes for $all: some spans came twice"
	other --quiet fsck
	other umount k
	other umount k2
}
server_pids() { # of what is mounted at m, and of what that is just starting
	local p
	for p in /proc/[0-9]*; do
		[[ $(tr '\0' ' ' 2>/dev/null <"$p/cmdline") == *"snapfs "*"$PWD/m " ]] && basename "$p"
	done
	return 0
}
mounted_again() { other --quiet mount k m 2>mount.err; } # the kernel may not know of the server's end yet
# Everything that can go wrong, at random: what is read is right or an error, and what is said to be here is.
test_random() {
	local seed=${SNAP_LAZY_SEED:-$((RANDOM * 32768 + RANDOM))} steps=${SNAP_LAZY_STEPS:-30} i n pid errors=0 kills=0
	echo "seed $seed, $steps steps" >&2
	RANDOM=$((seed % 32768))
	published
	export SNAP_FILL_TIMEOUT=2
	lazily background
	for ((i = 0; i < steps; i++)); do
		case $((RANDOM % 12)) in
		0) line '{"down": true}' ;;
		1) line '{"drop": 0.5, "latency": 0.01}' ;;
		2) line '{"corrupt": 0.3}' ;;
		3) line "{\"rate\": $((200000 + RANDOM * 30)), \"corrupt\": 0.1, \"drop\": 0.2}" ;;
		4 | 5) pid=$(filler_pid) && kill -9 "$pid" && kills=$((kills + 1)) ;;
		6)
			pid=$(server_pids)
			[ -n "$pid" ] || continue # complete by now: the kernel's own
			# shellcheck disable=SC2086 # numbers
			kill -9 $pid && kills=$((kills + 1))
			(within 20 mounted_again) || fail "step $i, seed $seed: $(cat mount.err)"
			;;
		7) other --quiet fsck ;;
		8) other fill --serve --background ;;
		*) line '{}' ;;
		esac
		n=f$((RANDOM % 40))
		[ -e "content/$n" ] || continue
		if cat "m/$n" >got 2>/dev/null; then
			cmp got "content/$n" || fail "wrong bytes in $n at step $i, seed $seed"
		else
			errors=$((errors + 1))
		fi
		[ $((i % 25)) != 24 ] || again
	done
	echo "$errors reads failed, $kills kills" >&2
	other --quiet fsck
	finish
	other umount k
}
again() { # from nothing, so that a long run does not end up with everything here
	other umount k
	other rm k
	other --quiet rmi m:2
	other --quiet gc >/dev/null
	is "$(find other/layers other/blobs -type f | wc -l)" 0 'files behind gc'
	line '{}'
	lazily background
}
test_debian() { image_behind_line DEBIAN python3 -c 'print(6 * 7)'; }
test_node() { image_behind_line NODE node -v; }
image_behind_line() { # IMAGE COMMAND...: starts, then is read to the end, over a line that fails; bytes counted
	local image=$1 all want
	shift
	start_registry
	snap --quiet pull "oci:$IMAGES/$image:latest" --name "$image:1"
	snap --quiet push "$image:1" "docker://127.0.0.1:$reg/t/${image,,}:1" --tls-verify=false
	snap --quiet index push "$image:1" "docker://127.0.0.1:$reg/t/${image,,}:1" --tls-verify=false
	start_line
	line '{"latency": 0.01, "drop": 0.05, "corrupt": 0.02}'
	enter "whole-$image" "$image:1" whole
	want=$(chroot whole "$@")
	other --quiet pull --lazy metadata --tls-verify=false --name "$image:1" "docker://127.0.0.1:$port/t/${image,,}:1"
	is "$(blob_bytes)" 0 'bytes of layers at the pull'
	other prepare "k-$image" "$image:1" >/dev/null
	mkdir -p m
	other --quiet mount "k-$image" m
	is "$(chroot m "$@")" "$want" "$image: first output"
	all=$(other --json images | jq -re '.[0].needed')
	[ "$(fetched)" -lt $((all * 40 / 100)) ] || fail "$image: $(fetched) of $all bytes for the first output"
	[ "$(blob_bytes)" -lt $((all / 2)) ] || fail "$image: $(blob_bytes) of $all bytes over the line for the first output"
	treecmp whole m
	[ "$(blob_bytes)" -le $((all * 5 / 4)) ] || fail "$image: $(blob_bytes) bytes over the line for $all"
	other --quiet fill "$image:1"
	is "$(state)" complete state
	other --quiet fsck
	other umount "k-$image"
	snap umount "whole-$image"
}
