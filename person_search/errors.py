"""The errors a user meets. Each message names the file or key and says what to do about it."""


def printable(text: str) -> str:
    """A text, such as the name of a file, without what would steer a terminal.

        >>> printable("holiday\\x1b[2J.jpg")
        'holiday\\\\x1b[2J.jpg'

    Control characters, marks that turn the direction of writing, and bytes that are not UTF-8
    become escapes; line ends stay.
    """
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def printable_name(text: str) -> str:
    """As :func:`printable`, on one line, so that a name is no line of its own in a table."""
    return printable(text).replace("\n", "\\n")


class PersonSearchError(Exception):
    """Base of every error that bad input causes; programming errors stay plain Python errors."""

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(PersonSearchError):
    """A config value that is not legal, or that does not fit another one."""


class DatasetError(PersonSearchError):
    """A data set that is missing, incomplete or damaged."""


class ImageError(DatasetError):
    """An image file that cannot be read, is truncated, or is not the picture it was said to be."""


class TrainingError(PersonSearchError):
    """A training that cannot go on: its loss is not finite, or memory or disk are full."""


class WeightsError(PersonSearchError):
    """A weights file that is missing, damaged, or does not fit the model."""


class ResultsError(PersonSearchError):
    """A saved-results file that is damaged, or lacks the arrays an evaluation needs."""


class GalleryError(PersonSearchError):
    """A gallery that is missing, cannot be written, or was made by another model."""


class QueryError(PersonSearchError):
    """A query picture without a person, or a query box outside its picture."""


class CalibrationError(PersonSearchError):
    """A calibration that is missing, damaged, of another model, or cannot set what is asked for."""


class PackError(PersonSearchError):
    """A pack that is missing, damaged, of wrong settings, or that its runtime cannot run."""
