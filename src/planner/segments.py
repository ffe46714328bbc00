"""What kind of week a request is for: a new version must be harmful in no kind."""

from bakeoff.task import Request


def segments(request: Request) -> dict[str, str]:
    """Name of the feature -> its value. Few values each, so that a kind has enough households to say something."""
    household = request["household"]
    return {
        "workflow_type": request["workflow_type"],
        "mode": request["mode"],
        "region": household["region"],
        "household_size": size_band(household["size"]),
        "allergies": "yes" if household["allergies"] else "no",
    }


def size_band(people: int) -> str:
    """'1', '2', '3-4' or '5+'."""
    if people >= 5:
        return "5+"
    return "3-4" if people >= 3 else str(people)
