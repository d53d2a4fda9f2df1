#!/bin/sh
# Install a lock into a virtual environment, with the hashes of its packages: sh envs/install.sh VENV LOCK
#
# uv does this in a fifth of pip's time. It does not read pip's configuration, from which it gets the address of the index here. Where uv
# cannot install (a platform without it, a machine without network whose packages are files), pip installs.
set -eu
python="$1/bin/python"
pip="$python -m pip --disable-pip-version-check install --quiet --no-compile --require-hashes"
index=${PIP_INDEX_URL:-$("$python" -m pip config get global.index-url 2>/dev/null || true)}
[ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
if [ -z "${PIP_NO_INDEX:-}" ] && $pip -r envs/uv.txt 2>/dev/null; then
    "$1/bin/uv" pip install --quiet --python "$python" --no-deps --require-hashes -r "$2" && exit
    echo "uv could not install $2; pip installs it" >&2
fi
exec $pip --no-deps -r "$2"
