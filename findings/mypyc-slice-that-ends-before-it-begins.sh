#!/usr/bin/env bash
# mypyc (of mypy 2.4.1, CPython 3.11): a slice of bytes that would end before its beginning raises SystemError in
# compiled code, where Python gives b"".
#
# A parser takes the middle of a message, `body[4:-1]`. For a message that is too short Python's slice is empty, and the
# parser sees that nothing is there. Compiled by mypyc, with `body: bytes`, the same line raises SystemError, which no
# caller expects.
#
# Seen:
#     interpreted: b''  compiled: SystemError
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install -q mypy==2.4.1 setuptools==80.9.0
cat >middle.py <<'PYTHON'
def middle(body: bytes) -> bytes:
    return body[4:-1]
PYTHON
cat >ask.py <<'PYTHON'
import middle

try:
    print(repr(middle.middle(b"ab")))
except SystemError:
    print("SystemError")
PYTHON
interpreted=$(venv/bin/python ask.py)
PATH=$place/venv/bin:$PATH venv/bin/mypyc middle.py >build.log 2>&1
mv middle.py source.txt
compiled=$(venv/bin/python ask.py)
echo "interpreted: $interpreted  compiled: $compiled"
[ "$interpreted" = "b''" ] && [ "$compiled" = SystemError ]
