"""Every figure and every published number, made again: ``python figures/make/all.py [--step NAME ...] [--list]``.

Each step is a command that can be run by itself. What a step has finished stays below ``runs/``, so a renewal that was
stopped continues there. Steps write ``figures/results/*.csv`` and pictures; ``pages`` fills README.md and docs/results.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
BF16 = "--set precision=bf16"
PUBLISH = " && figures/make/publish.py"
BEFORE = "positive_share=0.5 loss.threshold=0.5 ranking.threshold=0.5 ranking.attention_weight=0.5"
STEPS = {
    "scenes": "figures/make/scenes.py",
    "tries": f"-m casnkit ablate --study tries --processes 2 {BF16}{PUBLISH}",
    "variants": f"-m casnkit ablate --study variants --pooling gap --seeds 5 --processes 2 {BF16}{PUBLISH}",
    "stripes": f"-m casnkit ablate --study variants --pooling stripes --processes 2 {BF16}{PUBLISH}",
    "misaligned": f"-m casnkit ablate --study misaligned --seeds 5 --processes 2 {BF16}{PUBLISH}",
    "open-points": "-m casnkit ablate --study open-points --seeds 2 --processes 2 "
    f"{BF16} {BEFORE} pair_rate=1.0 pair_weight_decay=none{PUBLISH}",
    "siamese-points": "-m casnkit ablate --study open-points --seeds 2 --processes 2 "
    f"--points pair_rate siamese_mode pair_activation pair_order {BF16}{PUBLISH}",
    "control": "figures/make/control.py --processes 2",
    "correspondence": "figures/make/correspondence.py --ablation runs/ablation",
    "test-time": f"figures/make/readings.py {BF16}",
    "siamese": "figures/make/siamese.py --processes 2",
    "ship": f"figures/make/ship.py {BF16}",
    "league": "-m casnkit league --run gap-casn --data people --out figures/results",
    "speed": "figures/make/bench.py",
    "lessons": "figures/make/lessons.py --profile quick",
    "pictures": "figures/make/pictures.py",
    "tour": "figures/make/tour.py",
    "pages": "figures/make/pages.py",
}


def main() -> int:
    """Run the chosen steps in order; returns the status of the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", nargs="*", choices=STEPS, default=list(STEPS), help="default: all of them")
    parser.add_argument("--list", action="store_true", help="print the commands and run none")
    options = parser.parse_args()
    for name in options.step:
        print(f"[{name}] python {STEPS[name].replace('&& ', '&& python ')}", flush=True)
        if options.list:
            continue
        started = time.perf_counter()
        for command in STEPS[name].split(" && "):
            status = subprocess.run([sys.executable, *command.split()], cwd=ROOT).returncode
            if status:
                break
        if status:
            print(f"[{name}] failed; rerun `python figures/make/all.py --step {name}` to continue there")
            return status
        print(f"[{name}] {time.perf_counter() - started:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
