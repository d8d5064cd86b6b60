# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the cases of lazy images share: a second store, a registry, a bad line to it, an image to be had there.

other() { SNAP_ROOT=$PWD/other snap "$@"; }
state() { other --json images | jq -re '.[0].state'; }
fetched() { other --json images | jq -re '.[0].fetched'; }
is_complete() { [ "$(state)" = complete ]; }
filler_pid() { # of the other store
	local p
	for p in /proc/[0-9]*; do
		[[ $(tr '\0' ' ' 2>/dev/null <"$p/cmdline") == *"other fill --serve"* ]] && basename "$p" && return
	done
	return 1
}
start_registry() { # [LINES]: more of its configuration; port in $reg, below those that connections take (32768)
	command -v docker-registry >/dev/null || skip "no docker-registry"
	reg=$((12000 + RANDOM % 20000))
	mkdir registry
	printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\nlog: {level: warn}\n%s\n' \
		"$PWD/registry" "$reg" "${1:-}" >registry.yml
	docker-registry serve registry.yml >registry.log 2>&1 &
	within 20 curl -s "http://127.0.0.1:$reg/v2/" -o curl.out
}
line() { # JSON: how the line is from now on
	echo "$1" >control.tmp
	mv control.tmp control
}
start_line() { # port in $port
	line '{}'
	python3 "$LIB/proxy.py" "$reg" control >line.log 2>line.err &
	within 10 test -s line.log
	port=$(head -n 1 line.log)
}
password() { # what the registry's htpasswd says from now on
	python3 - "$1" >htpasswd.new <<-'PY'
		import ctypes, sys
		crypt = ctypes.CDLL("libcrypt.so.1").crypt
		crypt.restype = ctypes.c_char_p
		print("u:" + crypt(sys.argv[1].encode(), b"$2y$05$abcdefghijklmnopqrstuu").decode())
	PY
	mv htpasswd.new htpasswd
}
credentials() { # for the registry and the line to it, in auth.json
	local auth
	auth=$(printf 'u:%s' "$1" | base64)
	printf '{"auths":{"127.0.0.1:%s":{"auth":"%s"},"127.0.0.1:%s":{"auth":"%s"}}}' "$port" "$auth" "$reg" "$auth" >auth.new
	mv auth.new auth.json
}
blob_bytes() { awk '$1 ~ /\/blobs\// && $2 == 206 && $3 ~ /-[0-9]+$/ {n += $4} END {print n + 0}' line.log; }
all_blob_bytes() { awk '$1 ~ /\/blobs\// {n += $4} END {print n + 0}' line.log; }
# An image of two layers, some 20 MB, that compresses by half; its index beside it in the registry.
medium() {
	mkdir content
	python3 - <<-'PY'
		import random
		r = random.Random(3)
		for n in range(40):
		    with open(f"content/f{n}", "wb") as f:
		        for k in range(8):
		            f.write(r.randbytes(32768) + b"the same words again " * 1560)
	PY
	image_of m:1 content
	snap prepare more m:1 >/dev/null
	mkdir more.mnt
	snap --quiet mount more more.mnt --engine fuse
	cp content/f1 more.mnt/copy
	rm more.mnt/f7
	snap umount more.mnt
	snap --quiet commit --image m:2 more --timestamp 1700000000
	snap rm more
	rm content/f7
	cp content/f1 content/copy
}
published() { # the medium image and its index in the registry; a line to it
	start_registry
	medium
	snap --quiet push m:2 "docker://127.0.0.1:$reg/t/m:2" --tls-verify=false
	snap index push m:2 "docker://127.0.0.1:$reg/t/m:2" --tls-verify=false >pushed
	start_line
	spec=docker://127.0.0.1:$port/t/m:2
}
lazily() { # HOW
	other --quiet pull --lazy "$1" --tls-verify=false --name m:2 "$spec"
	other prepare k m:2 >/dev/null
	mkdir -p m
	other --quiet mount k m
}
same() { diff -r content m -x .wh; }
finish() { # the line is good again: everything is read, and as it is in the image
	line '{}'
	same
	other --quiet fill m:2
	is "$(state)" complete state
	same
	other --quiet fsck
}
