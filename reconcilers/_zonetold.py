"""What a Zone tells of its records: which RecordSets are served, and whether all is. Pure."""

from drivers.powerdns import ZoneState
from reconcilers._zone import Merged, changes
from resources.meta import Condition
from resources.zone import Source


def as_found(wanted: Merged, zone: ZoneState, before: tuple[Source, ...]) -> tuple[Source, ...]:
    """What is served of each RecordSet: what the server has, not what was asked of it. `before` is
    what was told last."""
    missing = {(each.name, each.type) for each in changes(zone.rrsets, wanted)}
    message = "it is not on the server yet; see the Zone's conditions if that lasts"
    had = {each.name: (each.at, each.texts) for each in before}

    def found(source: Source) -> Source:
        if wanted.places.get(source.name) not in missing:
            return source
        at, texts = had.get(source.name, ("", ()))
        told = {"served": False, "message": message, "at": at, "texts": texts}
        return source.model_copy(update=told)

    return tuple(found(each) for each in wanted.sources)


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
