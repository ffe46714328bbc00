"""schemathesis over the OpenAPI document of a running server, as its own command does it."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import stages

CONFIG = """
[[operations]]
include-method = "POST"
headers = {{ Authorization = "Bearer {application}" }}

[[operations]]
include-path = "/v1/policies/{{policy}}/decide"
parameters = {{ policy = "{policy}" }}

[[operations]]
include-method = "GET"
headers = {{ Authorization = "Bearer {viewer}" }}
"""
UNCHECKED = "positive_data_acceptance"
"""What a task makes of a request no schema can say, so that a right body may still be refused."""


def fuzz(url: str, held: Mapping[str, str], folder: Path, *, examples: int) -> None:
    """Examples, boundaries and random bodies, right and wrong ones, at most `examples` of each kind per operation. The
    same each time. Fails with what it found and how to see it again."""
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG.format(**held, policy=stages.POLICY))
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config), "run", f"{url}/openapi.json",
        "--max-examples", str(examples), "--phases", "examples,coverage,fuzzing", "--exclude-checks", UNCHECKED,
        "--seed", "7", "--no-color", "--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off",
    ]  # fmt: skip
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=1800)
    assert ran.returncode == 0, ran.stdout[-12_000:] + ran.stderr[-4000:]
