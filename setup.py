"""What pyproject.toml cannot say: `configs/` stands at the top of a clone and becomes the package data `rtseg/configs`."""
from setuptools import find_packages, setup

setup(package_dir={"": "src", "rtseg.configs": "configs"},
      packages=find_packages("src") + ["rtseg.configs"],
      package_data={"rtseg.configs": ["*.yaml", "*/*.yaml"]})
