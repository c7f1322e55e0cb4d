"""The report: run folders in, one HTML file out that opens offline and says what happened.

Not for computing new statistics: numbers come from `pyrite.audit.analysis`, this room only shows them. Start with
`page.py` (`write_report`), then `trends.py`,
`exhibits.py` and `agreement.py` for what each section shows and `template.html.j2` for where.
"""

from pyrite.audit.report.page import RunInput, write_report

__all__ = ["RunInput", "write_report"]
