"""Gets a model with Python's huggingface_hub, once for each revision, and prints where it found it as JSON.

The variables HF_HUB_CACHE, HF_ENDPOINT and HF_HUB_OFFLINE say which cache, which hub, and whether the cache has to do. Run by
hub.e2e.test.ts. Exit code 77: huggingface_hub is not installed.

    python hub_cache.py REPO FILE REVISION...
"""

import hashlib
import json
import sys

try:
    from huggingface_hub import hf_hub_download, snapshot_download
except ImportError:
    print("huggingface_hub is not installed", file=sys.stderr)
    sys.exit(77)

repo, file, *revisions = sys.argv[1:]
found = {}
for revision in revisions:
    path = hf_hub_download(repo, file, revision=revision)
    with open(path, "rb") as opened:
        sha256 = hashlib.sha256(opened.read()).hexdigest()
    found[revision] = {"folder": snapshot_download(repo, revision=revision), "file": path, "sha256": sha256}
print(json.dumps(found))
