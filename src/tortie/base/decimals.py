"""Numbers as others write them. A text of thousands of digits is a number too, which `int` refuses by an exception of its own;
whoever may write an annotation must not end an agent by one."""


def number_up_to(text: str, highest: int) -> int | None:
    """A number in decimal digits from 0 to `highest`, with zeros in front or without. None for any other text."""
    if not (text.isascii() and text.isdecimal()):
        return None
    digits = text.lstrip("0")
    if len(digits) > len(str(highest)):
        return None
    number = int(digits or "0")
    return number if number <= highest else None
