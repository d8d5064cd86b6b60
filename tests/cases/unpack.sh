# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# images
# 'snap unpack': the same tree as umoci's, and as the mount's; and what another process can do to it.
DEBIAN=$IMAGES/DEBIAN

test_same_tree() {
	snap --quiet pull "oci:$DEBIAN:latest" --name d:1
	snap --json unpack d:1 tree >out 2>err
	is "$(jq -r '.ref + " " + .directory' out)" 'd:1 tree'
	is "$(find tree -mindepth 1 | wc -l)" "$(jq '.entries - .left_out' out)" 'entries'
	if [ "$(id -u)" = 0 ]; then
		is "$(jq '.soft_owners + .left_out' out)" 0 'what could not be given'
		umoci raw unpack --image "$DEBIAN:latest" umoci >/dev/null
		treecmp tree umoci || fail 'not what umoci unpacks'
		return
	fi
	# owners that an ordinary user cannot give are seen through snapfs, as the image's own are
	[ "$(jq .soft_owners out)" -gt 1000 ] || fail "$(cat out)"
	mkdir a b
	snapfs -o "lowerdir=$PWD/tree" "$PWD/a"
	snap view v d:1 >/dev/null
	snap mount --engine fuse v b >/dev/null 2>&1
	# what nobody but root of the image may look into is closed in both
	find b -type b -o -type c 2>/dev/null | wc -l >devices || :
	is "$(cat devices)" "$(jq .left_out out)" 'devices'
	diff <(shown a) <(shown b) >diff.out || fail "$(head -n 5 diff.out)"
	[ "$(shown a | wc -l)" -gt 5000 ] || fail 'hardly anything is shown'
	(cd b && find . -type f -readable -print0 2>/dev/null | xargs -0 sha256sum) >sums || :
	(cd a && sha256sum --quiet -c ../sums) || fail 'contents differ'
	fusermount3 -u a
	snap umount v
}

# Links have no owner that could be kept; directories' sizes are the file system's.
shown() {
	(cd "$1" && find . \! -type b \! -type c \! -type l \! -type d -printf '%P %y %m %U %G %s %n %T@\n' 2>/dev/null || :
	find . -type d -printf '%P %m %U %G %T@\n' 2>/dev/null || :
	find . -type l -printf '%P %l %T@\n' 2>/dev/null) | sort || :
}

test_all_kinds() {
	python3 "$LIB/mklayer.py" lay '[D("d", mode=0o2755), F("d/a", "one"), L("d/b", "d/a"), L("c", "d/a"), S("l", "/etc/passwd"), F("suid", "x", mode=0o4755), P("fifo"), D("ro", mode=0o555), F("ro/f", "kept")]'
	snap --quiet pull oci:lay:latest --name i:1
	(umask 077 && snap --quiet unpack i:1 tree)
	is "$(stat -c %h:%i tree/d/a)" "$(stat -c %h:%i tree/c)" 'names of one file'
	is "$(stat -c %h tree/d/b)" 3 'links'
	is "$(readlink tree/l)" /etc/passwd
	is "$(stat -c %F:%a tree/fifo)" fifo:644
	is "$(cat tree/ro/f)" kept
	if [ "$(id -u)" = 0 ]; then
		is "$(stat -c %a tree/ro)" 555
		is "$(stat -c %a tree/suid tree/d | paste -sd' ')" '4755 2755'
	else
		is "$(stat -c %a tree/suid tree/d | paste -sd' ')" '755 755'
		is "$(getfattr --only-values -n user.containers.override_stat tree/suid)" 0:0:04755
		is "$(getfattr --only-values -n user.containers.override_stat tree/ro)" 0:0:0555
	fi
	chmod -R u+w tree
	# into a directory that is there; not into one that holds something, nor through a file
	mkdir -m 750 empty
	snap --quiet unpack i:1 empty
	treecmp tree empty >/dev/null || :
	is "$(cat empty/d/a)" one
	refused 1 'is not empty' snap unpack i:1 empty
	is "$(cat empty/d/a)" one 'after a refusal'
	echo x >file
	refused 1 'ot a directory' snap unpack i:1 file
	refused 1 'no image' snap unpack i:2 new
	[ ! -e new ] || fail 'a directory for an image that is not there'
	refused 2 'unpack' snap unpack i:1
	chmod -R u+w empty
}

# a file system that is too small: one message, and nothing stays
test_no_space() {
	[ "$(id -u)" = 0 ] || return 0 # mounts: once is enough
	snap --quiet pull "oci:$DEBIAN:latest" --name d:1
	mkdir small
	mount -t tmpfs -o size=4M none small
	refused 1 'No space left' snap unpack d:1 small/new
	is "$(ls -A small)" '' 'what is left of a new directory'
	mkdir -m 750 small/there
	refused 1 'No space left' snap unpack d:1 small/there
	is "$(stat -c %a small/there) $(ls -A small/there)" '750 ' 'what is left in one that was there'
	umount small
}

# directories swapped for symlinks while it works: nothing outside is touched, whatever becomes of the tree
test_racing_swaps() {
	python3 "$LIB/mklayer.py" lay '[e for i in range(150) for e in (D(f"d{i}"), D(f"d{i}/s"), *(F(f"d{i}/s/f{k}", "image") for k in range(8)), L(f"d{i}/h", f"d{i}/s/f0"))]'
	snap --quiet pull oci:lay:latest --name i:1
	mkdir outside inner
	echo mine >inner/f0
	chmod 700 outside inner
	touch -d @1000 inner/f0 inner outside
	local i swapped=0
	for i in 1 2 3 4 5 6; do
		python3 - <<-'PY' &
			import os, time
			end = time.monotonic() + 20
			n = swaps = 0
			while time.monotonic() < end and not os.path.exists("stop"):
			    for path in (f"tree/d{n % 150}", f"tree/d{n % 150}/s"):
			        try:
			            os.rename(path, path + ".moved")
			            os.symlink(os.path.abspath("outside" if path.count("/") == 1 else "inner"), path)
			            swaps += 1
			        except OSError: pass
			    n += 7
			open("swaps", "a").write(f"{swaps}\n")
		PY
		snap --quiet unpack i:1 tree >/dev/null 2>&1 || :
		touch stop
		wait $!
		rm -rf tree stop
	done
	swapped=$(awk '{n += $1} END {print n}' swaps)
	[ "$swapped" -gt 0 ] || fail 'nothing was swapped'
	is "$(find outside inner -printf '%p %m %T@ '; cat inner/f0)" \
		'outside 700 1000.0000000000 inner 700 1000.0000000000 inner/f0 644 1000.0000000000 mine' "outside, after $swapped swaps"
}
