"""How MLflow's server is started."""

from bakeoff.cli.ui import command, environment


def test_the_server_listens_on_loopback_over_the_given_store() -> None:
    words = command("postgresql+psycopg://postgres@/mlflow", "/home/me/.bakeoff/artifacts", 5001)
    said = dict(zip(words[4::2], words[5::2], strict=True))
    assert words[1:4] == ["-m", "mlflow", "server"]
    assert said["--host"] == "127.0.0.1"
    assert said["--port"] == "5001"
    assert said["--backend-store-uri"] == "postgresql+psycopg://postgres@/mlflow"
    assert said["--default-artifact-root"] == "/home/me/.bakeoff/artifacts"


def test_a_tracking_uri_from_outside_does_not_lead_it_astray() -> None:
    around = environment({"MLFLOW_TRACKING_URI": "http://elsewhere", "PATH": "/bin"})
    assert "MLFLOW_TRACKING_URI" not in around
    assert around["PATH"] == "/bin"
