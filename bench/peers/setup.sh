#!/usr/bin/env bash
# Makes the environments that bench/ingest.py and bench/compare.py run the peers in: .peers/langchain, .peers/llamaindex,
# .peers/haystack, .peers/txtai; and, when named, .peers/formats for bench/formats.py, .peers/hipporag and .peers/lightrag
# for bench/graph.py. What NAME.alone.txt lists is installed without what it asks for: HippoRAG pins an older torch and
# vLLM, which retrieval does not call.
#
#   bench/peers/setup.sh [NAME...]
#
# Each downloads torch anew. PEERS_BASE=FOLDER names a site-packages folder whose packages they may share instead, such
# as .venv/lib/python3.11/site-packages of this checkout.
set -euo pipefail
cd "$(dirname "$0")/../.."

for name in ${@:-langchain llamaindex haystack txtai}; do
    folder=.peers/$name
    rm -rf "$folder"
    "${PYTHON:-python3}" -m venv "$folder"
    if [ -n "${PEERS_BASE:-}" ]; then
        site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        echo "import site; site.addsitedir('$(realpath "$PEERS_BASE")')" >"$site/zz_base.pth"
    fi
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade pip  # old ones trip over lxml's extras
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --prefer-binary \
        -c bench/peers/constraints.txt -r "bench/peers/$name.txt"
    if [ -f "bench/peers/$name.alone.txt" ]; then
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "bench/peers/$name.alone.txt"
    fi
    echo "$name: $folder"
done
