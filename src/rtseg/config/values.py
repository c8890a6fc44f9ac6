"""Parsers of settings, one per kind of value: what YAML or the command line gives -> the value.

All raise ValueError("expected ..."). Some take their limits first: `integer(1)` is a parser.
"""
# Larger numbers mean nothing here, and end in overflows or in more memory than there is.
_LARGEST_INTEGER = 2 ** 31 - 1
_LARGEST_NUMBER = 1e9
LARGEST_SIDE = 16384  # pixels


def text(value):
    if not isinstance(value, (str, int, float)):
        raise ValueError("expected text")
    text = str(value)
    if "\0" in text or text != text.encode(errors="ignore").decode():  # no path may have these
        raise ValueError("expected text in UTF-8 without null characters")
    return text


def boolean(value):
    known = {"0": False, "1": True, "false": False, "true": True}
    if str(value).lower() not in known:
        raise ValueError("expected 0 or 1")
    return known[str(value).lower()]


def integer(minimum, maximum=_LARGEST_INTEGER):
    def parse(value):
        wanted = f"expected an integer >= {minimum}"
        try:
            if isinstance(value, (bool, float)) or int(value) < minimum:
                raise ValueError
        except (TypeError, ValueError):
            raise ValueError(wanted) from None
        if int(value) > maximum:
            raise ValueError(f"{wanted} and <= {maximum}")
        return int(value)
    return parse


def number(minimum, maximum=_LARGEST_NUMBER, above=False):
    """A float in [minimum, maximum], or in (minimum, maximum] when `above`."""
    def parse(value):
        wanted = f"expected a number {'>' if above else '>='} {minimum:g}"
        wanted += f" and <= {maximum:g}" if maximum != _LARGEST_NUMBER else ""
        try:
            found = float("nan" if isinstance(value, bool) else value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(wanted) from None
        if not minimum <= found <= maximum or (above and found == minimum):
            too_large = _LARGEST_NUMBER < found < float("inf") and maximum == _LARGEST_NUMBER
            raise ValueError(f"{wanted} and <= {maximum:g}" if too_large else wanted)
        return found
    return parse


def choice(*names):
    def parse(value):
        if str(value) not in names:
            raise ValueError(f"expected one of {', '.join(names)}")
        return str(value)
    return parse


def optional(parse_value):
    def parse(value):
        return None if value in (None, "", "None", "none") else parse_value(value)
    return parse


def numbers(count, minimum, maximum=_LARGEST_NUMBER):
    """A tuple of floats; `count` None for any number of them."""
    def parse(value):
        values = value.split(",") if isinstance(value, str) else value
        try:
            numbers = tuple(number(minimum, maximum)(item) for item in values)
        except (TypeError, ValueError):
            numbers = ()
        if (count is not None and len(numbers) != count) or (values and not numbers):
            raise ValueError(f"expected {'a list of' if count is None else count} numbers >= {minimum:g}")
        return numbers
    return parse


def size(value):
    """Height and width: one number for a square, "H,W", or a list of two."""
    wanted = "expected one number or H,W, both positive multiples of 32"
    values = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    try:
        sizes = tuple(integer(32)(item) for item in values)
    except ValueError:
        raise ValueError(wanted) from None
    if len(sizes) not in (1, 2) or any(size % 32 for size in sizes):
        raise ValueError(wanted)
    if max(sizes) > LARGEST_SIDE:
        raise ValueError(f"{wanted} up to {LARGEST_SIDE}")
    return sizes * 2 if len(sizes) == 1 else sizes


def multiple_of_32(value):
    try:
        return size([value])[0]
    except ValueError as error:
        limit = str(error).partition(" up to ")
        raise ValueError("expected a positive multiple of 32" + "".join(limit[1:])) from None


def factors(value):
    """Parameter-name prefix -> factor: a YAML mapping, or "prefix=factor,..." on the command line."""
    wanted = "expected a mapping from parameter-name prefix to factor >= 0, such as aux_heads=10"
    try:
        if isinstance(value, str):
            value = dict(item.split("=") for item in value.split(",") if item)
        return {str(prefix): number(0)(factor) for prefix, factor in value.items()}
    except (AttributeError, ValueError):
        raise ValueError(wanted) from None


def texts(value):
    if not isinstance(value, (list, tuple)):
        raise ValueError("expected a list of texts")
    return tuple(text(item) for item in value)


def name_or_description(value):
    return value if isinstance(value, dict) else text(value)


def loss_scale(value):
    if str(value) == "dynamic":
        return "dynamic"
    try:
        return number(0, above=True)(value)
    except ValueError:
        raise ValueError("expected a number > 0 or 'dynamic'") from None
