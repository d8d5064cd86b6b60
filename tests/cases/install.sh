# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What is installed: completion, the library, the Debian packages.

stage() { realpath "$(dirname "$(command -v snap)")/.."; }
commands() { snap --help | sed -n '/^Commands:/,/^Options:/s/^  \([a-z]*\) .*/\1/p'; }
options() { snap "$1" --help | sed -n '/^Options:/,$s/^ *\(-., \)\{0,1\}--\([a-z-]*\).*/\2/p'; }

test_completion_is_complete() {
	local share command option
	share=$(stage)/share
	[ "$(commands | wc -l)" -gt 20 ] || fail "commands: $(commands)"
	bash -n "$share/bash-completion/completions/snap" && zsh -n "$share/zsh/site-functions/_snap" && fish -n "$share/fish/vendor_completions.d/snap.fish"
	bash_completes() { # WORDS...: what comes for the last one
		bash -c '. "$0/bash-completion/completions/snap"; COMP_WORDS=(snap "$@") COMP_CWORD=$#; _snap; printf "%s\n" "${COMPREPLY[@]}"' "$share" "$@"
	}
	fish_completes() { fish --no-config -c "source $share/fish/vendor_completions.d/snap.fish; complete -C '$*'" | cut -f1; }
	bash_completes '' | sort >bash.commands
	commands | sort | diff - bash.commands
	fish_completes 'snap ' | sort | comm -13 - <(commands | sort) >missing
	[ ! -s missing ] || fail "fish lacks $(cat missing)"
	for command in $(commands); do
		options "$command" | sed 's/^/--/' | sort >want
		bash_completes "$command" -- | sort | diff want - || fail "bash: $command"
		fish_completes "snap $command --" | sort | comm -13 - want >missing
		[ ! -s missing ] || fail "fish: $command lacks $(cat missing)"
		grep -q "^	$command) _arguments" "$share/zsh/site-functions/_snap" || fail "zsh lacks $command"
		for option in $(options "$command"); do
			grep -q -- "--$option\\[" "$share/zsh/site-functions/_snap" || fail "zsh lacks $command --$option"
		done
	done
	is "$(bash_completes mount --engine f)" fuse
	snap prepare some-key >/dev/null
	is "$(bash_completes usage so)" some-key 'a key'
	is "$(fish_completes 'snap usage so')" some-key 'a key, in fish'
	zsh -fc "fpath=($share/zsh/site-functions \$fpath); autoload -U compinit; compinit -u -d zdump; autoload +X _snap && whence -w _snap" >out
	is "$(cat out)" '_snap: function'
}
test_library() {
	local stage pc
	stage=$(stage)
	pc=$(dirname "$stage"/lib/*/pkgconfig/libsnapshotter.pc)
	mkdir lay && echo x >lay/x && mkdir lay/tmp && image_of localhost/small:1 lay
	snap push localhost/small:1 oci:layout:1 >/dev/null
	# shellcheck disable=SC2046 # flags
	PKG_CONFIG_PATH=$pc cc -Wall -Wextra -Werror -o build-image "$TESTS/../examples/build-image.c" $(PKG_CONFIG_PATH=$pc pkg-config --cflags --libs libsnapshotter)
	echo '#include <libsnapshotter.h>' >t.cc && ${CXX:-c++} -fsyntax-only -Wall -Werror -I"$stage/include" t.cc
	export LD_LIBRARY_PATH=${pc%/pkgconfig}
	mkdir mnt
	./build-image "$PWD/other" oci:layout:1 mnt >out
	grep -q '^active work on base:1$' out && grep -q '^base:1 sha256:[0-9a-f]\{64\}: [1-9]' out || fail "$(cat out)"
	is "$(snap --root other --json inspect hello:1 | jq -c '[.config.config.Cmd, .config.config.Env, (.layers | length)]')" '[["cat","/tmp/hello"],["MADE_BY=C"],2]'
	refused 1 "^build-image: .*store '/dev/null'" ./build-image /dev/null oci:layout:1 mnt
	refused 1 "no-such-layout" ./build-image other2 oci:no-such-layout:1 mnt
	# what the header declares is what the library has, all of the first version
	sed -n 's/.*SNAPSHOTTER_PUBLIC.*[ *]\(snapshotter_[a-z_]*\)(.*/\1/p' "$stage/include/libsnapshotter.h" | sort >declared
	nm -D --defined-only "$LD_LIBRARY_PATH/libsnapshotter.so.1" | sed -n 's/.* T \(.*\)@@LIBSNAPSHOTTER_1.0$/\1/p' | sort | diff declared -
	is "$(nm -D --defined-only "$LD_LIBRARY_PATH/libsnapshotter.so.1" | grep -vc 'snapshotter_\|LIBSNAPSHOTTER')" 0 'other symbols'
	grep -o 'Fn snapshotter_[a-z_]*' "$stage/share/man/man3/libsnapshotter.3" | cut -d' ' -f2 | sort -u | diff declared - || fail 'the manual page'
	objdump -p build-image | grep -q 'NEEDED.*libsnapshotter.so.1$' || fail 'soname'
}
# The installed service below containerd, in ROOT: with the lines of docs/containerd.md, and containerd as it is here.
run_by_containerd() { # ROOT
	local root=$1 tools=$1/opt/containerd daemon in
	mkdir -p "$tools" "$root/etc/containerd"
	cp "$(command -v containerd)" "$(command -v containerd-shim-runc-v2)" "$(command -v ctr)" "$(command -v runc)" "$tools/"
	cp "$(ldd "$(command -v runc)" | awk '/libseccomp/ {print $3}')" "$tools/"
	{ echo 'version = 2' && sed -n '/^    \[proxy_plugins.snap\]/,/^$/{s/^    //p; /^$/q}' "$TESTS/../docs/containerd.md"; } >"$root/etc/containerd/config.toml"
	[ "$(wc -l <"$root/etc/containerd/config.toml")" = 4 ] || fail "no configuration in docs/containerd.md"
	mount --rbind /dev "$root/dev" && mount --rbind /sys "$root/sys"
	in=(env -i PATH=/opt/containerd:/usr/bin:/bin:/usr/sbin LD_LIBRARY_PATH=/opt/containerd chroot "$root")
	"${in[@]}" containerd >containerd.log 2>&1 &
	daemon=$!
	within 20 "${in[@]}" ctr version >/dev/null 2>&1
	python3 "$LIB/mklayer.py" lay --config 'c["config"] = {"Env": ["PATH=/bin"]}' "[D('bin'), F('bin/busybox', open('$(command -v busybox)', 'rb').read(), mode=0o755), D('proc'), D('dev'), D('sys')]" '[F("two", "layers")]'
	skopeo copy -q oci:lay:latest "docker-archive:$root/image.tar:docker.io/local/bb:1"
	"${in[@]}" ctr images import --snapshotter snap /image.tar >/dev/null
	# a folder is no root of its own to pivot from
	is "$("${in[@]}" ctr run --rm --no-pivot --snapshotter snap docker.io/local/bb:1 "deb$$" /bin/busybox cat /two)" layers 'the container, by containerd and the installed service'
	is "$("${in[@]}" snap --json ls kind==committed | jq length)" 2 'committed snapshots'
	kill $daemon && wait $daemon || fail "containerd: $(tail -n 5 containerd.log)"
	umount -R "$root/dev" "$root/sys"
	rm -rf "$tools" "$root/etc/containerd" "$root/image.tar" "$root/var/lib/containerd" "$root/run/containerd" "$root/opt/containerd" "$root/etc/cni"
}
test_debian_packages() {
	local root=$PWD/root needs version
	"$TESTS/../scripts/mkdeb" --from "$TOOLS/.." debs >made
	is "$(wc -l <made)" 3 "$(cat made)"
	lintian --allow-root debs/*.deb >lintian.out 2>&1 || fail "$(cat lintian.out)"
	! grep '^[EW]:' lintian.out || fail lintian
	# the same again, byte for byte
	"$TESTS/../scripts/mkdeb" --from "$TOOLS/.." again >/dev/null
	diff -r debs again || fail 'the packages differ when made again'
	# bare, but for what the packages say that they need: that is no trace of theirs
	needs=$(for d in debs/*.deb; do dpkg-deb -f "$d" Depends; done | tr , '\n' | sed 's/(.*//; s/|.*//; s/ //g' | grep -v '^libsnapshotter' | sort -u | paste -sd,)
	mmdebstrap --quiet --variant=minbase --include="$needs" bookworm "$root" 2>mmdebstrap.out || fail "mmdebstrap: $(tail -n 5 mmdebstrap.out)"
	mkdir "$root/debs" && cp debs/*.deb "$root/debs/"
	traces() { (cd "$root" && find . -xdev \( -path ./var/lib/dpkg -o -path ./var/cache -o -path ./var/log -o -path ./etc/ld.so.cache -o -path ./debs \
		-o -path ./tmp -o -path ./proc -o -path ./dev \) -prune -o -print | sort); }
	mount --bind "$root" "$root" # runc wants its root to be a mount
	mount -t proc proc "$root/proc"
	traces >before
	chroot "$root" sh -ec 'dpkg -i /debs/*.deb' >apt.out 2>&1 || fail "$(tail -n 20 apt.out)"
	version=$(chroot "$root" snap --version)
	is "$version" "$(snap --version)"
	env -u SNAP_ROOT chroot "$root" sh -ec 'snap prepare k >/dev/null; snap ls | grep -q active; snapfs --version >/dev/null; ldconfig -p | grep -q libsnapshotter.so.1; test -f /usr/share/man/man1/snap.1.gz || test -d /usr/share/man'
	# the service, as its unit starts it
	local service pid unit=$root/lib/systemd/system/snap-serve.service
	service=$(sed -n 's/^ExecStart=//p' "$unit")
	[[ $service == /usr/bin/snap\ *serve*--address\ /run/* ]] || fail "$(cat "$unit")"
	sed "s#=/usr/bin/#=$root/usr/bin/#" "$unit" >snap-serve.service # its program is not where this machine's are
	systemd-analyze verify --man=no ./snap-serve.service 2>verify.err || fail "systemd-analyze: $(cat verify.err)"
	! grep snap verify.err || fail 'systemd finds fault with the unit'
	mkdir -p "$root$(dirname "${service##* }")"
	# shellcheck disable=SC2086 # a command line
	env -u SNAP_ROOT chroot "$root" $service &
	pid=$!
	within 20 test -S "$root${service##* }"
	run_by_containerd "$root"
	kill $pid && wait $pid || fail 'the service does not end well'
	rm -rf "${root:?}/run/snap"
	is "$(PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_PATH=$(echo "$root"/usr/lib/*/pkgconfig) pkg-config --modversion libsnapshotter)" 1.0.0
	# a program is built with the headers of the package and runs with its library
	# shellcheck disable=SC2046 # flags
	cc -o "$root/build-image" "$root/usr/share/doc/libsnapshotter-dev/examples/build-image.c" "-I$root/usr/include" "-L$(echo "$root"/usr/lib/*-linux-gnu)" -lsnapshotter ||
		cc -o "$root/build-image" "$TESTS/../examples/build-image.c" "-I$root/usr/include" "-L$(echo "$root"/usr/lib/*-linux-gnu)" -lsnapshotter
	refused 2 usage chroot "$root" /build-image
	rm "$root/build-image"
	chroot "$root" dpkg --verify snapshotter libsnapshotter1 libsnapshotter-dev >verify
	! grep -v '/usr/share/\(doc\|man\)' verify || fail "$(cat verify)"
	chroot "$root" dpkg --purge snapshotter libsnapshotter-dev libsnapshotter1 >apt.out 2>&1 || fail "$(cat apt.out)"
	traces >after
	diff before after | grep '^[<>]' | grep -v ' ./var/lib/snap\(/\|$\)' >left || :
	[ ! -s left ] || fail "left: $(cat left)"
	grep -q '^./var/lib/snap$' after || fail 'the store is gone'
	umount "$root/proc" "$root"
}
