"""The packages: the directories at the top, installed under the one name `endpoint_analytics`.

`agents` alone is the import name of another popular package. All else of the build stands in pyproject.toml.
"""

from setuptools import find_packages, setup

DIRECTORIES = ("agents", "infra", "pipeline", "schemas")

setup(
    packages=[
        "endpoint_analytics",
        *(
            f"endpoint_analytics.{package}"
            for directory in DIRECTORIES
            for package in find_packages(include=[directory, f"{directory}.*"])
        ),
    ]
)
