"""The packages: the top-level directories, installed under the common name `endpoint_analytics`.

`agents` on its own is the import name of another popular package. The rest of the build is in pyproject.toml.
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
