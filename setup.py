"""What pyproject.toml cannot say: an editable installation has the demo, a wheel does not."""

from __future__ import annotations

from setuptools import find_packages, setup
from setuptools.command.editable_wheel import editable_wheel


class Checkout(editable_wheel):
    """The installation of a checkout for those who work in it (`pip install --editable .`)."""

    def finalize_options(self) -> None:
        """Also finds the packages that stay in the checkout."""
        super().finalize_options()
        self.distribution.packages += find_packages(include=["mmrope_demo", "mmrope_demo.*"])


setup(cmdclass={"editable_wheel": Checkout})
