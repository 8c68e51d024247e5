#!/usr/bin/env python
"""The whole way in one command: draw data, train STL + MRFP, evaluate, look at the result.

    make demo

Runs on a laptop's CPU in minutes, and prints the commands that it runs, so that they can be
repeated one by one. A finished step is not done again: to train anew, remove output/demo.
"""

import html
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATASET = "street_small_test"
CONFIG = "configs/Street/stl_mrfp.yaml"
OUTPUT = Path("output/demo")
os.environ.setdefault("DETECTRON2_DATASETS", "datasets")
os.chdir(ROOT)


def run(title: str, *command: str) -> None:
    """Run one of the project's own commands, as a user would."""
    print(f"\n== {title}\n   python {' '.join(command)}\n", flush=True)
    subprocess.run([sys.executable, *command], check=True)


def read_search(folder: Path) -> dict:
    path = folder / "inference" / f"search_{DATASET}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def row(name: str, boxes: str, values: dict) -> list[str]:
    return [name, boxes, *(f"{100 * values[k]:.1f}" for k in ("mAP", "top1", "top5", "top10"))]


def compare(trained: dict, random: dict, colors: dict) -> list[list[str]]:
    """Rows of the table that ends the demo."""
    return [
        row("STL + MRFP, trained", "detected", trained["search"]["search"]),
        row("STL + MRFP, trained", "ground truth", trained["search"]["search_gt"]),
        row("the same network, random", "detected", random["search"]["search"]),
        row("the same network, random", "ground truth", random["search"]["search_gt"]),
        row("color histogram", "ground truth", colors),
    ]


def write_page(rows: list[list[str]], report: str, curves: Path, sheets: list[Path]) -> Path:
    """index.html with the table, the training curves and the queries."""
    head = "".join(f"<th>{c}</th>" for c in "method boxes mAP top-1 top-5 top-10".split())
    cells = ("".join(f"<td>{html.escape(c)}</td>" for c in r) for r in rows)
    body = "".join(f"<tr>{r}</tr>" for r in cells)
    pictures = "".join(
        f'<p><img src="{os.path.relpath(s, OUTPUT)}" alt="{s.stem}"></p>' for s in sheets
    )
    page = OUTPUT / "index.html"
    page.write_text(
        f"""<!doctype html><meta charset="utf-8"><title>Person search on Street</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 1520px; margin: 2em auto; color: #333 }}
td, th {{ padding: .2em 1.2em .2em 0; text-align: left }} img {{ max-width: 100% }}
pre {{ background: #f6f6f6; padding: 1em; overflow-x: auto }}
</style>
<h1>Person search on Street</h1>
<p>Percent. Every query is one person in one picture; the gallery is every other test picture.</p>
<table><tr>{head}</tr>{body}</table>
<h2>Queries and their ten best matches</h2>
<p>Blue: the person to find. Green: found. Red: somebody else.</p>
{pictures}
<h2>Training</h2><p><img src="{os.path.relpath(curves, OUTPUT)}" alt="training curves"></p>
<h2>Protocol</h2><pre>{html.escape(report)}</pre>
""",
        encoding="utf-8",
    )
    return page


def main() -> None:
    started = time.time()
    run("Drawing the Street data", "datasets/prepare_street.py", "--size", "small")

    # These read the data, so they come after it is drawn.
    from color_histogram import embed_dataset
    from visualize_search import draw_queries, spread_queries
    from visualize_training import draw_curves

    from person_search.evaluation import SearchResults, evaluate_search

    options = ["TEST.SEARCH.GT_BOXES", "True"]
    random, trained = OUTPUT / "random", OUTPUT / "trained"
    if not (random / "inference").exists():
        run(
            "What a random network finds",
            *("train_net.py", "--config-file", CONFIG, "--eval-only"),
            *("OUTPUT_DIR", str(random), "MODEL.WEIGHTS", "", *options),
        )
    if not (trained / "inference").exists():
        run(
            "Training STL + MRFP, then evaluating it",
            *("train_net.py", "--config-file", CONFIG, "--resume"),
            *("OUTPUT_DIR", str(trained), *options),
        )
    pack = OUTPUT / "pack"
    if not (pack / "pack.yaml").exists():
        run(
            "Exporting it as a pack, which needs no torch",
            *("tools/export.py", CONFIG, str(trained / "model_final.pth"), str(pack)),
            *("--trained-on", "Street: drawn figures, not people"),
        )
    print("\n== What a color histogram finds\n", flush=True)
    colors = evaluate_search(embed_dataset(DATASET), use_gt_boxes=True).summary()

    print("\n== Drawing the page\n", flush=True)
    results = SearchResults.load(trained / "inference" / f"results_{DATASET}.npz")
    sheets = draw_queries(results, DATASET, OUTPUT / "queries", spread_queries(results, 12))
    rows = compare(read_search(trained), read_search(random), colors)
    protocol = read_search(trained)["search"]["search"]["protocol"]
    frames = Path(os.environ["DETECTRON2_DATASETS"], "street", "small", "PRW", "frames")
    page = write_page(rows, json.dumps(protocol, indent=2), draw_curves(trained), sheets)

    print(f"\n{'':26}{'boxes':14}{'mAP':>8}{'top-1':>8}{'top-5':>8}{'top-10':>8}")
    for name, boxes, *values in rows:
        print(f"{name:26}{boxes:14}" + "".join(f"{v:>8}" for v in values))
    print(
        f"\n{protocol['name']}: {protocol['n_queries']} queries, gallery: {protocol['gallery']}\n"
        f"{(time.time() - started) / 60:.1f} minutes\n\n"
        f"Look at    {page}\n"
        f"           {OUTPUT}/queries/ (each query and its ten best matches)\n"
        f"           {trained}/curves.png (the training)\n\n"
        "Try next   search these pictures, here and then on a page in your browser:\n"
        f"           python -m person_search index {frames} --gallery {OUTPUT}/gallery "
        f"--model {pack}\n"
        f"           python -m person_search serve --gallery {OUTPUT}/gallery\n"
        "           pictures of real people need a ready model (docs/packs.md):\n"
        "           python -m person_search models get\n"
        f"           python -m person_search index photos/ --gallery {OUTPUT}/photos\n"
        "           python train_net.py --config-file configs/Street/stl.yaml   (without MRFP)\n"
        f"           python tools/evaluate_saved.py {trained}/inference/results_{DATASET}.npz\n"
        "           GETTING_STARTED.md: the same on PRW and CUHK-SYSU"
    )


if __name__ == "__main__":
    main()
