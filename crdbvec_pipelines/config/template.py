"""Templates of inputs and of the text before each chunk: literal texts and `{column}` placeholders."""

import string

TemplateParts = tuple[tuple[str, str | None], ...]
"""A template as (literal text, following column or None), in order."""


def template_parts(template: str | None, key: str) -> TemplateParts:
    """Return the parts of a template; none without a template.

    Args:
        template: The template.
        key: Its key in crdbvec.yaml, for messages.

    Raises:
        ValueError: The template has another placeholder than `{column}`.
    """
    unsupported = ValueError(f"{key} supports plain {{column}} placeholders only; write {{{{ and }}}} for braces")
    parts = []
    try:
        for literal, field, format_spec, conversion in string.Formatter().parse(template or ""):
            if field is not None and (not field or format_spec or conversion):
                raise unsupported
            parts.append((literal, field))
    except ValueError:
        # A brace without its counterpart.
        raise unsupported from None
    return tuple(parts)
