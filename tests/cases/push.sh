# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# A fresh upper on top of a stack that is mounted (snapfs --push-layer). SNAP_TEST_SEED repeats a run.
seed=${SNAP_TEST_SEED:-1}
push='snapfs --push-layer -o upperdir=%u,workdir=%w %l %m'
up() { # LOWERDIR UPPER WORK [OPTION]
	mkdir -p "$2" "$3" mnt
	snapfs -o "lowerdir=$1,upperdir=$PWD/$2,workdir=$PWD/$3,redirect_dir=on,metacopy=on${4:+,$4}" "$PWD/mnt"
}
down() { fusermount3 -u "$PWD/mnt"; }
push() { # UPPER WORK OLDWORK
	mkdir -p "$1" "$2"
	snapfs --push-layer -o "upperdir=$1,workdir=$2" "$3" mnt
}
tree() { # DIR: all but link counts of directories; listed numbers too
	(cd "$1" && find . -printf '%p %y %i %m %s %T@ %l\n' | sort && find . -type f -exec sha256sum {} + | sort &&
		getfattr -R -P -h -d -m - . 2>/dev/null && ls -UaiR | sort)
}
frozen() { (cd "$1" && find . -printf '%p %y %i %m %n %s %T@ %C@\n' | sort && find . -type f -exec sha256sum {} + | sort); }
data() {
	mkdir -p lower/d/sub lower/gone lower/moves
	echo low >lower/d/f && ln lower/d/f lower/d/f2 && ln lower/d/f lower/f3 && echo two >lower/d/g
	echo s >lower/d/sub/s && echo x >lower/gone/x && echo r >lower/moves/r
	head -c 100000 /dev/urandom >lower/big
}
changes() {
	echo new >mnt/new && echo more >>mnt/d/f && rm -r mnt/gone && mv mnt/moves mnt/moved && chmod 600 mnt/big
	mkdir -p mnt/p/q && echo z >mnt/p/q/z && rm -r mnt/d/sub && mkdir mnt/d/sub && echo removed >mnt/removed
}

stays() { # OPTION
	data
	up "$PWD/lower" u w "$1"
	changes
	exec 5<mnt/d/g 6<mnt/new 7>>mnt/new 8<>mnt/p/q/z 9<>mnt/removed
	rm mnt/removed
	tree mnt >before
	push u2 w2 w
	tree mnt >after
	cmp before after || fail "the push is seen: $(diff before after)"
	frozen u >u.then
	echo appended >&7 && echo Z >&8 && echo again >&9
	is "$(cat <&6)" $'new\nappended'
	is "$(cat mnt/new)" $'new\nappended'
	is "$(cat mnt/p/q/z)" Z
	is "$(cat mnt/f3)" $'low\nmore' 'a name that nobody had looked up'
	echo changed >mnt/f3
	is "$(cat mnt/d/f2)" changed
	rm -r mnt/moved && mv mnt/p mnt/p2
	exec 5<&- 6<&- 7<&- 8<&- 9<&-
	frozen u | cmp - u.then || fail 'the layer has changed'
	tree mnt >before
	down
	up "$PWD/u:$PWD/lower" u2 w2 "$1"
	tree mnt >after
	cmp before after || fail "after a remount: $(diff before after)"
	push u3 w3 w2
	tree mnt | cmp - before || fail 'the second push is seen'
	down
	up "$PWD/u2:$PWD/u:$PWD/lower" u3 w3 "$1"
	tree mnt | cmp - before || fail 'after the second one and a remount'
	down
}
test_nothing_is_seen_of_it() { stays noopen=0,passthrough=0; }
test_without_handles() { stays noopen=1; }

test_refused() {
	data
	up "$PWD/lower" u w ino_batches=4
	mkdir u2 w2 full && : >full/x
	refused 1 'no inode numbers are left' snapfs --push-layer -o upperdir=u2,workdir=w2 w mnt
	down
	up "$PWD/lower" u w ino_batch=7 # another mount's may begin at 11
	refused 1 'no inode numbers are left' snapfs --push-layer -o upperdir=u2,workdir=w2 w mnt
	is "$(ls -A u2 w2 | tr '\n' ' ')" 'u2:  w2: '
	down
	up "$PWD/lower" u w ino_batch=7,ino_batches=5
	push u2 w2 w
	refused 1 'no inode numbers are left' snapfs --push-layer -o upperdir=full,workdir=full w2 mnt
	down
	rm -r u2 w2 && mkdir u2 w2
	up "$PWD/lower" u w
	refused 1 'not empty' snapfs --push-layer -o upperdir=full,workdir=w2 w mnt
	refused 1 'both' snapfs --push-layer -o upperdir=u2,workdir=u2 w mnt
	mkdir mnt/inside
	refused 1 'inside a layer' snapfs --push-layer -o upperdir=u/inside,workdir=w2 w mnt
	refused 1 'no snapfs mount with the work directory' snapfs --push-layer -o upperdir=u2,workdir=w2 full mnt
	is "$(ls -A u2 w2 full | tr '\n' ' ')" 'full: x  u2:  w2: ' 'what refusals leave'
	push u2 w2 w
	down
}
# who is root in there cannot say where, nor when
test_the_ioctl_alone_as_root() {
	data
	up "$PWD/lower" u w
	python3 -c 'import fcntl, os, sys
try:
    fcntl.ioctl(os.open("mnt", os.O_RDONLY), 0x5370)
except OSError as e:
    sys.exit(e.errno != 25)
sys.exit(1)' || fail 'an order that nobody gave'
	down
}
test_random_operations_as_root() {
	local engine='snapfs -o lowerdir=%l,upperdir=%u,workdir=%w,redirect_dir=on,metacopy=on %m'
	diffop --ours "$engine" --push "$push" --dir . --seed $((seed + 30000)) --sequences 20
	diffop --ours "${engine/on %m/on,noopen=0,passthrough=0 %m}" --push "$push" --dir . --seed $((seed + 33000)) --sequences 10
	diffop --ours "${engine/on %m/on,writeback=1 %m}" --kept-times --push "$push" --dir . --seed $((seed + 34000)) --sequences 10
}
test_under_load() {
	loadop --mount 'snapfs -o lowerdir=%l,upperdir=%u,workdir=%w,redirect_dir=on %m' --push "$push" --dir . \
		--seed "$seed" --seconds 6 --rounds 1
}
