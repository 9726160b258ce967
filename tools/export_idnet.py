"""Export the network of an idnet run on heads: float16, and a card with what it was measured at.

    python tools/export_idnet.py RUN OUT [--note TEXT] [--minutes M]

OUT is a folder that ``identity=OUT`` takes. To ship it, write it to
``src/gan3d_bench/assets/bundled/idnet-heads-64`` and run ``tools/update_manifest.py``. Measured is
what was written, on people of the test split that neither training nor validation has seen.
"""

import argparse
import json
from pathlib import Path

from gan3d_bench.config import to_dict
from gan3d_bench.faces.identity_files import NETWORK, read_network, save_network
from gan3d_bench.files.run_folder import Run
from gan3d_bench.methods.idnet.data import HeadPeople
from gan3d_bench.methods.idnet.method import IdentityNetwork
from gan3d_bench.methods.idnet.verification import verification, verification_at
from gan3d_bench.training.fit import load_method

PEOPLE, PICTURES = 128, 12
DIFFERENCES = (0, 15, 30, 45, 60, 90)  # of yaw, degrees


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--note", default="")
    parser.add_argument("--minutes", type=float, help="of training, on the machine named")
    options = parser.parse_args()
    run = Run.open(options.run)
    method = load_method(run)
    assert isinstance(method, IdentityNetwork)
    assert method.config.data == "heads"
    save_network(method.network, options.out / NETWORK)

    method.network = read_network(options.out / NETWORK)
    people = HeadPeople("test", PEOPLE, PICTURES, method.config.image_size)
    people.prepare()
    embeddings = method.embed(people)
    measured = {"all": verification(embeddings, people.person)}
    for difference in DIFFERENCES:
        found = verification_at(embeddings, people.person, people.yaw, difference)
        measured[f"yaw {difference} apart"] = found
    print(f"{'':>14}  same  different    auc  accuracy")
    for name, row in measured.items():
        numbers = (row[key] for key in ("same", "different", "auc", "accuracy"))
        print("{:>14} {:5.3f}      {:5.3f}  {:5.3f}     {:5.3f}".format(name, *numbers))

    config = to_dict(run.config)
    card = {
        "name": options.out.name,
        "what": "identity network of synthetic heads at 64 pixels: picture -> unit embedding",
        "training": f"{config['losses']['kind']} on people of the head model's train split",
        "steps": int(method.step),
        "minutes": options.minutes,
        "note": options.note,
        "measured": {
            "people": f"{PEOPLE} of the test split, {PICTURES} pictures of each",
            **{name: {k: round(v, 4) for k, v in row.items()} for name, row in measured.items()},
        },
        "packages": run.environment["packages"],
        "machine": run.environment["machine"],
        "command": f"gan3d-bench fit --method idnet --preset {config['preset']}",
        "config": config,
        "licence": "CC0-1.0, as the head model it was trained on",
    }
    (options.out / "card.json").write_text(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
