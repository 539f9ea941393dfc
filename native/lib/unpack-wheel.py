"""Unpacks the parts of a wheel that are needed to compile and link: unpack-wheel.py WHEEL FOLDER cpu|cuda.

Prints the bytes done and of all.
"""
import os
import re
import sys
import zipfile

wheel, folder, kind = sys.argv[1:]
NEEDED = re.compile(r"torch/include/|torch/lib/[^/]+\.so|torch/version\.py$|torch\.libs/|nvidia/[^/]+/lib/[^/]+\.so|[^/]+\.dist-info/licenses/")
# What the library of NCCL is compiled with.
HEADERS = re.compile(r"nvidia/(cu\d+|nccl)/include/(?!cccl/)")
NEVER = re.compile(r"torch/lib/lib(torch_python|shm)\b|torch/include/(pybind11|google)/|.*_static.*\.a$")
CUDA = re.compile(r"torch/lib/lib(torch|torch_cuda.*|c10_cuda|caffe2_nvrtc|torch_nvshmem|torch_global_deps)\.so")

archive = zipfile.ZipFile(wheel)
members = [
    m
    for m in archive.infolist()
    if not m.is_dir()
    and (NEEDED.match(m.filename) or (kind == "cuda" and HEADERS.match(m.filename)))
    and not NEVER.match(m.filename)
    and (kind == "cuda" or not CUDA.match(m.filename))
]
total = sum(m.file_size for m in members)
done = 0
print(done, total, flush=True)
for m in members:
    target = os.path.join(folder, m.filename)
    if os.path.relpath(target, folder).startswith(".."):
        sys.exit("unsafe name in the wheel: " + m.filename)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with archive.open(m) as source, open(target, "wb") as sink:
        while True:
            block = source.read(1 << 22)
            if not block:
                break
            sink.write(block)
            if len(block) == 1 << 22:
                done += len(block)
                print(done, total, flush=True)
            else:
                done += len(block)
    if m.file_size > 1 << 22:
        print(done, total, flush=True)
