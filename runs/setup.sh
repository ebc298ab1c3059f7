# Sourced by the other scripts, in the project's folder, with the lists of requirements: makes .venv if needed, enters it.
# With SETUP=none the Python and the packages that are there are taken.
if [ "${SETUP:-}" = none ]; then return 0; fi
if [ ! -d .venv ]; then
    python=$(command -v python3 || command -v python || true)
    if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
        echo "error: Python 3.10 or newer is needed; found: $("${python:-python3}" --version 2>&1)" >&2
        exit 2
    fi
    "$python" -m venv .venv
fi
# shellcheck disable=SC1091
source .venv/bin/activate 2>/dev/null || source .venv/Scripts/activate
for file in "$@"; do
    if ! cmp -s "$file" ".venv/${file##*/}"; then # the copy tells which version of the list is installed
        echo "installing $file into .venv (minutes, once)" >&2
        python -m pip install --quiet --disable-pip-version-check -r "$file" >&2
        cp "$file" ".venv/${file##*/}"
    fi
done
