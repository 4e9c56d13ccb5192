"""The output of a diagnosis, and its exit code."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict

from crdbvec_pipelines.cli.output import print_json, print_text
from crdbvec_pipelines.database.diagnosis.finding import Finding
from crdbvec_pipelines.errors import CrdbvecError


def has_error(findings: Iterable[Finding]) -> bool:
    """Return whether something prevents work."""
    return any(finding.level == "error" for finding in findings)


def print_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print findings, one per line, or as JSON with whether work is possible."""
    if as_json:
        print_json({"works": not has_error(findings), "findings": [asdict(finding) for finding in findings]})
        return
    for finding in findings:
        subject = "" if finding.subject is None else f"{finding.subject}: "
        remedy = "" if finding.remedy is None else f" {finding.remedy}"
        print_text(f"{finding.level:8}{finding.check:12}{subject}{finding.message}{remedy}")


def caught(check: str, subject: str | None, findings: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield findings, and the error that ends them as the last one: the other checks still run."""
    try:
        yield from findings()
    except CrdbvecError as error:
        yield failed(check, subject, error)


def failed(check: str, subject: str | None, error: CrdbvecError) -> Finding:
    """Return the finding for an error, whose message also says what to do."""
    return Finding("error", check, subject, str(error))
