"""What pyproject.toml cannot say: `configs/` at the top of a clone becomes the package data `rtseg/configs`."""
from setuptools import find_packages, setup

setup(package_dir={"": "src", "rtseg.configs": "configs"},
      packages=find_packages("src") + ["rtseg.configs"],
      package_data={"rtseg.tools": ["*.yaml"], "rtseg.configs": ["*.yaml", "*/*.yaml", "schema/*.json"]})
