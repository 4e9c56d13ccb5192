"""What a profile says, as sentences, and which settings its values suggest."""

from collections.abc import Iterator
from dataclasses import dataclass

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.profile.table import NEAR_DISTANCE, Neighbors, Profile
from crdbvec_pipelines.profile.texts import QUANTILES, Texts

# Below these shares, a setting makes no difference that is worth its cost.
_LOST_TO_ADVISE = 0.05
_DUPLICATES_TO_ADVISE = 0.05
_IDENTIFIERS_TO_ADVISE = 0.1
# The mean of more windows than this says little about any of them.
_MAX_WINDOWS_OF_MEAN = 4


@dataclass(frozen=True)
class Advice:
    """A setting that the measured values suggest.

    Attributes:
        setting: What to set or to use.
        reason: The sentence with the measured value.
    """

    setting: str
    reason: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.reason}"


def describe(profile: Profile) -> list[str]:
    """Return sentences about what was measured."""
    texts = profile.texts
    rows = "all rows with an input" if profile.is_whole else "a sample of the rows"
    share, among = profile.duplicates
    return [
        f"{texts.rows:,} inputs, {rows}",
        *_tokens(texts),
        f"{share:.1%} of the rows have the same input as another row of the {among}",
        f"{texts.identifiers:.1%} of the texts contain an identifier",
        *(
            _distances(profile.neighbors)
            if profile.neighbors
            else ["distances not measured: embed the rows and build the vector index"]
        ),
    ]


def advise(spec: VectorColumn, profile: Profile) -> list[Advice]:
    """Return the settings that the values suggest, each with its value; none if all is well."""
    return list(_advice(spec, profile))


def markdown(spec: VectorColumn, profile: Profile) -> str:
    """Return what a profile says and advises as lists in Markdown; without texts of rows."""
    measured = "\n".join(f"- {each}" for each in describe(profile))
    advice = "\n".join(f"- `{each.setting}`: {each.reason}" for each in advise(spec, profile))
    return f"{measured}\n\n**Advice**\n\n{advice or '- nothing to change'}"


def _tokens(texts: Texts) -> Iterator[str]:
    sample = texts.sample
    if sample is None or not texts.tokens:
        yield "token count unknown for this model"
        return
    yield "tokens of a text: " + _named(f"{each:,}" for each in texts.tokens)
    if sample.truncated is not None and texts.lost is not None:
        window = f"the {texts.window:,} tokens that" if texts.window else "what"
        yield (
            f"{sample.truncated:.1%} of the texts are longer than {window} the model reads; {texts.lost:.1%} of all "
            "tokens are in no vector"
        )
    if sample.unknown_tokens is not None:
        yield (
            f"{sample.unknown_tokens:.1%} of the tokens are unknown to the model; {sample.unreadable or 0.0:.1%} of "
            "the texts are unreadable"
        )


def _distances(neighbors: Neighbors) -> Iterator[str]:
    yield f"distance to the nearest other row, of {neighbors.rows:,} rows: " + _named(
        f"{each:.3f}" for each in neighbors.quantiles
    )
    if neighbors.near is not None:
        yield f"{neighbors.near:.1%} of these rows have another text at a distance below {NEAR_DISTANCE}"


def _named(values: Iterator[str]) -> str:
    names = ["median" if each == 0.5 else "largest" if each == 1 else f"{each:.0%}" for each in QUANTILES]
    return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))


def _advice(spec: VectorColumn, profile: Profile) -> Iterator[Advice]:
    texts = profile.texts
    lost = texts.lost or 0.0
    if texts.sample is not None and texts.window and lost > _LOST_TO_ADVISE:
        windows = texts.tokens[QUANTILES.index(0.9)] / texts.window
        yield Advice(
            "long_inputs: mean" if windows <= _MAX_WINDOWS_OF_MEAN else "long_inputs: chunks",
            f"{lost:.1%} of all tokens are in no vector, because {texts.sample.truncated or 0.0:.1%} of the texts are "
            f"longer than {texts.window:,} tokens; nine of ten have at most {windows:.1f} times as many",
        )
    if texts.sample is not None and (texts.sample.unreadable or 0.0) > spec.checks.unreadable:
        yield Advice(
            "another model",
            f"of {texts.sample.unreadable:.1%} of the texts, the model does not know more than "
            f"{spec.checks.unknown_tokens:.0%} of the tokens",
        )
    if spec.text_index is None and texts.identifiers > _IDENTIFIERS_TO_ADVISE:
        yield Advice(
            "text_index",
            f"{texts.identifiers:.1%} of the texts contain an identifier, which a search by vectors rarely finds",
        )
    elif spec.text_index is None and lost > _LOST_TO_ADVISE:
        yield Advice(
            "text_index", f"keywords also find the words of the {lost:.1%} of the tokens that are in no vector"
        )
    share, among = profile.duplicates
    if share > _DUPLICATES_TO_ADVISE:
        yield Advice("search --distinct", f"{share:.1%} of the rows have the same input as another row of the {among}")
