# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# podman and buildah with snapfs as their mount program: what they do with it, beside what they do
# with the kernel's overlayfs.

NAME=localhost/base:1
APPLETS='sh cat ls stat rm mv mkdir rmdir echo touch chown chmod ln id find sleep test true sort tr cp'

# An image of two layers: programs, and what a second layer hides and changes.
make_image() {
	mkdir -p one/bin one/etc one/opq one/mv/sub one/tmp one/data two/opq
	cp "$(command -v busybox)" one/bin/busybox
	local a
	for a in $APPLETS; do ln one/bin/busybox "one/bin/$a"; done
	printf 'root:x:0:0:root:/:/bin/sh\ngames:x:5:60:games:/:/bin/sh\n' >one/etc/passwd
	echo old >one/opq/old && echo gone >one/gone && echo keep >one/keep && chmod 1777 one/tmp
	for a in 1 2 3; do echo "$a" >one/mv/sub/f$a; done
	ln -s ../keep one/mv/link
	printf '%s\n' 'FROM scratch' 'COPY one /' 'CMD ["/bin/cat", "/keep"]' >Dockerfile
	"$@" bud -q --layers=false -t localhost/one:1 . >/dev/null
	printf '%s\n' 'FROM localhost/one:1' 'RUN rm /gone && rm -rf /opq && mkdir /opq && echo new >/opq/new && chown -R 5:60 /data' >Dockerfile
	"$@" bud -q --layers=false --pull-never -t $NAME . >/dev/null
}
# Programs with stores of their own: $p podman and $b buildah through snapfs; $np and $nb through the kernel.
begin() {
	run=$(mktemp -d /mnt/p.XXXXXX)
	trap 'end' EXIT
	containers_conf
	export BUILDAH_ISOLATION=chroot XDG_RUNTIME_DIR=$run
	export TMPDIR=$PWD
	local mp
	mp=$(command -v snapfs)
	local ours=(--root "$PWD/g" --runroot "$run/r" --storage-driver overlay --storage-opt "overlay.mount_program=$mp")
	local kernel=(--root "$PWD/n" --runroot "$run/n" --storage-driver overlay)
	# shellcheck disable=SC2034
	p=(podman "${ours[@]}" --runtime runc) b=(buildah "${ours[@]}")
	# shellcheck disable=SC2034
	np=(podman "${kernel[@]}" --runtime runc) nb=(buildah "${kernel[@]}")
}
# As root of the user namespace that podman uses, where it uses one.
inside() {
	if [ "$(id -u)" = 0 ]; then "$@"; else "${p[@]}" unshare "$@"; fi
}
end() {
	local status=$?
	"${p[@]}" rm -afq -t 0 >/dev/null 2>&1 || :
	"${p[@]}" umount -a >/dev/null 2>&1 || :
	return $status
}
prun() { "${p[@]}" run --cgroups=enabled --net=none "$@"; }
same_trees() { inside treecmp "$1" "$2" || fail "trees differ: $3"; }

