# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# images
# shellcheck disable=SC2164 # set -e is on (tests/lib/case.sh)
# What people do in a container, done in a mount and on a plain directory: the results are equal.

# A plain copy of DEBIAN's tree at ./plain and a mount of it at ./mnt.
both() { # COMMAND run in each, with the folder as $1
	local d
	for d in plain mnt; do
		(cd "$d" && "$@") >"$d.out" 2>&1 || { tail -n 30 "$d.out" >&2 && fail "$* in $d"; }
	done
}
same() { # DIR... below both; times differ, what was done does not
	local d
	for d in "$@"; do
		treecmp --ignore mtime --limit 20 "plain/$d" "mnt/$d" || fail "$d differs"
	done
}
debian() {
	snap --quiet pull "oci:$IMAGES/DEBIAN:latest" --name localhost/debian >/dev/null
	snap prepare c localhost/debian >/dev/null
	mkdir mnt plain
	snap --quiet mount c mnt --engine fuse -o dev,suid # apt and dpkg write to the tree's own /dev/null
	cp -a mnt/. plain/
}
# a mount over an empty lower, with room for projects
empty() {
	mkdir -p empty plain
	snap prepare c >/dev/null
	mkdir mnt
	snap --quiet mount c mnt --engine fuse
}

apt_install() {
	mount -t proc proc proc
	cp /etc/resolv.conf etc/resolv.conf 2>/dev/null || :
	rm -rf etc/apt/sources.list*
	cp -a /etc/apt/sources.list* etc/apt/ 2>/dev/null || :
	cp -a /etc/apt/apt.conf.d/. etc/apt/apt.conf.d/ 2>/dev/null || :
	local status=0
	chroot . sh -euc 'export DEBIAN_FRONTEND=noninteractive LC_ALL=C
		apt-get update -q
		apt-get install -qy --no-install-recommends less bc file
		printf "2+3\n" | bc | grep -qx 5
		dpkg --verify less bc file libmagic1
		apt-get purge -qy bc
		dpkg -l >/var/tmp/packages' || status=$?
	umount proc
	return $status
}
test_apt_get_install() {
	debian
	both apt_install
	same var/lib/dpkg/info usr/bin usr/sbin usr/lib usr/share etc/alternatives var/lib/dpkg/alternatives
	cmp plain/var/tmp/packages mnt/var/tmp/packages
	snap umount mnt
	snap --quiet mount c mnt --engine fuse -o dev,suid
	same usr/bin usr/lib etc/alternatives
	snap umount mnt
}

git_work() {
	git clone -q --no-hardlinks ../origin clone
	cd clone
	[ -z "$(git status --porcelain)" ]
	git checkout -q -b work
	for i in $(seq 1 40); do echo "$i" >>"dir$((i % 7))/file$i"; done
	git mv dir1 moved
	git rm -rq dir2
	git -c user.name=a -c user.email=a@b commit -qam work
	git gc -q --prune=now
	git checkout -q master
	git merge -q work
	git fsck --strict
	git config remote.origin.url origin
	[ -z "$(git status --porcelain)" ]
	rm -rf .git/logs .git/index .git/objects .git/*HEAD .git/refs/heads/* .git/packed-refs .git/info .git/gc* # hashes of times
}
test_git() {
	empty
	git init -q -b master origin
	(cd origin && for d in 0 1 2 3 4 5 6; do
		mkdir "dir$d"
		for i in $(seq 1 100); do seq "$i" $((i + d * 10)) >"dir$d/file$i"; done
	done && ln -s dir1/file1 link && chmod +x dir3/file1 && git add -A && git -c user.name=a -c user.email=a@b commit -qm first)
	both git_work
	same clone
	snap umount mnt
}

make_project() { # 120 C files, generated headers, a library and a program
	mkdir -p project/src
	cd project
	for i in $(seq 1 120); do
		printf '#include "all.h"\nint f%d(int x)\n{\n\treturn x + %d;\n}\n' "$i" "$i" >"src/f$i.c"
	done
	cat >Makefile <<'MK'
OBJ := $(patsubst src/%.c,obj/%.o,$(wildcard src/f*.c))
prog: obj/libf.a src/main.c all.h
	gcc -I. -Wl,--build-id=none -o $@ src/main.c obj/libf.a
obj/libf.a: $(OBJ)
	rm -f $@ && ar rcD $@ $(sort $(OBJ))
obj/%.o: src/%.c all.h | obj
	gcc -I. -O1 -c -o $@ $<
obj:
	mkdir -p obj
all.h: Makefile
	for i in $$(seq 1 120); do echo "int f$$i(int x);"; done >$@.tmp && mv $@.tmp $@
clean:
	rm -rf obj prog all.h
MK
	{ echo '#include <stdio.h>' && echo '#include "all.h"' && echo 'int main(void) { int x = 0;' &&
		for i in $(seq 1 120); do echo "x = f$i(x);"; done && echo 'printf("%d\n", x); return 0; }'; } >src/main.c
	make -s -j4
	[ "$(./prog)" = 7260 ]
	make -s -j4 -q # nothing is out of date: times are right
	touch src/f7.c
	! make -s -q
	make -s -j4 clean
	make -s -j4
}
test_parallel_make() {
	empty
	both make_project
	same project
	remount c mnt
	(cd mnt/project && make -s -q) || fail "after a remount something is out of date"
	is "$(mnt/project/prog)" 7260
	snap umount mnt
}

npm_install() {
	mkdir app
	cd app
	echo '{"name":"app","version":"1.0.0","private":true}' >package.json
	npm install --offline --ignore-scripts --no-audit --no-fund --loglevel=error ../../packages/*.tgz
	node -e 'for (let i = 1; i <= 20; i++) if (require("snap-test-" + i) !== i) process.exit(1)'
	npm ls --all >ls.out
	sed -i "s|$(dirname "$PWD")||" ls.out
	npm uninstall --offline --no-audit --no-fund --loglevel=error snap-test-7
	rm -f node_modules/.package-lock.json package-lock.json # hold relative paths and times
}
test_npm_install() {
	command -v npm >/dev/null || skip "no npm on this machine"
	empty
	mkdir packages
	for i in $(seq 1 20); do
		mkdir -p "p/$i/lib"
		printf '{"name":"snap-test-%d","version":"1.0.%d","main":"lib/main.js","bin":{"snap-test-%d":"lib/main.js"}}' "$i" "$i" "$i" >"p/$i/package.json"
		echo "module.exports = $i" >"p/$i/lib/main.js"
		for j in $(seq 1 40); do echo "// $j" >"p/$i/lib/f$j.js"; done
		(cd "p/$i" && npm pack --silent --pack-destination ../../packages >/dev/null)
	done
	both npm_install
	same app
	snap umount mnt
}
