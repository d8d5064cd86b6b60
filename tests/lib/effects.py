#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A random stack of layers for mklayer.py, and what a model says that each layer does.

effects.py SEED: the layers' expressions, one a line; behind them, a line of JSON: a list of
{"adds", "changes", "hides", "bytes", "wasted"}, as `snap inspect --layers` has them.
"""
import json
import random
import sys

rnd = random.Random(int(sys.argv[1]))
NAMES = 'abc'
serial = 0


def parents(path):
    parts = path.split('/')
    return ['/'.join(parts[:n]) for n in range(1, len(parts))]


def below(path, top):
    return path.startswith(top + '/')


def make_layer(state):
    """Members, and the state with them. A state: path -> ('d', mode), ('f', mode, file) or ('s', target)."""
    global serial
    entries, gone, opaque, links, sizes = {}, set(), set(), {}, {}
    for _ in range(rnd.randint(1, 12)):
        path = '/'.join(rnd.choice(NAMES) for _ in range(rnd.randint(1, 4)))
        up = parents(path)
        taken = path in entries or path in gone or any(below(p, path) for p in entries) or any(below(p, path) for p in gone)
        if taken or any(p in gone or p in entries and entries[p][0] != 'd' for p in up):
            continue
        what = rnd.choice('fffdswwlo')
        if what == 'w' and path not in state:
            continue
        files = [p for p, e in entries.items() if e[0] == 'f' and p not in links]
        if what == 'l' and not files:
            continue
        for p in up:
            if p not in entries:
                old = state.get(p, ('', 0))
                entries[p] = ('d', old[1] if old[0] == 'd' and rnd.random() < 0.8 else rnd.choice((0o755, 0o700)))
        if what == 'w':
            gone.add(path)
        elif what == 'l':
            links[path] = rnd.choice(files)
            entries[path] = entries[links[path]]
        elif what == 'f':
            serial += 1
            sizes[serial] = rnd.choice((1, 511, 512, 513, 5000))
            entries[path] = ('f', rnd.choice((0o644, 0o600)), serial)
        elif what == 's':
            entries[path] = ('s', rnd.choice(('x', 'yy')))
        else:
            entries[path] = ('d', rnd.choice((0o755, 0o700)))
            if what == 'o':
                opaque.add(path)
    after = {p: e for p, e in state.items()
             if not any(p == g or below(p, g) for g in gone) and not any(below(p, o) for o in opaque)}
    for p, e in sorted(entries.items()):
        if e[0] != 'd' or after.get(p, ('',))[0] != 'd':
            after = {q: x for q, x in after.items() if not below(q, p) or q in entries and entries[q] is x}
        after[p] = e
    members = []
    for p, e in sorted(entries.items()):
        if p in links:
            continue
        members.append(f'D({p!r}, mode={e[1]})' if e[0] == 'd' else f'S({p!r}, {e[1]!r})' if e[0] == 's' else
                       f'F({p!r}, "x" * {sizes[e[2]]}, mode={e[1]})')
        if p in opaque:
            members.append(f'O({p!r})')
    members += [f'L({p!r}, {t!r})' for p, t in links.items()] + [f'W({p!r})' for p in sorted(gone)]
    return members, after, sizes


def visible(state):
    return {e[2] for e in state.values() if e[0] == 'f'}


state, stored, expected = {}, {}, []
for _ in range(rnd.randint(1, 7)):
    members, after, sizes = make_layer(state)
    stored.update(sizes)
    lost = (visible(state) | set(sizes)) - visible(after)
    expected.append({'adds': len(after.keys() - state.keys()), 'hides': len(state.keys() - after.keys()),
                     'changes': sum(1 for p in after.keys() & state.keys() if after[p] != state[p]),
                     'bytes': sum(sizes.values()), 'wasted': sum(stored[f] for f in lost)})
    state = after
    print('[' + ', '.join(members) + ']')
print(json.dumps(expected))
