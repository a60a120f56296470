"""Settings as a person reads them."""

import dataclasses


class Concise:
    """A repr that shows the settings that differ from their defaults, as a call that makes them."""

    def __repr__(self):
        shown, positional = [], True
        for field in dataclasses.fields(self):
            if not field.init or not field.repr:
                continue
            value = getattr(self, field.name)
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if required and positional:
                shown.append(f"{field.name}={value!r}" if len(dataclasses.fields(self)) > 1 else repr(value))
                continue
            positional = False
            if required or not _same(value, field.default):
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


def _same(value, default):
    try:
        return bool(value == default)
    except (TypeError, ValueError):
        return False
