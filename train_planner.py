"""Fine-tune the planner, with the words of the guide:

    python train_planner.py --dataset=/datasets/planner/2025-01-03 --model_base=llama3 --epochs=3

The same as ``bakeoff train``, which knows more; both call one function. A dataset folder that is absent is looked
for below the dataset root, and the script says so.
"""

import sys
from typing import Any

import click

from bakeoff.cli import run_command
from bakeoff.cli.session import as_json, deps
from bakeoff.cli.training import dataset_at, run, spec_options

EXAMPLE = "python train_planner.py --dataset=/datasets/planner/2025-01-03 --model_base=llama3 --epochs=3"


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=f"Example: {EXAMPLE}")
@click.option("--dataset", "folder", required=True, help="Folder of the dataset, or its last parts.")
@click.option("--model_base", "--model-base", default="smollm2", show_default=True, help="Alias, hub id or folder.")
@spec_options
@as_json
def train_planner(folder: str, model_base: str, as_json: bool, **options: Any) -> None:
    """Fine-tune an open model with LoRA on a dataset, log it to MLflow and register planner_model."""
    with deps() as wired:
        run(wired, "planner", dataset_at(wired, folder), model_base, as_json=as_json, **options)


if __name__ == "__main__":
    sys.exit(run_command(train_planner, name="train_planner.py"))