test_run_exec_diff_commit() {
	begin
	make_image "${b[@]}"
	is "$(prun --rm $NAME)" keep
	is "$(prun --rm $NAME ls /opq)" new
	prun --name changed $NAME sh -c 'rm /keep; mv /mv /moved; rm -rf /opq; mkdir /opq; echo y >/opq/y
		chown 5:60 /etc/passwd; ln /bin/sh /bin/again; echo >/tmp/new; mkdir /gone' >/dev/null
	"${p[@]}" diff changed | sort >diff.out
	for line in 'D /keep' 'D /mv' 'A /moved' 'D /opq/new' 'A /opq/y' 'C /etc/passwd' 'A /tmp/new' 'A /gone'; do
		grep -qx "$line" diff.out || fail "podman diff lacks '$line': $(cat diff.out)"
	done
	"${p[@]}" commit -q changed localhost/next:1 >/dev/null
	prun --rm localhost/next:1 sh -c 'set -e; [ ! -e /keep ]; [ ! -e /mv ]; [ ! -e /opq/new ]; cat /opq/y /moved/sub/f1; stat -c %u:%g /etc/passwd; [ -d /gone ]' >out
	is "$(paste -sd' ' out)" 'y 1 5:60'
	# a container that runs on: exec, and what it wrote after a stop and a start
	"${p[@]}" run -d --cgroups=enabled --net=none --name daemon $NAME sleep 600 >/dev/null
	"${p[@]}" exec daemon sh -c 'echo said >/tmp/said'
	is "$("${p[@]}" exec daemon cat /tmp/said)" said
	"${p[@]}" stop -t 0 daemon >/dev/null
	"${p[@]}" start daemon >/dev/null
	is "$("${p[@]}" exec daemon cat /tmp/said)" said 'after a start'
	"${p[@]}" rm -f -t 0 daemon >/dev/null
	"${p[@]}" rm -f changed >/dev/null
	inside grep -q snapfs /proc/self/mounts && fail "mounts are left: $(inside grep snapfs /proc/self/mounts)"
	return 0
}
test_the_deletion_that_is_lost_elsewhere() {
	begin
	make_image "${b[@]}"
	# in one namespace, where a mount stays
	cat >script.sh <<'S'
set -e
c=$("$@" from --pull-never localhost/base:1)
m=$("$@" mount $c)
rm -rf $m/mv/sub && mkdir $m/mv/sub && echo y >$m/mv/sub/y
"$@" umount $c >/dev/null
m=$("$@" mount $c)
python3 - "$m" <<'P'
import os, sys
m = sys.argv[1]
os.listdir(m + "/mv"); os.listdir(m + "/mv/sub")
assert not os.path.lexists(m + "/mv/sub/f1"), "it is there again"
P
"$@" commit -q $c localhost/deleted:1 >/dev/null
S
	inside bash script.sh "${b[@]}"
	is "$(prun --rm localhost/deleted:1 ls /mv/sub)" y
}
test_volumes_and_owners() {
	begin
	make_image "${b[@]}"
	mkdir vol && echo v >vol/v
	is "$(prun --rm -v "$PWD/vol:/vol:O" $NAME sh -c 'echo w >/vol/w; rm /vol/v; ls /vol')" w
	is "$(ls vol)" v 'the folder below :O'
	is "$(prun --rm --read-only $NAME cat /keep)" keep
	if [ "$(id -u)" = 0 ]; then
		is "$(prun --rm --uidmap 0:100000:5000 --gidmap 0:100000:5000 $NAME sh -c 'echo >/tmp/x; chown 5:60 /tmp/x; stat -c %u:%g /keep /data /tmp/x' | paste -sd' ')" '0:0 5:60 5:60' 'mapped'
	else
		is "$(prun --rm --userns keep-id $NAME sh -c 'id -u; stat -c %u:%g /keep /data; echo >/tmp/x; stat -c %u /tmp/x' | paste -sd' ')" "$(id -u) 0:0 5:60 $(id -u)" 'keep-id'
	fi
	is "$(prun --rm --user games $NAME sh -c 'touch /tmp/x; stat -c %u:%g /tmp/x')" 5:60 'USER'
	is "$("${p[@]}" info -f '{{index .Store.GraphOptions "overlay.mount_program"}}' | grep -c snapfs)" 1 info
}
test_builds_equal_native_ones() { # SNAP_BUILD_FILES=N: of how many files (400)
	begin
	make_image "${b[@]}"
	local i e
	mkdir -p ctx/tree
	for i in $(seq 20); do
		mkdir "ctx/tree/d$i"
		for e in $(seq $((${SNAP_BUILD_FILES:-400} / 20))); do echo "$i $e" >"ctx/tree/d$i/f$e"; done
	done
	mv one ctx/base
	cat >ctx/Dockerfile <<-'D'
		FROM scratch AS build
		COPY base /
		COPY tree /tree
		RUN rm -rf /tree/d1 /tree/d2/f1 && mkdir /tree/d1 && echo new >/tree/d1/new
		RUN mv /tree/d3 /tree/moved && mv /mv /tree/mv && chown -R 5:60 /tree/d4 && chmod 4755 /tree/d5/f1
		RUN echo >/tree/one && ln /tree/one /tree/hard && ln -s d6 /tree/link && rm -rf /tree/d7 && echo file >/tree/d7
		FROM scratch
		COPY --from=build / /
		COPY --from=build /tree/moved /again
		RUN rm -rf /again/f1 /opq
		USER games
		CMD ["ls", "/tree"]
	D
	(cd ctx && "${b[@]}" bud -q --layers -t localhost/multi:1 . >/dev/null)
	(cd ctx && "${p[@]}" build -q --isolation=chroot --no-cache -t localhost/again:1 . >/dev/null) || fail 'podman build with snapfs'
	(cd ctx && "${np[@]}" build -q --cgroup-manager=cgroupfs --isolation=chroot --layers -t localhost/multi:1 . >/dev/null) || fail 'podman build with the kernel'
	cat >script.sh <<'S'
set -e
b() { buildah --root $PWD/$1 --runroot $run/$2 --storage-driver overlay ${3:+--storage-opt overlay.mount_program=$3} "${@:4}"; }
two=$(b n n '' from --pull-never localhost/multi:1) && mt=$(b n n '' mount $two)
for image in multi again; do
	one=$(b g r "$1" from --pull-never localhost/$image:1) && mo=$(b g r "$1" mount $one)
	treecmp --ignore mtime --ignore dir-mtime --ignore nlink "$mo" "$mt"
done
S
	export run
	inside bash script.sh "$(command -v snapfs)" || fail 'the trees differ'
	# podman mounts images too; and builds with what buildah left
	cat >script.sh <<'S'
set -e
m=$("$@" image mount localhost/multi:1)
[ "$(cat $m/tree/d1/new)" = new ] && [ ! -e $m/again/f1 ] && [ -f $m/again/f2 ]
"$@" image unmount localhost/multi:1 >/dev/null
S
	inside bash script.sh "${p[@]}"
	printf 'FROM localhost/multi:1\nUSER root\nRUN rm -rf /tree && echo b >/b\n' >Dockerfile
	"${p[@]}" build -q --isolation=chroot -t localhost/b:1 . >/dev/null
	is "$(prun --rm localhost/b:1 sh -c 'cat /b; ls -d /tree 2>&1')" $'b\nls: /tree: No such file or directory'
}
test_a_store_of_fuse_overlayfs() { # goes on with snapfs: its layers, and what its containers wrote
	begin
	local f=("${p[@]/*mount_program=*/overlay.mount_program=$(command -v fuse-overlayfs)}")
	make_image buildah "${f[@]:1:8}"
	"${f[@]}" run --cgroups=enabled --net=none --name before $NAME sh -c 'rm /keep; rm -rf /mv; mkdir /mv; echo y >/mv/y; chown 5:60 /etc/passwd' >/dev/null
	"${p[@]}" commit -q before localhost/after:1 >/dev/null
	prun --rm localhost/after:1 sh -c 'ls -a /mv; [ ! -e /keep ]; stat -c %u:%g /etc/passwd' >out
	is "$(paste -sd' ' out)" '. .. y 5:60'
	"${p[@]}" start -a before && "${p[@]}" rm before >/dev/null
}
test_the_demo() {
	begin
	make_image "${b[@]}"
	"${p[@]}" push -q $NAME oci:lay:1 >/dev/null
	"$TESTS/../scripts/podman-demo" oci:lay:1 cat /opq/new >demo.out 2>demo.err || fail "$(cat demo.out demo.err)"
	is "$(grep -vE '^(#|$|[ACD] )' demo.out | paste -sd' ')" 'new hello built'
	grep -qx 'D /bin/sleep' demo.out || fail "$(cat demo.out)"
	is "$(find /tmp -maxdepth 1 -name "snap-demo.*" -user "$(id -u)")" '' 'left behind'
}
