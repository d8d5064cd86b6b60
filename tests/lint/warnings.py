#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Proves that the warnings the build relies on are on: flags can vanish silently when a compiler is
probed for them. Compiles faulty code with the very flags of base/err.c and wants a refusal."""
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

FAULTS = {
    "format-nonliteral": '#include <stdio.h>\nvoid f(const char *s);\nvoid f(const char *s)\n{\n\tprintf(s, 1);\n}\n',
    "format-security": '#include <stdio.h>\nvoid f(const char *s);\nvoid f(const char *s)\n{\n\tprintf(s);\n}\n',
    "implicit-function-declaration": "int f(void);\nint f(void)\n{\n\treturn g();\n}\n",
    "missing-prototypes": "int f(void)\n{\n\treturn 0;\n}\n",
    "vla": "int f(int n);\nint f(int n)\n{\n\tint a[n];\n\ta[0] = n;\n\treturn a[0];\n}\n",
    "unused-result": '__attribute__((warn_unused_result)) int g(void);\nvoid f(void);\nvoid f(void)\n{\n\tg();\n}\n',
    "shadow": "int f(int a);\nint f(int a)\n{\n\t{\n\t\tint a = 1;\n\t\treturn a;\n\t}\n}\n",
}
GOOD = "int f(void);\nint f(void)\n{\n\treturn 0;\n}\n"
build = pathlib.Path(sys.argv[1])
commands = json.loads((build / "compile_commands.json").read_text())
command = next(c for c in commands if c["file"].endswith("base/err.c"))
argv, skip = [], False
for a in shlex.split(command["command"]):
    if skip:
        skip = False
    elif a in ("-o", "-MF", "-MQ"):
        skip = True
    elif a not in ("-MD", "-c") and not a.endswith("base/err.c"):
        argv.append(a)


def compiles(text):
    with tempfile.TemporaryDirectory() as d:
        source = pathlib.Path(d, "x.c")
        source.write_text(text)
        r = subprocess.run(argv + ["-c", str(source), "-o", f"{d}/x.o"], cwd=build, capture_output=True, text=True)
        return r.returncode == 0, r.stderr


ok, said = compiles(GOOD)
if not ok:
    sys.exit(f"good code is refused: {said}")
bad = 0
for name, text in FAULTS.items():
    ok, said = compiles(text)
    if ok or name not in said:
        print(f"-W{name} is not on{'' if ok else ': ' + said}")
        bad = 1
sys.exit(bad)
