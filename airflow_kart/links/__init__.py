"""Links from a task's page in the Airflow UI.

Airflow's database holds the addresses of these classes. A link knows XComs only, no task and no artifact.
"""

from __future__ import annotations
