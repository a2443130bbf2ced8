"""Every error a caller may want to catch.

::

    PggitAnalyticsError
    ├── InvalidArgument (also a ValueError)   a parameter is outside its allowed range
    │   └── InvalidAddress                    what is given as the address of a channel is none
    ├── InvalidSource                         a custom source does not yield the canonical columns
    ├── InvalidData                           the data holds what the analysis cannot accept (NULL, negative)
    ├── ConfigurationError                    the configuration file or environment is wrong or incomplete
    │   └── MissingKey                        there is no master key to read or write addresses with
    ├── DiskFull                              there is no room for the calls of a large window
    ├── DeliveryError                         a channel cannot be used as it is stored
    │   ├── WrongKey                          its address was encrypted with another master key
    │   ├── DamagedAddress                    its address was changed since it was encrypted
    │   └── ForbiddenAddress                  it leads into a network that is not to be reached
    └── DatabaseError                         the database said no
        ├── DatabaseUnavailable               it cannot be reached or refuses the log-in
        ├── NotDeployed                       the schema or one of its objects is not there
        ├── PermissionDenied                  the role may not do this
        └── IncompatibleDatabase              deploying would change or break what exists

A message is one line that names the cause, the offending value and the remedy.
"""


class PggitAnalyticsError(Exception):
    """Base of all errors raised on purpose by this package."""

    #: process exit status of the command line: 1 = failed, 2 = wrong usage
    exit_code = 1


class InvalidArgument(PggitAnalyticsError, ValueError):
    """A parameter is outside its allowed range; in SQL the same fault has SQLSTATE 22023."""

    exit_code = 2


class InvalidAddress(InvalidArgument):
    """What is given as the address of a channel is none; the message never repeats it, because it is a secret."""


class InvalidSource(PggitAnalyticsError):
    """A custom source does not yield the canonical columns."""


class InvalidData(PggitAnalyticsError):
    """The data holds what the analysis cannot accept."""


class ConfigurationError(PggitAnalyticsError):
    """The configuration file or environment is wrong or incomplete."""

    exit_code = 2


class DiskFull(PggitAnalyticsError):
    """There is no room on disk for the calls of a window that memory should not hold."""


class MissingKey(ConfigurationError):
    """There is no master key to read or write the addresses of channels with."""


class DeliveryError(PggitAnalyticsError):
    """A channel cannot be used as it is stored."""


class WrongKey(DeliveryError):
    """An address was encrypted with another master key."""


class DamagedAddress(DeliveryError):
    """An address was changed since it was encrypted."""


class ForbiddenAddress(DeliveryError):
    """A name leads to an address of a network that is not to be reached."""


class DatabaseError(PggitAnalyticsError):
    """The database said no."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached or refuses the log-in."""


class NotDeployed(DatabaseError):
    """The schema or one of its objects is not there."""


class PermissionDenied(DatabaseError):
    """The role may not do this."""


class IncompatibleDatabase(DatabaseError):
    """Deploying would change or break what exists.

    Attributes:
        differences: one line per object that stands in the way.
    """

    def __init__(self, message: str, differences: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.differences = differences
