"""Parquet files in the layouts of public preference sets, as `datasets` and pandas write them. Needs pyarrow and Pillow.

python tests/python/preference_layouts.py tests/golden/preference-layouts
"""

import io
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)


def png(red):
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), (red, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def image(red):
    return {"bytes": png(red), "path": f"{red}.png"}


def write(name, columns, **options):
    fields = {key: (value if isinstance(value, pa.Array) else pa.array(value)) for key, value in columns.items()}
    pq.write_table(pa.table(fields), out / f"{name}.parquet", **options)


def images(*reds):
    return pa.array([image(red) for red in reds], IMAGE)


# Votes per image, one file a split.
for split, votes in [("train_0001", [(3, 1), (0, 0)]), ("train_0002", [(2, 2)]), ("validation", [(0, 4)])]:
    count = len(votes)
    write(
        f"{split}-00000-of-00001",
        {
            "prompt": [f"{split} {i}" for i in range(count)],
            "image1": images(*range(count)),
            "image2": images(*range(10, 10 + count)),
            "votes_image1": pa.array([first for first, _ in votes], pa.int64()),
            "votes_image2": pa.array([second for _, second in votes], pa.int64()),
            "model1": pa.array(["flux"] * count).dictionary_encode(),
            "model2": pa.array(["sdxl"] * count, pa.large_string()),
            "detailed_results": [json.dumps([{"userScore": 0.5}])] * count,
            "image1_path": ["a.jpg"] * count,
            "image2_path": ["b.jpg"] * count,
        },
    )

# Columns of an annotation tool, flat names with dots; an answer that was not handed in says nothing.
answers = [["image_1", "image_2", "image_1"], ["both_good"], ["image_2", "image_1"]]
states = [["submitted"] * 3, ["submitted"], ["submitted", "draft"]]
write(
    "responses-flat",
    {
        "id": ["a", "b", "c"],
        "status": ["completed"] * 3,
        "images.image_1": images(0, 1, 2),
        "images.image_2": images(10, 11, 12),
        "prompt": ["p 0", "p 1", "p 2"],
        "model_1": ["flux"] * 3,
        "model_2": ["sd3"] * 3,
        "preference.responses": pa.array(answers, pa.list_(pa.string())),
        "preference.responses.users": pa.array([["u"] * len(of) for of in answers], pa.list_(pa.string())),
        "preference.responses.status": pa.array(states, pa.list_(pa.string())),
    },
)

# The same nested in structs.
write(
    "responses-nested",
    {
        "images": pa.array(
            [{"image_1": image(i), "image_2": image(10 + i)} for i in range(3)],
            pa.struct([("image_1", IMAGE), ("image_2", IMAGE)]),
        ),
        "prompt": [f"p {i}" for i in range(3)],
        "preference": pa.array(
            [
                {"responses": [{"value": value, "status": state} for value, state in zip(of, which)]}
                for of, which in zip(answers, states)
            ],
            pa.struct([("responses", pa.list_(pa.struct([("value", pa.string()), ("status", pa.string())])))]),
        ),
    },
)

# One row a vote, with what the annotator is trusted; the second shows the pair the other way round.
write(
    "one-row-a-vote",
    {
        "prompt": ["p", "p", "p", "q"],
        "image_a": images(0, 10, 0, 1),
        "image_b": images(10, 0, 10, 11),
        "model_a": ["flux", "sdxl", "flux", "flux"],
        "model_b": ["sdxl", "flux", "sdxl", "flux"],
        "winner": ["A", "B", "model_b", "tie"],
        "annotator_id": pa.array([1, 2, 3, 1], pa.int64()),
        "trust_score": [1.0, 0.5, 0.5, 0.9],
    },
    row_group_size=2,
)

# Left and right, 1 for the left one and −1 for the right.
write(
    "left-right",
    {
        "user_id": ["u1", "u2", "u1"],
        "prompt": ["p", "p", "q"],
        "image_left_id": ["img/0.png", "img/0.png", "img/1.png"],
        "image_right_id": ["img/1.png", "img/1.png", "img/2"],
        "pref": pa.array([1, -1, -1], pa.int32()),
        "ranking_id": pa.array([1, 2, 3], pa.int64()),
    },
)

write(
    "chosen-rejected",
    {
        "prompt": ["p"],
        "chosen": images(0),
        "rejected": images(10),
        "chosen_model": ["flux"],
        "rejected_model": ["sd3"],
    },
)

# Pick-a-Pic's columns with flags as numbers and nulls, a list of captions, labels as text; compressed by zstd.
write(
    "flags",
    {
        "caption": pa.array([["p 0"], ["p 1", "other"], ["p 2"], ["p 3"], ["p 4"]], pa.list_(pa.string())),
        "jpg_0": [png(i) for i in range(5)],
        "jpg_1": [png(10 + i) for i in range(5)],
        "label_0": ["1", "0", "0,5", "0.25", "25 %"],
        "has_label": pa.array([1, 0, 1, None, 1], pa.int8()),
        "are_different": pa.array([1.0, 1.0, 0.0, 1.0, 1.0], pa.float32()),
        "model_0": ["sd1"] * 5,
        "model_1": ["sd2"] * 5,
        "seed_0": pa.array([1, 2, 3, 4, 2**40], pa.int64()),
        "seed_1": pa.array([5, 6, 7, 8, None], pa.int64()),
    },
    compression="zstd",
)

# Ranked lists in cells.
write(
    "ranked",
    {
        "prompt": ["p", "q"],
        "image_path": pa.array([["img/0.png", "img/1.png", "img/2.png"], ["img/0.png", "img/1.png"]]),
        "rank": pa.array([[2, 1, 2], [0, 1]], pa.list_(pa.int64())),
    },
)

write(
    "path-only",
    {
        "caption": ["p"],
        "jpg_0": pa.array([{"bytes": None, "path": "img/0.png"}], IMAGE),
        "jpg_1": pa.array([{"bytes": None, "path": "img/1.png"}], IMAGE),
        "label_0": [True],
        "label_1": [False],
    },
)

write("no-rows", {"caption": pa.array([], pa.string()), "jpg_0": pa.array([], pa.binary()), "jpg_1": pa.array([], pa.binary()), "label_0": pa.array([], pa.float64())})

(out / "img").mkdir(exist_ok=True)
for i in range(3):
    (out / "img" / f"{i}.png").write_bytes(png(i))
