"""A console that prints nothing and keeps every note."""

from ami.terminal.console import Console


class Notes(Console):
    """A quiet console that stores its notes."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    @property
    def warnings(self) -> list[str]:
        return [note for note in self.notes if note.startswith("warning:")]
