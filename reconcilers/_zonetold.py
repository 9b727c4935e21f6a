"""What a Zone tells of its records: which RecordSets are served, and whether all is. Pure."""

from drivers.powerdns import ZoneState
from reconcilers._zone import Merged, changes
from resources.meta import Condition
from resources.zone import Source


def as_found(wanted: Merged, zone: ZoneState) -> tuple[Source, ...]:
    """What is served of each RecordSet: what the server has, not what was asked of it."""
    missing = {(each.name, each.type) for each in changes(zone.rrsets, wanted)}
    message = "it is not on the server yet; see the Zone's conditions if that lasts"
    return tuple(
        each.model_copy(update={"served": False, "message": message})
        if wanted.places.get(each.name) in missing
        else each
        for each in wanted.sources
    )


def completeness(wanted: Merged, file_problem: str) -> Condition:
    """Whether all that is asked for is served."""
    if file_problem:
        message = f"what is asked for isn't known: {file_problem}"
        return Condition(type="Complete", status="False", reason="ZoneFileInvalid", message=message)
    refused = [each for each in wanted.sources if not each.served]
    problems = (*(f"RecordSet '{each.name}': {each.message}" for each in refused), *wanted.left_out)
    if not problems:
        return Condition(type="Complete", status="True", reason="AllServed")
    rest = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Condition(
        type="Complete", status="False", reason="LeftOut", message=f"{problems[0]}{rest}"
    )
