"""Errors whose message is written for the person at the keyboard."""


class ForUsers(Exception):
    """What failed can be mended from outside: the message says what happened and what to change."""


class ComputationError(ForUsers, RuntimeError):
    """A computation that failed: the message says what happened, why it usually does, what to change."""


def meant_for_users(error):
    """Whether the message of an error says all there is to say: it is one of the above, the system refused
    something, or an argument is named. Anything else is a fault of the program, told by its traceback."""
    if isinstance(error, ForUsers | OSError | MemoryError):
        return True
    return isinstance(error, ValueError | TypeError) and str(error).startswith(("Argument `", "Arguments `"))
