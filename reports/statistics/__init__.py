"""The numbers of a report, as pure functions of arrays."""
