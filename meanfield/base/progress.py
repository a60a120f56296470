"""Progress on a terminal; silence anywhere else."""

import sys


class Silent:
    """Takes the same calls and shows nothing."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def start(self, text, total):
        pass

    def advance(self, amount=1):
        pass

    def say(self, text):
        pass


class Terminal(Silent):
    """A bar with the time that is left, on standard error."""

    def __enter__(self):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description:<34}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        self.bars = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
        self.task = None
        self.bars.__enter__()
        return self

    def __exit__(self, *exception):
        if self.task is not None and exception[0] is None:
            self.bars.update(self.task, completed=self.bars.tasks[self.task].total)
        self.bars.__exit__(*exception)
        return False

    def start(self, text, total):
        if self.task is not None:
            self.bars.update(self.task, completed=self.bars.tasks[self.task].total)
        self.task = self.bars.add_task(text, total=total)

    def advance(self, amount=1):
        self.bars.advance(self.task, amount)

    def say(self, text):
        self.bars.console.print(text, highlight=False)


def progress_bar(wanted):
    """A bar if it is wanted and standard error is a terminal."""
    return Terminal() if wanted and sys.stderr.isatty() else Silent()
